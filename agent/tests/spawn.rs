//! Commands, started as a session starts them: what they find, and what is told of those that cannot be started.

use std::ffi::CString;
use std::fs::File;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Gid;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use vsock_shell_agent::command::ExecRequest;
use vsock_shell_agent::config::{Config, DEFAULT_PATH};
use vsock_shell_agent::failure::{Failure, Step};
use vsock_shell_agent::hangup::Target;
use vsock_shell_agent::spawn::{Child, Standard, Status, read_status, spawn};
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::{header, tag};

const DEADLINE: Duration = Duration::from_secs(20);

/// The fields of a request.
fn request(fields: &[(u8, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, value) in fields {
        let value = CString::new(*value).unwrap().into_bytes_with_nul();
        bytes.extend(header(*tag, value.len()).unwrap());
        bytes.extend(value);
    }
    bytes
}

fn start_with(bytes: &[u8], memory: usize) -> Result<Child, Failure> {
    // What the agent does when it starts.
    vsock_shell_agent::sys::signal::take_over();
    let request = ExecRequest::parse(bytes).unwrap();
    let mut failure = Failure::default();
    spawn(&request, &mut vec![0; memory], &Config::new(DEFAULT_PATH), &mut failure).map_err(|_| failure)
}

fn start(bytes: &[u8]) -> Child {
    start_with(bytes, 1 << 20).unwrap()
}

/// Waits until `fd` is readable or its other end is gone.
fn wait_readable(fd: impl AsFd) {
    let timeout = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
    let count = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(count, 1, "nothing came in time");
}

fn decided(child: &Child) -> Status {
    wait_readable(&child.status);
    read_status(child.status.as_fd())
}

/// All that comes until the other end is gone.
fn drain(fd: OwnedFd) -> String {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        wait_readable(&fd);
        match rustix::io::read(&fd, &mut buffer) {
            // EIO: a terminal whose last user is gone.
            Ok(0) | Err(Errno::IO) => break,
            Ok(count) => all.extend(&buffer[..count]),
            Err(errno) => assert_eq!(errno, Errno::AGAIN),
        }
    }
    String::from_utf8(all).unwrap()
}

fn reap(pid: Pid) -> rustix::process::WaitStatus {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG).unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "the command did not end");
        std::thread::yield_now();
    }
}

/// Runs a command to its end: its output, its errors, its status.
fn run(fields: &[(u8, &str)]) -> (String, String, i32) {
    let child = start(&request(fields));
    assert_eq!(decided(&child), Status::Started);
    let Standard::Pipes { input: Some(input), output, error } = child.standard else { panic!("no pipes") };
    drop(input);
    let (output, error) = (drain(output), drain(error));
    (output, error, reap(child.pid).exit_status().unwrap())
}

fn output(fields: &[(u8, &str)]) -> String {
    run(fields).0
}

fn failure(fields: &[(u8, &str)]) -> Failure {
    let child = start(&request(fields));
    let Status::Failed(failure) = decided(&child) else { panic!("it was started") };
    assert_eq!(reap(child.pid).exit_status(), Some(127));
    failure
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn three_pipes_and_the_status_are_the_commands_own() {
    let (out, err, status) = run(&[(tag::SHELL, "cat; echo out; echo err >&2; exit 7")]);
    assert_eq!((out.as_str(), err.as_str(), status), ("out\n", "err\n", 7));
}

#[test]
fn arguments_arrive_as_they_are() {
    let out = output(&[
        (tag::ARG, "printf"),
        (tag::ARG, "[%s]"),
        (tag::ARG, "a  b"),
        (tag::ARG, ""),
        (tag::ARG, "\n*"),
    ]);
    assert_eq!(out, "[a  b][][\n*]");
}

#[test]
fn the_environment_is_a_logins_and_the_clients() {
    let out = output(&[(tag::ARG, "env"), (tag::ENV, "A=1"), (tag::ENV, "A=2"), (tag::TERM, "xterm")]);
    let mut names: Vec<_> = out.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]);
    assert!(out.contains("A=2\n") && out.contains("TERM=xterm\n"), "{out}");
}

