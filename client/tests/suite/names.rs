//! Names of guests: from the configuration and from the processes of this host, wherever a target can stand.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::monitor::Monitor;
use crate::guest::{self, Finished, Guest, Running, client, is_root};
use serde_json::Value;

/// A configuration, in the guest's directory, where the guest is called `box`.
fn configure(guest: &Guest, more: &str) -> PathBuf {
    let text = format!("[targets.box]\naddress = \"{}\"\n{more}", guest.target());
    guest.directory.file("config.toml", text.as_bytes())
}

/// The client with these words and this configuration.
#[track_caller]
fn configured<W: AsRef<OsStr>>(file: &Path, words: impl IntoIterator<Item = W>) -> Finished {
    Running::start(client(words).env("VSOCK_SHELL_CONFIG", file)).finish(b"")
}

#[test]
fn a_configured_name_is_a_target_of_commands_copies_and_verbs() {
    let guest = Guest::start();
    let file = configure(&guest, "");
    assert_eq!(configured(&file, ["box", "echo", "$((6 * 7))"]).succeeded(), "42\n");
    let (here, there) = (guest.directory.file("here", b"content"), guest.directory.path("there"));
    let operand = format!("box:{}", there.display());
    configured(&file, ["cp".as_ref(), here.as_os_str(), operand.as_ref()]).succeeded();
    assert_eq!(fs::read(&there).unwrap(), b"content");
    let back = guest.directory.path("back");
    configured(&file, ["cp".as_ref(), OsStr::new(&operand), back.as_os_str()]).succeeded();
    assert_eq!(fs::read(back).unwrap(), b"content");
    let there = there.to_str().unwrap();
    assert_eq!(configured(&file, ["fs", "cat", "box", there]).succeeded(), "content");
    configured(&file, ["wait", "box"]).succeeded();
}

#[test]
fn a_target_with_percent_signs_is_one_everywhere() {
    let guest = Guest::start();
    let word = guest.target().replace(':', "%");
    assert_eq!(guest.run([word.as_str(), "echo", "there"]).succeeded(), "there\n");
    guest.run(["wait", &word]).succeeded();
    guest.run(["fs", "stat", &word, "/"]).succeeded();
}

#[test]
fn options_of_the_configuration_hold_and_the_command_line_counts_more() {
    let guest = Guest::start();
    let file = configure(&guest, "env = { A = \"configured\", B = \"kept\" }\ndirectory = \"/\"\n");
    let line = "echo $A $B; pwd";
    assert_eq!(configured(&file, ["box", line]).succeeded(), "configured kept\n/\n");
    assert_eq!(
        configured(&file, ["-E", "A=typed", "-C", "/proc", "box", line]).succeeded(),
        "typed kept\n/proc\n"
    );
}

#[test]
fn the_own_file_is_in_the_directory_of_configurations() {
    let guest = Guest::start();
    let home = guest.directory.subdirectory("home");
    let folder = home.join(".config/vsock-shell");
    fs::create_dir_all(&folder).unwrap();
    fs::rename(configure(&guest, ""), folder.join("config.toml")).unwrap();
    let run = |name: &str, value: &Path| {
        Running::start(client(["box", "echo", "there"]).env_remove("VSOCK_SHELL_CONFIG").env(name, value))
            .finish(b"")
    };
    for (name, value) in [("HOME", home.clone()), ("XDG_CONFIG_HOME", home.join(".config"))] {
        let mut command = client(["box", "echo", "there"]);
        command.env_clear().env(name, value);
        assert_eq!(Running::start(&mut command).finish(b"").succeeded(), "there\n", "{name}");
    }
    run("VSOCK_SHELL_CONFIG", &home.join("none")).failed(255, &["home/none: No such file or directory"]);
}

