//! What `-v` and `-vv` tell: the story of a session in plain lines, and every record and frame; and never a secret.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::guest::keyed::{generate, keyed};
use crate::guest::proxy::{Fate, Proxy};
use crate::guest::pty::Terminal;
use crate::guest::{self, Finished, Guest, Running, TARGET, client, payload};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The lines that begin with the program's name, without it.
fn story(finished: &Finished) -> Vec<String> {
    let lines = finished.stderr().lines().filter_map(|line| line.strip_prefix("vsock-shell: "));
    lines.map(str::to_owned).collect()
}

/// A line about a record or a frame.
#[derive(Debug)]
struct Shown {
    seconds: f64,
    is_sent: bool,
    /// Behind the arrow; a frame's begins with spaces.
    what: String,
}

/// The lines about the wire.
#[track_caller]
fn shown(finished: &Finished) -> Vec<Shown> {
    let lines = finished.stderr().lines().filter(|line| !line.starts_with("vsock-shell: "));
    lines
        .map(|line| {
            let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let (whole, part) = time.split_once('.').unwrap_or_else(|| panic!("{line:?}"));
            assert!(part.len() == 6 && whole.bytes().chain(part.bytes()).all(|digit| digit.is_ascii_digit()));
            let is_sent = rest.starts_with("> ");
            assert!(is_sent || rest.starts_with("< "), "{line:?}");
            Shown { seconds: time.parse().unwrap(), is_sent, what: rest[2..].to_owned() }
        })
        .collect()
}

impl Shown {
    /// Bytes that it has on the wire.
    fn bytes(&self) -> u64 {
        let length = |rest: &str| rest.split(' ').next().unwrap().parse::<u64>().unwrap();
        match self.what.split_once(' ').unwrap_or((&self.what, "")) {
            ("PREAMBLE" | "ANSWER" | "CHALLENGE", _) => 64,
            ("PROOF", _) => 32,
            ("DATA", rest) => 8 + length(rest),
            ("ACK" | "PING" | "PONG", _) => 16,
            ("BYE", _) => 12,
            // What DATA carries.
            ("", _) => 0,
            other => panic!("{other:?}"),
        }
    }
}

/// The two numbers of the last line.
#[track_caller]
fn totals(story: &[String]) -> (u64, u64) {
    let last = story.last().unwrap();
    let (_, sums) = last.split_once(" s: ").or_else(|| last.split_once(" ms: ")).unwrap();
    let words: Vec<&str> = sums.split([' ', ',']).collect();
    assert_eq!((words[1], words[2], words[5]), ("bytes", "sent", "received"), "{last}");
    (words[0].parse().unwrap(), words[4].parse().unwrap())
}

/// The lines match these patterns one by one, `*` standing for anything.
#[track_caller]
fn assert_lines(lines: &[String], patterns: &[&str]) {
    let matches = |line: &str, pattern: &str| match pattern.split_once('*') {
        None => line == pattern,
        Some((head, tail)) => line.strip_prefix(head).is_some_and(|rest| match tail.split_once('*') {
            None => rest.ends_with(tail),
            Some((middle, end)) => rest.contains(middle) && rest.ends_with(end),
        }),
    };
    assert!(
        lines.len() == patterns.len()
            && lines.iter().zip(patterns).all(|(line, pattern)| matches(line, pattern)),
        "{lines:#?}\nare not\n{patterns:#?}"
    );
}

#[test]
fn one_v_tells_the_story_of_a_connection_in_plain_lines() {
    let guest = Guest::start();
    let finished = guest.run(["-v", TARGET, "echo out; exit 3"]);
    assert_eq!((finished.status(), finished.stdout()), (3, "out\n"));
    let story = story(&finished);
    assert_eq!(story.len(), finished.stderr().lines().count(), "{finished:?}");
    let about = format!("{}: ", guest.target());
    let lines: Vec<String> = story
        .iter()
        .map(|line| line.strip_prefix(&about).unwrap_or_else(|| panic!("{line}")).to_owned())
        .collect();
    assert_lines(
        &lines,
        &[
            "dialling",
            "connected after * ms",
            "session begun after *, protocol version 1",
            "channel 0: we opened it, exec",
            "agent vsock-shell-agent *: features JOBS, nothing denied, * 0 s without a connection",
            "channel 0: accepted as process *",
            "channel 0: exited with status 3 after *, 0 bytes sent, 4 received",
            "we closed the session",
            "over after *, one connection",
        ],
    );
    // Without it nothing is said.
    assert_eq!(guest.run([TARGET, "echo out"]).succeeded(), "out\n");
}