#[test]
fn the_program_is_searched_in_the_path_that_it_will_have() {
    let failed = failure(&[(tag::ARG, "env"), (tag::ENV, "PATH=/nowhere:/dev/null")]);
    assert_eq!((failed.step, &failed.subject[..]), (Step::Missing, &b"env"[..]));
    assert_eq!(failed.code(), RefusalCode::NotFound);
}

#[test]
fn a_file_that_may_not_be_executed_is_not_missing() {
    let directory = tempdir("exec");
    std::fs::write(directory.join("tool"), "x").unwrap();
    let path = format!("PATH={}:/nowhere", directory.display());
    let failed = failure(&[(tag::ARG, "tool"), (tag::ENV, &path)]);
    assert_eq!((failed.step, failed.errno), (Step::Execute, Errno::ACCESS));
    assert_eq!(failed.code(), RefusalCode::CannotExecute);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_script_without_its_interpreter_is_not_missing() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempdir("script");
    let script = directory.join("script");
    std::fs::write(&script, "#!/nowhere/sh\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let failed = failure(&[(tag::ARG, script.to_str().unwrap())]);
    assert_eq!((failed.step, failed.code()), (Step::Execute, RefusalCode::CannotExecute));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_directory_that_cannot_be_entered_is_a_failure() {
    assert_eq!(output(&[(tag::ARG, "pwd"), (tag::CWD, "/usr")]), "/usr\n");
    let failed = failure(&[(tag::ARG, "pwd"), (tag::CWD, "/no such\ndirectory")]);
    assert_eq!((failed.step, &failed.subject[..]), (Step::Directory, &b"/no such\ndirectory"[..]));
}

#[test]
fn a_user_is_found_by_name_and_number_with_its_groups() {
    if !is_root() {
        return;
    }
    // Groups of ours that a command of another user must not keep; only this thread has them.
    rustix::thread::set_thread_groups(&[Gid::from_raw(4242)]).unwrap();
    let script = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME; pwd";
    let expected = output(&[(tag::SHELL, "id -u daemon; id -g daemon; id -G daemon; echo")]);
    let by_name = output(&[(tag::ARG, "sh"), (tag::ARG, "-c"), (tag::ARG, script), (tag::USER, "daemon")]);
    let by_number = output(&[(tag::ARG, "sh"), (tag::ARG, "-c"), (tag::ARG, script), (tag::USER, "1")]);
    assert_eq!(by_name, by_number);
    assert_eq!(by_name, format!("{}\n/usr/sbin daemon daemon\n/usr/sbin\n", expected.trim_end()));
}

#[test]
fn a_user_that_does_not_exist_is_told() {
    let failed = failure(&[(tag::ARG, "true"), (tag::USER, "nobody-at-all")]);
    assert_eq!((failed.step, failed.code()), (Step::NoUser, RefusalCode::NoUser));
}

#[test]
fn a_command_is_a_session_leader_with_default_signals_and_no_stray_descriptor() {
    let _stray = File::open("/dev/null").unwrap();
    let script = "cut -d' ' -f1,5,6 /proc/$$/stat; cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)'; ls /proc/self/fd";
    let out = output(&[(tag::ARG, "sh"), (tag::ARG, "-c"), (tag::ARG, script)]);
    let mut lines = out.lines();
    let ids: Vec<_> = lines.next().unwrap().split(' ').collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{ids:?} are process, group and session");
    for _ in 0..3 {
        let line = lines.next().unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    // The last one is the directory that ls reads.
    assert_eq!(lines.collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn too_many_arguments_are_told_whoever_finds_out() {
    let long = "x".repeat(200_000);
    let failed = failure(&[(tag::ARG, "true"), (tag::ARG, &long)]);
    assert_eq!(failed.code(), RefusalCode::TooLarge, "one string is longer than the kernel allows");
    let bytes = request(&[(tag::ARG, "true"), (tag::ARG, "x")]);
    for memory in [0, 1, 50, 100, 200] {
        let child = start_with(&bytes, memory).unwrap();
        let Status::Failed(failed) = decided(&child) else { panic!("{memory} bytes were enough") };
        assert_eq!(failed.code(), RefusalCode::TooLarge);
        reap(child.pid);
    }
}

fn pty_request(fields: &[(u8, &str)]) -> Vec<u8> {
    let mut bytes = request(fields);
    bytes.extend(header(tag::PTY, 8).unwrap());
    bytes.extend([33, 0, 111, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn a_terminal_is_the_controlling_one_and_has_its_size() {
    let child = start(&pty_request(&[(tag::SHELL, "stty size </dev/tty; tty >/dev/null && echo yes")]));
    assert_eq!(decided(&child), Status::Started);
    reap(child.pid);
    let Standard::Terminal(master) = child.standard else { panic!("no terminal") };
    assert_eq!(drain(master), "33 111\r\nyes\r\n");
}

#[test]
fn a_login_shell_is_told_so_by_its_name() {
    let child = start(&pty_request(&[]));
    assert_eq!(decided(&child), Status::Started);
    let Standard::Terminal(master) = child.standard else { panic!("no terminal") };
    let typed = b"echo \"<$0>\"; exit 3\n";
    assert_eq!(rustix::io::write(&master, typed), Ok(typed.len()));
    let all = drain(master);
    assert!(all.contains("<-"), "{all}");
}

#[test]
fn a_signal_goes_to_the_group_of_a_command_without_terminal() {
    let child = start(&request(&[(tag::SHELL, "sleep 1000 & echo; wait")]));
    let Standard::Pipes { output, .. } = &child.standard else { panic!("no pipes") };
    wait_readable(output);
    Target { pid: child.pid, master: None }.send(Signal::TERM).unwrap();
    assert_eq!(reap(child.pid).terminating_signal(), Some(15));
    let Standard::Pipes { output, .. } = child.standard else { panic!("no pipes") };
    assert_eq!(drain(output), "\n", "the sleep, which held the pipe, is gone too");
}

/// Waits until the process is stopped.
fn wait_stopped(pid: &str) {
    let until = Instant::now() + DEADLINE;
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ") {
        assert!(Instant::now() < until, "it was not stopped");
        std::thread::yield_now();
    }
}

#[test]
fn hanging_up_ends_a_stopped_command() {
    let child = start(&request(&[(tag::SHELL, "kill -STOP $$; sleep 1000")]));
    assert_eq!(decided(&child), Status::Started);
    wait_stopped(&child.pid.as_raw_pid().to_string());
    Target { pid: child.pid, master: None }.hang_up();
    assert_eq!(reap(child.pid).terminating_signal(), Some(1));
}

#[test]
fn killing_reaches_the_foreground_group_too() {
    // All of them ignore the kernel's SIGHUP for the death of their leader: only we can have ended the inner one.
    let line = "trap '' HUP; set -m; sh -c 'echo ready; exec sleep 1000'; echo over; exit 5";
    let child = start(&pty_request(&[(tag::ARG, "bash"), (tag::ARG, "-c"), (tag::ARG, line)]));
    let Standard::Terminal(master) = child.standard else { panic!("no terminal") };
    wait_readable(&master);
    let _ = rustix::io::read(&master, &mut [0; 16]);
    Target { pid: child.pid, master: Some(master.as_fd()) }.kill();
    assert_eq!(reap(child.pid).terminating_signal(), Some(9));
    assert_eq!(drain(master), "", "nobody holds the terminal any more");
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("vsock-shell-agent-{name}-{}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    path
}
