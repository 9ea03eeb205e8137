//! Guests for the tests, and their files.
//!
//! `cargo xtask test` gets what guests need and sets `VSOCK_SHELL_VM`. Without it, and without `CI=true`, the tests say that they
//! are skipped; with either, whatever is missing is a failure.

pub mod handover;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Once;
use std::time::Duration;

use serde_json::Value;
use xtask::arch::Arch;
use xtask::image::Addition;
use xtask::kernel::Kernel;
use xtask::scratch;
use xtask::vm::{Machine, Setup, Transport};
use xtask::workspace;

/// What takes longer than this has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Guests are wanted here; otherwise says that the test is skipped.
pub fn wanted() -> bool {
    static ENDS_CLEANLY: Once = Once::new();
    ENDS_CLEANLY.call_once(scratch::end_on_signal);
    let wanted = is_set("VSOCK_SHELL_VM", "1") || is_ci();
    if !wanted {
        skipped("guests: `cargo xtask test`");
    }
    wanted
}

/// This machine has these programs; otherwise says that the test is skipped, which on a machine of CI is a failure.
pub fn has(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !Path::new(program).exists());
    if let Some(missing) = missing {
        assert!(!is_ci(), "no {missing}, and CI=true");
        skipped(missing);
    }
    missing.is_none()
}

fn is_set(name: &str, value: &str) -> bool {
    std::env::var(name).is_ok_and(|found| found == value)
}

fn is_ci() -> bool {
    is_set("CI", "true")
}

fn skipped(needed: &str) {
    eprintln!("SKIPPED: {} needs {needed}", std::thread::current().name().unwrap_or("this test"));
}

/// What a guest of this architecture is made of.
pub fn setup(arch: Arch) -> Setup {
    Setup::new(arch, Kernel::find(arch, None).unwrap(), Transport::VhostUser)
}

/// What a guest is made of that has the client too.
pub fn with_client() -> Setup {
    let mut setup = setup(Arch::X86_64);
    let client = Addition { source: workspace::client(), place: "/bin/vsock-shell".to_owned() };
    setup.recipe.additions.push(client);
    setup
}

/// What a guest is made of that holds the agent, the modules of its transport, and nothing else.
pub fn bare() -> Setup {
    let mut setup = setup(Arch::X86_64);
    setup.recipe.shell = false;
    setup
}

/// A guest whose agent answers.
pub fn boot(setup: &Setup) -> Machine {
    Machine::boot(setup).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Runs the client with these words and an empty standard input.
pub fn run(machine: &Machine, words: &[&str]) -> Output {
    machine.client(words).stdin(Stdio::null()).output().unwrap()
}

/// As [`run`]; it has to succeed, and its standard output is the result.
#[track_caller]
pub fn succeeds(machine: &Machine, words: &[&str]) -> String {
    let output = run(machine, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// As [`run`]; it has to end with this status, and to say all of this on standard error.
#[track_caller]
pub fn fails(machine: &Machine, words: &[&str], status: i32, said: &[&str]) {
    let output = run(machine, words);
    assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(said.iter().all(|part| error.contains(part)), "{words:?}: {error:?} lacks one of {said:?}");
    assert_eq!(error.lines().count(), 1, "{words:?}: {error}");
}

/// As [`succeeds`], of a verb that prints one object.
#[track_caller]
pub fn object(machine: &Machine, words: &[&str]) -> Value {
    let text = succeeds(machine, words);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

/// A path in the guest, as `cp` takes it.
pub fn there(machine: &Machine, path: &str) -> String {
    format!("{}:{path}", machine.target().replace('%', "%%").replace(':', "%"))
}

/// A file whose every byte is a function of its offset.
pub fn write_payload(path: &Path, length: u64) {
    let byte = |offset: u64| (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    std::fs::write(path, (0..length).map(byte).collect::<Vec<u8>>()).unwrap();
}

/// What `sha256sum` says of a file of this machine.
pub fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    first_word(&String::from_utf8(output.stdout).unwrap())
}

/// The first word of a text.
pub fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Sends a file of `length` bytes up and down again, and compares the digests of what was sent, arrived and came back.
#[track_caller]
pub fn send_and_fetch(machine: &Machine, length: u64) {
    let (sent, back) = (machine.path("sent"), machine.path("back"));
    write_payload(&sent, length);
    succeeds(machine, &["<target>", "-u", &format!("{}:/tmp/file", sent.display())]);
    let arrived = first_word(&succeeds(machine, &["<target>", "--", "sha256sum", "/tmp/file"]));
    succeeds(machine, &["<target>", "-d", &format!("/tmp/file:{}", back.display())]);
    succeeds(machine, &["<target>", "--", "rm", "/tmp/file"]);
    assert_eq!([sha256(&sent), sha256(&back)], [arrived.clone(), arrived]);
}