#[test]
fn what_is_denied_is_told() {
    let guest = Guest::start_by(|_| {
        let mut command = std::process::Command::new(guest::agent_binary());
        command.arg("--deny=put,shell");
        command
    });
    let finished = guest.run(["-v", TARGET, "true"]);
    assert!(finished.stderr().contains("denied: shell, put"), "{finished:?}");
}

#[test]
fn two_v_show_every_record_and_frame_and_their_bytes_add_up() {
    let guest = Guest::start();
    let words = ["-vv", "-E", "PASSWORD=hush", "-E", "EMPTY=", TARGET, "--", "true"];
    let finished = guest.run(words);
    assert_eq!((finished.status(), finished.stdout()), (0, ""));
    let lines = shown(&finished);
    assert!(lines.is_sorted_by(|a, b| a.seconds <= b.seconds), "{lines:#?}");
    let side = |is_sent| -> Vec<&str> {
        lines.iter().filter(|line| line.is_sent == is_sent).map(|line| line.what.as_str()).collect()
    };
    let sent = side(true);
    assert_eq!(sent[0], "PREAMBLE versions=1-1 kind=session flags=0 attempt=1 received=0");
    assert!(sent[1].starts_with("DATA "), "{sent:?}");
    assert!(sent[2].starts_with("  HELLO features=JOBS required=0 channels="), "{sent:?}");
    let request = [
        "  OPEN ch=0 kind=exec",
        "  DATA ch=0 flow=3 38",
        "    ARG \"true\"",
        "    ENV \"PASSWORD\"=…",
        "    ENV \"EMPTY\"=…",
        "  FINISH ch=0 flow=3",
    ];
    // Acknowledgements come when the agent has said something, and the end of the input when the client has seen it.
    let frames: Vec<_> = sent.iter().filter(|line| line.starts_with("  ")).copied().collect();
    assert_eq!(frames[1..7], request);
    assert_eq!(sent[sent.len() - 2..], ["  RELEASE ch=0", "  CLOSE code=NORMAL"]);
    let received = side(false);
    assert_eq!(received[0], "ANSWER version=1 version_max=1 status=CREATED attempt=1 received=0");
    let has = |what: &str| received.iter().any(|line| line.starts_with(what));
    for what in
        ["  HELLO ", "ACK offset=", "  ACCEPTED ch=0 value=", "  FINISH ch=0 flow=1", "  FINISH ch=0 flow=2"]
    {
        assert!(has(what), "no {what:?} in {received:#?}");
    }
    assert_eq!(received[received.len() - 2..], ["  EXIT ch=0 exited 0", "  RELEASE ch=0"]);
    let sum = |is_sent| lines.iter().filter(|line| line.is_sent == is_sent).map(Shown::bytes).sum();
    assert_eq!(totals(&story(&finished)), (sum(true), sum(false)));
    assert!(!finished.stderr().contains("hush"), "{finished:?}");
}

#[test]
fn bytes_add_up_also_where_a_stream_takes_a_part_of_what_is_written() {
    let guest = Guest::start();
    // Pipes, whose reader lets them fill up.
    let slow = format!("exec:{} --listen stdio | cat", guest::agent_binary().display());
    let input = payload(3_000_000);
    for target in [guest.target(), slow] {
        let mut command = client(["-vv", &target, "cat; exit 4"]);
        let finished = Running::start(&mut command).finish(&input);
        assert_eq!(finished.status(), 4);
        guest::assert_same(&finished.0.stdout, &input);
        let lines = shown(&finished);
        let sum = |is_sent| lines.iter().filter(|line| line.is_sent == is_sent).map(Shown::bytes).sum();
        assert_eq!(totals(&story(&finished)), (sum(true), sum(false)), "{target}");
        assert_eq!(input_bytes(finished.stderr()), input.len() as u64);
    }
}

/// Bytes of all DATA frames on flow 0.
fn input_bytes(told: &str) -> u64 {
    told.lines().filter_map(|line| line.split_once("DATA ch=0 flow=0 ")?.1.parse::<u64>().ok()).sum()
}