#[test]
fn a_mistake_in_the_configuration_is_one_line_with_its_place() {
    let guest = Guest::start();
    let file = configure(&guest, "recconect = 3\n");
    let place = format!("{}:3: targets.box.recconect", file.display());
    configured(&file, ["box", "true"]).failed(255, &[&place, "did you mean `reconnect`?"]);
    let file = configure(&guest, "reconnect = \"soon\"\n");
    configured(&file, ["box", "true"])
        .failed(255, &[&format!("{}:3: cannot use --reconnect `soon`", file.display())]);
    // What is reached by its address does not depend on it.
    configured(&file, [guest.target().as_str(), "true"]).succeeded();
}

#[test]
fn a_mistyped_name_hints_at_the_near_one() {
    let guest = Guest::start();
    let file = configure(&guest, "");
    configured(&file, ["bxo", "true"]).failed(255, &["cannot use target `bxo`", "did you mean `box`?"]);
    configured(&file, ["cp", "bxo:/a", "."]).failed(255, &["cannot use target `bxo`", "did you mean `box`?"]);
}

#[test]
fn a_guest_that_runs_is_found_by_its_process_and_its_name_is_a_target() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    configure(&guest, "");
    let monitor = Monitor::new(&guest);
    assert_eq!(monitor.client(&guest, "webvm -- echo there").succeeded(), "there\n");
    monitor.client(&guest, "wbevm -- echo there").failed(255, &["did you mean `webvm`?"]);
    assert_eq!(monitor.client(&guest, "each 'web?m' -- echo there").succeeded(), "webvm: there\n");
}

#[test]
fn targets_tells_what_is_known_and_whether_an_agent_answers() {
    if !is_root() {
        return;
    }
    let guest = Guest::start();
    let gone = guest.directory.path("gone");
    configure(
        &guest,
        &format!(
            "[targets.gone]\naddress = \"unix:{}\"\n[targets.\"ci-*\"]\nuser = \"root\"\n[targets.off]\nuser = \"root\"\n",
            gone.display()
        ),
    );
    let monitor = Monitor::new(&guest);
    let told = monitor.client(&guest, "targets --json");
    let Value::Array(targets) = serde_json::from_str(told.succeeded()).unwrap() else { panic!("{told:?}") };
    let field = |field: &str| targets.iter().map(|target| target[field].clone()).collect::<Vec<_>>();
    assert_eq!(field("name"), ["box", "gone", "off", "webvm", "ci-*"]);
    let [yes, no, unasked] = [Value::from(true), Value::from(false), Value::Null];
    assert_eq!(field("agent"), [yes.clone(), no.clone(), no, yes, unasked]);
    assert_eq!(
        field("source"),
        ["configuration", "configuration", "configuration", "firecracker", "configuration"]
    );
    assert_eq!(targets[3]["address"], format!("mux:{}:5000", guest.directory.path("ports").display()));
    assert!(targets[3]["pid"].is_u64() && targets[0]["pid"].is_null());
    assert!(targets[2]["error"].as_str().unwrap().contains("no guest of this name runs here"));
    let table = monitor.client(&guest, "targets");
    let rows: Vec<Vec<&str>> =
        table.succeeded().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "AGENT", "SOURCE", "ADDRESS"]);
    assert_eq!(
        (rows[1][..3].join(" "), rows[2][..2].join(" ")),
        ("box yes configuration".into(), "gone no".into())
    );
    assert_eq!(rows.len(), 6);
    // The question has left nothing behind.
    guest.is_idle();
}

#[test]
fn a_guest_with_a_key_answers_as_well() {
    if !is_root() {
        return;
    }
    let guest = Guest::start_by(|directory| {
        let key = directory.path("key");
        client(["keygen".as_ref(), key.as_os_str()]).status().unwrap();
        let mut command = Command::new(guest::agent_binary());
        command.arg("--key").arg(key);
        command
    });
    configure(&guest, "");
    let told = Monitor::new(&guest).client(&guest, "targets --json");
    let targets: Value = serde_json::from_str(told.succeeded()).unwrap();
    assert_eq!(targets[0]["agent"], true, "{targets}");
}
