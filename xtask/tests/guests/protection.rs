//! What is to protect a guest does so whatever happens to the agent, and whatever is written wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::{bare, boot, fails, handover, setup, succeeds, wanted};
use xtask::arch::Arch;
use xtask::scratch::Scratch;
use xtask::vm::{Machine, Setup};
use xtask::workspace;

/// Makes a key.
fn generate(path: PathBuf) -> PathBuf {
    let made = Command::new(workspace::client()).arg("keygen").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

/// Nobody gets in without the key, or with another; with it commands run.
#[track_caller]
fn wants_its_key(machine: &Machine, other: &Path) {
    for (options, reason) in
        [(&[][..], "wants a key"), (&["--key", other.to_str().unwrap()][..], "not the agent's key")]
    {
        let mut client = Command::new(workspace::client());
        let refused = client.args(options).args([&machine.target(), "echo in"]).output().unwrap();
        assert_eq!((refused.status.code(), &refused.stdout[..]), (Some(255), &b""[..]), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(reason), "{refused:?}");
    }
    assert_eq!(succeeds(machine, &["<target>", "echo in"]), "in\n");
}

/// The agent is started again where its key can be found no more, and after that in another root.
#[track_caller]
fn keeps_its_key(setup: &Setup, other: &Path, forget: &str) {
    let machine = boot(setup);
    wants_its_key(&machine, other);
    succeeds(&machine, &["<target>", forget]);
    handover::restart_agent(&machine);
    wants_its_key(&machine, other);
    handover::enter_the_new_root(&machine);
    let is_gone = "test ! -e /etc/vsock-shell.key && test ! -e /sys/firmware";
    succeeds(&machine, &["<target>", is_gone]);
    handover::restart_agent(&machine);
    wants_its_key(&machine, other);
    assert_eq!(succeeds(&machine, &["<target>", "cat", "/where"]), "new\n");
}

#[test]
fn an_agent_that_is_started_again_after_switch_root_has_the_key_of_the_image() {
    if !wanted() {
        return;
    }
    let files = Scratch::new(&std::env::temp_dir(), "key").unwrap();
    let (key, other) = (generate(files.path("key")), generate(files.path("other")));
    let mut setup = setup(Arch::X86_64);
    handover::prepare(&mut setup);
    setup.recipe.key = Some(key.clone());
    setup.key = Some(key);
    keeps_its_key(&setup, &other, "rm /etc/vsock-shell.key && umount /sys");
}

#[test]
fn an_agent_that_is_started_again_after_switch_root_has_the_key_of_the_hypervisor() {
    if !wanted() {
        return;
    }
    let files = Scratch::new(&std::env::temp_dir(), "key").unwrap();
    let (key, other) = (generate(files.path("key")), generate(files.path("other")));
    let mut setup = setup(Arch::X86_64);
    handover::prepare(&mut setup);
    let digits = std::fs::read_to_string(&key).unwrap();
    let credential = format!("type=11,value=io.systemd.credential:vsock-shell.key={}", digits.trim());
    setup.hardware = vec!["-smbios".to_owned(), credential];
    setup.key = Some(key);
    keeps_its_key(&setup, &other, "umount /sys");
}

/// Process 1 says these words and starts the agent again and again, which says `again`; whoever comes by any way is not served.
#[track_caller]
fn serves_nobody(kernel: &str, option: &str, words: &str, again: &str) {
    let mut setup = bare();
    setup.words = format!("{kernel} -- {option}");
    let mut machine =
        Machine::boot_to_console(&setup, words).unwrap_or_else(|error| panic!("{option}: {error:#}"));
    machine.shows(again, 2).unwrap_or_else(|error| panic!("{option}: {error:#}"));
    for target in [machine.target(), machine.target_on_port(), machine.target_on_line()] {
        let mut client = Command::new(workspace::client());
        let refused = client.args(["--timeout", "1", "info", &target]).output().unwrap();
        let (status, answer) = (refused.status.code(), &refused.stdout[..]);
        assert_eq!((status, answer), (Some(255), &b""[..]), "{option}, {target}: {refused:?}");
    }
    // It is the agent that is missing, and not the machine.
    let before = machine.console().matches(again).count();
    machine.shows(again, before + 1).unwrap_or_else(|error| panic!("{option}: {error:#}"));
}

#[test]
fn process_1_serves_nobody_where_an_option_that_protects_was_not_understood() {
    if !wanted() {
        return;
    }
    // On the console of a quiet kernel.
    for (option, words) in [
        ("--deny=exce", "not an ability; --help has them: exce"),
        ("--read-only=yes", "--read-only=yes"),
        ("--key", "option needs a value: --key"),
        ("--user", "option needs a value: --user"),
    ] {
        serves_nobody("", option, words, "was not understood: nobody is served");
    }
}

#[test]
fn process_1_serves_nobody_where_what_is_to_protect_it_cannot_be_had() {
    if !wanted() {
        return;
    }
    // The words are an error; that the agent ended is a warning, which a quiet kernel does not show.
    for (option, words) in [
        ("--key=/etc/kez", "cannot read the key /etc/kez: no such file or directory"),
        ("--user=nobdoy", "nobdoy: no such user"),
    ] {
        serves_nobody("loglevel=5", option, words, "vsock-shell-agent: the agent ended, status ");
    }
}

#[test]
fn the_same_options_written_right_protect() {
    if !wanted() {
        return;
    }
    let mut setup = bare();
    setup.words = "-- --deny=exec --read-only".to_owned();
    let machine = boot(&setup);
    fails(&machine, &["<target>", "--", "/bin/true"], 255, &["denied"]);
    fails(&machine, &["fs", "mkdir", "<target>", "/new"], 255, &["denied"]);
    // What is allowed works.
    succeeds(&machine, &["fs", "ls", "<target>", "/"]);
}