#[test]
fn r_3_6_a_lost_connection_is_told_with_what_comes_again() {
    const CUTS: usize = 6;
    let guest = Guest::keeping("60");
    let fate = |number| if number < CUTS { Fate::Cut(300_000 + 10_007 * number as u64) } else { Fate::Lasts };
    let proxy = Proxy::start(&guest, fate);
    let input = payload(4_000_000);
    let mut command = client(["-vv", &proxy.target(), "cat > /dev/null; exit 5"]);
    let finished = Running::start(&mut command).finish(&input);
    assert_eq!(finished.status(), 5);
    let told = finished.stderr();
    let count = |what: &str| told.lines().filter(|line| line.contains(what)).count();
    assert_eq!(proxy.connections(), CUTS + 1);
    assert_eq!(count(": connection lost: "), CUTS, "{told}");
    assert_eq!(count(": dialling"), CUTS + 1, "{told}");
    assert_eq!(count(": session begun after "), 1, "{told}");
    assert_eq!(count(" status=RESUMED "), CUTS, "{told}");
    assert_eq!(count("flags=MUST_EXIST "), CUTS, "{told}");
    assert!(told.contains(&format!(" received, {} connections\n", CUTS + 1)), "{told}");
    // What is said to come again does, connection by connection.
    let connections: Vec<&str> = told.split(": session resumed after ").skip(1).collect();
    assert_eq!(connections.len(), CUTS);
    let mut all = 0;
    for connection in &connections {
        let (_, rest) = connection.split_once(": ").unwrap();
        let again: u64 = rest.split(' ').next().unwrap().parse().unwrap();
        let repeated: u64 =
            connection.lines().filter_map(|line| line.split_once(" repeated=")?.1.parse::<u64>().ok()).sum();
        assert!(repeated <= again, "{again} and {repeated}");
        all += repeated;
    }
    assert!(all > 0, "{told}");
    // A frame is shown once, however often it was sent.
    assert_eq!(input_bytes(told), input.len() as u64);
    assert!(told.contains(": channel 0: exited with status 5 after "), "{told}");
    assert!(told.contains(&format!(", {} bytes sent, 0 received", input.len())), "{told}");
}

#[test]
fn each_failed_try_is_told_with_its_reason() {
    let directory = guest::Directory::new();
    let target = format!("unix:{}", directory.path("nothing").display());
    let finished = Running::start(&mut client(["-v", "--timeout", "1", &target, "true"])).finish(b"");
    assert_eq!(finished.status(), 255);
    let lines = story(&finished);
    assert_lines(
        &lines,
        &[
            &format!("{target}: dialling"),
            &format!("{target}: failed: No such file or directory"),
            &format!("{target}: failed * times more for this reason"),
            &format!("cannot reach {target}: No such file or directory (tried for 1 s; *)"),
        ],
    );
}

/// Runs a command with these options and this key.
fn with_key(guest: &Guest, options: &[&str], key: &Path) -> Finished {
    let words = options.iter().map(OsStr::new);
    guest.run(words.chain(["--key".as_ref(), key.as_os_str(), TARGET.as_ref(), "true".as_ref()]))
}

#[test]
fn a_refused_key_is_told_by_its_name_in_the_protocol() {
    let (guest, key) = keyed();
    let other = guest.directory.path("other");
    generate(&other).succeeded();
    let finished = with_key(&guest, &["-v"], &other);
    assert_eq!(finished.status(), 255);
    let about = guest.target();
    assert_lines(
        &story(&finished),
        &[
            &format!("{about}: dialling"),
            &format!("{about}: connected after * ms"),
            &format!("{about}: the agent asks for a key, boot id *, machine id *; we prove ours"),
            &format!("{about}: no session after 1.*: WRONG_KEY (the agent has another key)"),
            &format!("{about}: this is not the agent's key"),
        ],
    );
    let without = guest.run(["-vv", TARGET, "true"]);
    assert!(without.stderr().contains(": KEY_WANTED (the agent wants a key)\n"), "{without:?}");
    assert!(without.stderr().contains(" < ANSWER version=0 version_max=1 status=KEY_WANTED "), "{without:?}");
    let right = with_key(&guest, &["-vv"], &key);
    assert_eq!(right.status(), 0, "{right:?}");
    assert!(right.stderr().contains(": the agent has proved the same key\n"), "{right:?}");
    let exchange: Vec<String> = shown(&right).into_iter().take(5).map(|line| line.what).collect();
    assert_lines(
        &exchange,
        &[
            "PREAMBLE versions=1-1 kind=session flags=PROOF attempt=1 received=0",
            "CHALLENGE boot_id=* machine_id=*",
            "PROOF",
            "PROOF",
            "ANSWER version=1 version_max=1 status=CREATED attempt=1 received=0",
        ],
    );
    let sum = |is_sent| {
        let lines = shown(&right);
        lines.iter().filter(|line| line.is_sent == is_sent).map(Shown::bytes).sum()
    };
    assert_eq!(totals(&story(&right)), (sum(true), sum(false)));
}

