//! Shells end to end, in a real terminal: keys, sizes, escapes, and the terminal as it was before on every way out.

use std::ffi::OsString;
use std::process::Command;

use crate::guest::processes::Mark;
use crate::guest::pty::Terminal;
use crate::guest::{Guest, TARGET, agent_binary, client_binary, until};
use rustix::process::{Pid, Signal, kill_process};

/// A client with a shell whose prompt is known.
fn shell(guest: &Guest, options: &[&str]) -> Terminal {
    let words = options.iter().copied().chain(["-t", "-E", "PS1=guest> ", TARGET, "--", "sh"]);
    let mut terminal = Terminal::start(&guest.client(words));
    terminal.wait_for("guest> ");
    terminal
}

/// A client with a command line in a terminal, once it has said that it is ready.
fn command(guest: &Guest, options: &[&str], line: &str) -> Terminal {
    let words = options.iter().copied().chain(["-t", TARGET, line]);
    let mut terminal = Terminal::start(&guest.client(words));
    terminal.wait_for("ready");
    assert!(terminal.is_raw());
    terminal
}

#[test]
fn without_a_command_it_is_a_login_shell() {
    let guest = Guest::start();
    let mut terminal = Terminal::start(&guest.client([TARGET]));
    terminal.type_keys("echo a$((1+1))b $0 $TERM\r");
    let shown = terminal.wait_for("a2b -");
    assert!(!shown.is_empty());
    terminal.wait_for("xterm-256color");
    assert!(terminal.is_raw());
    terminal.type_keys("exit 5\r");
    assert_eq!(terminal.end().code(), Some(5));
}

#[test]
fn the_window_has_its_size_from_the_start_and_follows() {
    let guest = Guest::start();
    let line = "while :; do now=$(stty size); [ \"$now\" = \"$last\" ] || echo $now; last=$now; done";
    let mut terminal = Terminal::start_sized(&guest.client(["-t", TARGET, line]), 31, 97);
    for (rows, columns) in [(31, 97), (40, 120), (1, 1), (999, 999)] {
        terminal.resize(rows, columns);
        terminal.wait_for(&format!("{rows} {columns}\r\n"));
    }
    terminal.type_keys("\x03");
    assert_eq!(terminal.end().code(), Some(130));
}

#[test]
fn a_command_hears_that_its_window_changed() {
    let guest = Guest::start();
    let mut terminal =
        command(&guest, &[], "trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.02; done");
    terminal.resize(40, 120);
    terminal.wait_for("40 120");
    assert_eq!(terminal.end().code(), Some(6));
}

#[test]
fn control_c_reaches_the_guest_and_leaves_the_client_alone() {
    let guest = Guest::start();
    let line = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.02; done";
    let mut terminal = command(&guest, &[], line);
    terminal.type_keys("\x03");
    terminal.wait_for("caught");
    assert_eq!(terminal.end().code(), Some(7));
}

#[test]
fn control_z_stops_a_job_of_the_guest_and_leaves_the_client_alone() {
    let guest = Guest::start();
    let mut terminal = shell(&guest, &[]);
    terminal.type_keys("sh -c 'echo be''gun; exec sleep 1000'\r");
    terminal.wait_for("begun");
    terminal.type_keys("\x1a");
    terminal.wait_for("Stopped");
    terminal.wait_for("guest> ");
    terminal.type_keys("kill -9 %1; echo still$((1+1))\r");
    terminal.wait_for("still2");
    // Not `exit`, which first asks what shall become of stopped jobs.
    terminal.type_keys("exec sh -c 'exit 4'\r");
    assert_eq!(terminal.end().code(), Some(4));
}