/// Every way in which the key, or a part of it that is worth something, could be seen.
fn forms(digits: &str) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut forms = Vec::new();
    for at in 0..=32 - 6 {
        let (part, text) = (&bytes[at..at + 6], &digits[2 * at..2 * at + 12]);
        forms.push(part.to_vec());
        forms.push(text.as_bytes().to_vec());
        forms.push(text.to_uppercase().into_bytes());
        let numbers: Vec<String> = part.iter().map(u8::to_string).collect();
        forms.push(numbers.join(", ").into_bytes());
        // As text escapes it.
        forms.push(part.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).collect());
        // Of base64 whole groups: wherever it would begin, one of these stands in it.
        forms.push(STANDARD.encode(part).into_bytes());
        forms.push(URL_SAFE_NO_PAD.encode(part).into_bytes());
    }
    forms.push(STANDARD_NO_PAD.encode(digits).into_bytes());
    forms
}

#[test]
fn the_key_is_never_told_in_any_form() {
    // No byte of it is text, and no two are the same: what is found is the key.
    const DIGITS: &str = "f0e1d2c3b4a5968788990aabbccddeef80912a3b4c5d6e7f8f9eadbccbdae9f8";
    let forms = forms(DIGITS);
    let assert_secret = |finished: &Finished| {
        let (told, printed) = (&finished.0.stderr, &finished.0.stdout);
        assert!(!told.is_empty(), "nothing was told");
        for form in &forms {
            for bytes in [told, printed] {
                let found = bytes.windows(form.len()).any(|window| window == form);
                assert!(!found, "{:?} in {finished:?}", String::from_utf8_lossy(form));
            }
        }
    };
    // The search finds what it looks for, wherever it begins.
    let is_seen =
        |bytes: &[u8]| forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form));
    let key: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&DIGITS[2 * at..2 * at + 2], 16).unwrap()).collect();
    for before in 0..3 {
        let bytes = [&b"xx"[..before], &key].concat();
        assert!(
            is_seen(&bytes)
                && is_seen(STANDARD.encode(&bytes).as_bytes())
                && is_seen(format!("{bytes:?}").as_bytes())
        );
    }
    assert!(is_seen(DIGITS.as_bytes()) && is_seen(DIGITS.to_uppercase().as_bytes()) && !is_seen(b"nothing"));
    let write = |directory: &guest::Directory, name: &str, text: &str| -> PathBuf {
        let path = directory.path(name);
        generate(&path).succeeded();
        fs::write(&path, text).unwrap();
        path
    };
    let guest = Guest::start_by(|directory| {
        let mut command = std::process::Command::new(guest::agent_binary());
        command.args(["--grace", "60", "--key"]).arg(write(directory, "key", DIGITS));
        command
    });
    let key = guest.directory.path("key");
    let upper = write(&guest.directory, "upper", &format!("\n{} \n", DIGITS.to_uppercase()));
    for options in [&["-v"][..], &["-vv"], &["-vvv"], &["-v", "-q"], &["-vv", "--json"]] {
        for key in [&key, &upper] {
            let finished = with_key(&guest, options, key);
            assert_eq!(finished.status(), 0, "{finished:?}");
            assert_secret(&finished);
        }
    }
    // Nor where it is of no use: the agent's is another one, it has none, its file is open, or is no key.
    let (other, open) = (keyed().0, Guest::start());
    let readable = write(&guest.directory, "readable", DIGITS);
    fs::set_permissions(&readable, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let longer = write(&guest.directory, "longer", &format!("{DIGITS}0"));
    for (guest, key) in [(&other, &key), (&open, &key), (&guest, &readable), (&guest, &longer)] {
        for options in [&["-v"][..], &["-vv"]] {
            let finished = with_key(guest, options, key);
            assert_eq!(finished.status(), 255, "{finished:?}");
            assert_secret(&finished);
        }
    }
    // And not when a connection is replaced, for which it is proved again.
    let proxy = Proxy::start(&guest, |number| if number == 0 { Fate::Cut(100_000) } else { Fate::Lasts });
    let words = [
        "-vv".as_ref(),
        "--key".as_ref(),
        key.as_os_str(),
        proxy.target().as_ref(),
        "cat >/dev/null".as_ref(),
    ]
    .map(OsStr::to_owned);
    let finished = Running::start(&mut client(words)).finish(&payload(1_000_000));
    assert_eq!(finished.status(), 0, "{finished:?}");
    assert!(finished.stderr().contains(": session resumed after "), "{finished:?}");
    assert_secret(&finished);
}

#[test]
fn a_raw_terminal_shows_whole_lines() {
    let guest = Guest::start();
    let mut shell = Terminal::start(&guest.client(["-vv", "-t", TARGET, "--", "sh"]));
    let mut all = String::new();
    for (keys, answer) in [("printf 'no%s' end\n", "noend"), ("printf 'mo%s' re\n", "more")] {
        shell.type_keys(keys);
        all += &shell.wait_for(answer);
    }
    shell.type_keys("exit 6\n");
    assert_eq!(shell.end().code(), Some(6));
    all += &shell.rest();
    assert!(all.contains("EXIT ch=0 exited 6\r\n"), "{all:?}");
    for (at, _) in all.match_indices('\n') {
        assert!(all[..at].ends_with('\r'), "a line without a beginning behind {:?}", &all[..at]);
    }
    // Behind what the command has written, a prompt as a rule, a line begins anew.
    for line in all.lines().filter(|line| line.contains(" > ") || line.contains(" < ")) {
        assert!(line.starts_with(|first: char| first.is_ascii_digit()), "{line:?} in {all:?}");
    }
}

#[test]
fn a_file_gets_plain_lines_also_beside_a_raw_terminal() {
    let guest = Guest::start();
    let log = guest.directory.path("trace");
    let line = format!("exec \"$@\" 2>{}", log.display());
    let of_client = guest.client(["-vv", "-t", TARGET, "--", "sh", "-c", "echo out; exit 2"]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &line, "sh"]).arg(of_client.get_program()).args(of_client.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut shell = Terminal::start(&command);
    assert_eq!(shell.end().code(), Some(2));
    let told = fs::read_to_string(&log).unwrap();
    assert!(told.contains("EXIT ch=0 exited 2\n") && !told.contains('\r'), "{told:?}");
    assert!(!told.contains("\n\n"), "{told:?}");
}

#[test]
fn sessions_with_two_guests_are_told_apart() {
    let (one, other) = (Guest::start(), Guest::start());
    let from = one.directory.file("from", b"content");
    let to = other.directory.path("to");
    let words = ["-vv".into(), "cp".into(), one.remote(&from), other.remote(&to)];
    let finished = one.run(words);
    assert_eq!(finished.status(), 0, "{finished:?}");
    let told = finished.stderr();
    assert!(told.contains(&format!("{}: its records are shown as 2> and 2<\n", other.target())), "{told}");
    assert!(
        told.contains(" >   OPEN ch=0 kind=get\n") && told.contains(" 2>   OPEN ch=0 kind=put\n"),
        "{told}"
    );
    assert!(told.contains(" <   ACCEPTED ") && told.contains(" 2<   ACCEPTED "), "{told}");
}

#[test]
fn what_the_agent_opens_is_told_as_its_own() {
    let guest = Guest::start();
    let (there, here) = (guest.directory.path("there"), guest.directory.path("here"));
    let listener = UnixListener::bind(&here).unwrap();
    let forward = format!("{}:{}", there.display(), here.display());
    let mut running = Running::start(&mut guest.client(["-vv", "-R", &forward, TARGET, "cat"]));
    let mut caller = None;
    guest::until("somebody listens in the guest", || {
        caller = UnixStream::connect(&there).ok();
        caller.is_some()
    });
    let mut caller = caller.unwrap();
    caller.write_all(b"question").unwrap();
    let (mut called, _) = listener.accept().unwrap();
    let mut question = [0; 8];
    called.read_exact(&mut question).unwrap();
    called.write_all(b"answer").unwrap();
    drop(called);
    let mut answer = Vec::new();
    caller.read_to_end(&mut answer).unwrap();
    assert_eq!((&question, &answer[..]), (b"question", &b"answer"[..]));
    drop((caller, running.0.stdin.take()));
    let finished = running.finish(b"");
    assert_eq!(finished.status(), 0, "{finished:?}");
    let told = finished.stderr();
    for line in [
        ": channel 0: we opened it, listen\n",
        ": channel 1: the agent opened it, connect\n",
        " <   OPEN ch=1 kind=connect\n",
        " <     LISTENER 0\n",
        " >   ACCEPTED ch=1 value=0\n",
        " <   DATA ch=1 flow=0 8\n",
        " >   DATA ch=1 flow=1 6\n",
        ": channel 1: exited with status 0 after ",
        ", 6 bytes sent, 8 received\n",
    ] {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
}