#[test]
fn every_byte_reaches_a_guest_whose_terminal_is_raw() {
    let guest = Guest::start();
    let line = "stty raw -echo; echo ready; head -c 256 | od -An -v -tx1 | tr -d ' \\n'; stty sane; echo end";
    let mut terminal = command(&guest, &["-e", "none"], line);
    let bytes: Vec<u8> = (0..=255).collect();
    terminal.type_keys(&bytes);
    terminal.wait_for(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn the_guests_terminal_has_the_modes_of_ours() {
    let guest = Guest::start();
    let mut outer = Command::new("sh");
    outer.args(["-c", "stty intr ^X; exec \"$@\"", "sh"]).arg(client_binary());
    outer.args(["-t", &guest.target(), "stty -a"]);
    let mut terminal = Terminal::start(&outer);
    terminal.wait_for("intr = ^X");
    terminal.client.end();
}

#[test]
fn a_program_that_is_not_found_leaves_the_terminal_as_it_was() {
    let guest = Guest::start();
    let mut terminal = Terminal::start(&guest.client(["-t", TARGET, "--", "no-such-program"]));
    assert_eq!(terminal.end().code(), Some(127));
    assert!(terminal.rest().ends_with("not found: no-such-program\r\n"), "{:?}", terminal.rest());
}

#[test]
fn signals_to_the_client_restore_the_terminal_and_hang_the_shell_up() {
    let guest = Guest::start();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mark = Mark::new();
        let mut terminal = shell(&guest, &["-E", mark.variable()]);
        assert!(terminal.is_raw());
        terminal.client.signal(signal);
        assert_eq!(terminal.end().code(), Some(128 + signal.as_raw()));
        mark.is_gone();
    }
    guest.is_idle();
}

#[test]
fn a_terminal_that_is_closed_ends_everything() {
    let guest = Guest::start();
    let mark = Mark::new();
    let terminal = shell(&guest, &["-E", mark.variable()]);
    let mut client = terminal.hang_up();
    client.end();
    mark.is_gone();
    guest.is_idle();
}

#[test]
fn an_agent_that_dies_under_a_shell_is_255_and_the_terminal_is_restored() {
    let guest = Guest::start();
    let mut terminal = shell(&guest, &[]);
    for pid in guest.sessions().into_iter().chain([guest.agent.0.id() as i32]) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    assert_eq!(terminal.end().code(), Some(255));
    assert!(
        terminal.rest().contains("vsock-shell: ") && terminal.rest().contains("connection lost"),
        "{}",
        terminal.rest()
    );
}

#[test]
fn an_agent_that_is_ended_says_so_to_its_shells() {
    let mut guest = Guest::start();
    let mark = Mark::new();
    let mut terminal = shell(&guest, &["-E", mark.variable()]);
    guest.agent.signal(Signal::TERM);
    assert_eq!(terminal.end().code(), Some(255));
    assert!(terminal.rest().contains("ended by the agent"), "{}", terminal.rest());
    mark.is_gone();
    assert_eq!(guest.agent.end().code(), Some(0));
    assert!(!guest.socket().exists());
}

#[test]
fn tilde_dot_ends_the_session_at_the_beginning_of_a_line_only() {
    let guest = Guest::start();
    let mark = Mark::new();
    let mut terminal = shell(&guest, &["-E", mark.variable()]);
    terminal.type_keys("echo a~.b$((1+1))\r");
    terminal.wait_for("a~.b2");
    terminal.type_keys("~.");
    assert_eq!(terminal.end().code(), Some(255));
    mark.is_gone();
}

#[test]
fn tilde_dot_is_heard_behind_more_keys_than_the_guest_takes() {
    let guest = Guest::start();
    let mut terminal = command(&guest, &[], "stty raw -echo; echo ready; exec sleep 1000");
    let mut keys = vec![b'x'; 100_000];
    keys.extend(b"\r~.");
    terminal.type_keys(keys);
    assert_eq!(terminal.end().code(), Some(255));
}

#[test]
fn tilde_question_mark_helps_and_two_tildes_are_one() {
    let guest = Guest::start();
    let mut terminal = command(&guest, &[], "stty -echo; echo ready; cat");
    terminal.type_keys("~?");
    terminal.wait_for("~?   list these\r\n");
    terminal.type_keys("~~a~~b\r");
    let shown = terminal.wait_for("b\r\n");
    assert_eq!(shown, "~a~~b\r\n");
    terminal.type_keys("\x04");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn the_escape_character_can_be_another_or_none() {
    let guest = Guest::start();
    let mut terminal = shell(&guest, &["-e", "%"]);
    terminal.type_keys("~.\r");
    terminal.wait_for("guest> ");
    terminal.type_keys("%.");
    assert_eq!(terminal.end().code(), Some(255));
    let mut terminal = shell(&guest, &["-e", "none"]);
    terminal.type_keys("~.\r");
    terminal.wait_for("guest> ");
    terminal.type_keys("exit 3\r");
    assert_eq!(terminal.end().code(), Some(3));
}

#[test]
fn tilde_control_z_suspends_the_client_and_the_shell_here_goes_on() {
    let guest = Guest::start();
    let mut here = Command::new("sh");
    here.args(["-i"]).env("PS1", "here> ").env_remove("ENV");
    let mut terminal = Terminal::start(&here);
    terminal.wait_for("here> ");
    let client = client_binary().display().to_string();
    terminal.type_keys(format!("{client} -t -E 'PS1=gu''est> ' {} -- sh\r", guest.target()));
    terminal.wait_for("guest> ");
    terminal.type_keys("~\x1a");
    terminal.wait_for("Stopped");
    terminal.wait_for("here> ");
    assert!(terminal.is_restored());
    terminal.type_keys("fg\r");
    until("the terminal is raw again", || terminal.is_raw());
    terminal.type_keys("echo back$((1+1)); exit 3\r");
    terminal.wait_for("back2");
    terminal.wait_for("here> ");
    assert!(terminal.is_restored());
    terminal.type_keys("echo status=$?\r");
    terminal.wait_for("status=3");
    terminal.type_keys("exit\r");
    terminal.end();
}

/// A tmux server of our own, ended with the value.
struct Tmux(OsString);

impl Tmux {
    fn run(&self, words: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.0)
            .args(["-f", "/dev/null"])
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn screen(&self) -> Vec<String> {
        self.run(&["capture-pane", "-p"]).lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn wait_for(&self, what: &str, condition: impl Fn(&[String]) -> bool) {
        until(what, || condition(&self.screen()));
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        _ = Command::new("tmux").arg("-S").arg(&self.0).arg("kill-server").output();
    }
}

#[test]
fn a_full_screen_program_has_the_whole_screen_and_gives_it_back() {
    if Command::new("tmux").arg("-V").output().is_err() {
        eprintln!("SKIPPED: tmux is not installed");
        return;
    }
    let guest = Guest::start();
    let program = r"stty raw -echo; printf '\033[?1049h\033[2J\033[10;20Hmiddle\033[30;87Hedge'; head -c 1 >/dev/null; printf '\033[?1049l'; stty sane; exec sh";
    guest.directory.file("program", program.as_bytes());
    let line = format!(
        "echo before; {} -t -E 'PS1=guest> ' {} -- sh {}",
        client_binary().display(),
        guest.target(),
        guest.directory.path("program").display()
    );
    let tmux = Tmux(guest.directory.path("tmux").into_os_string());
    tmux.run(&["new-session", "-d", "-x", "90", "-y", "30", "sh", "-c", &line]);
    tmux.wait_for("the screen is full", |screen| {
        screen.len() == 30
            && screen[9].find("middle") == Some(19)
            && screen[29].find("edge") == Some(86)
            && screen[0].is_empty()
    });
    tmux.run(&["send-keys", "q"]);
    tmux.wait_for("the old screen is back", |screen| {
        screen[0] == "before" && screen.iter().any(|line| line.starts_with("guest>"))
    });
    tmux.run(&["resize-window", "-x", "101", "-y", "33"]);
    until("the guest knows the new size", || {
        tmux.run(&["send-keys", "stty size", "Enter"]);
        tmux.screen().iter().any(|line| line == "33 101")
    });
}

#[test]
fn a_client_that_was_stopped_goes_on() {
    let guest = Guest::start();
    let mut terminal = shell(&guest, &[]);
    terminal.client.signal(Signal::STOP);
    terminal.resize(50, 60);
    terminal.client.signal(Signal::CONT);
    terminal.type_keys("while [ \"$(stty size)\" != '50 60' ]; do sleep 0.02; done; echo sa''me\r");
    terminal.wait_for("same");
    terminal.type_keys("exit\r");
    assert_eq!(terminal.end().code(), Some(0));
    assert!(agent_binary().exists());
}
