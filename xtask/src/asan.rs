//! `cargo xtask asan`: the agent under AddressSanitizer, built by the [nightly](crate::nightly) toolchain.
//!
//! First the bugs of `agent/src/sys/canary.rs` have to be found. Then all tests of the agent run so, of which those in
//! `agent/src/sys/` reach its unsafe code; and tests of the client drive an agent that was built so. A finding may be in a
//! process whose end nobody looks at, and so findings go to files, of which there must be none.
//!
//! What the kernel reads and writes for us is not seen: the agent makes its calls itself. Nor is what only the static file
//! has, its first instructions; nor the gate once it is confined, where the sanitizer's own calls are not allowed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::nightly::{nightly, require_nightly};
use crate::scratch::Scratch;
use crate::workspace;

/// The module with the bugs on purpose, and what each of them is called.
const CANARY: &str = "sys::canary::";
const BUGS: [(&str, &str); 3] = [
    ("a_byte_behind_the_heap", "heap-buffer-overflow"),
    ("a_byte_behind_the_stack", "stack-buffer-overflow"),
    ("a_byte_behind_a_static", "global-buffer-overflow"),
];
/// Tests of the client with which the agent is driven: what it can do, in less than a minute. First programs of their own,
/// then what of the joined tests.
const PROGRAMS: [&str; 2] = ["hostile_sizes", "terminal"];
const MODULES: [&str; 6] = ["exec", "frames", "fs", "system", "transfer", "trees"];
/// But not this one, which is more of the same.
const LONG: &str = "trees::a_hundred_thousand_files";

/// `cargo xtask asan`.
pub fn main() -> Result<()> {
    let asan = Asan::find()?;
    asan.find_the_canarys_bugs()?;
    let is_clean = |tests: &mut Command| {
        let scratch = Scratch::new(&std::env::temp_dir(), "asan")?;
        let ended = workspace::run(tests.env("ASAN_OPTIONS", options(&scratch)));
        ensure!(findings(&scratch)?.is_empty(), "AddressSanitizer has found what is above");
        ended
    };
    is_clean(&mut asan.cargo(&["test", "--quiet"]))?;
    is_clean(asan.drivers().args(PROGRAMS.iter().flat_map(|name| ["--test", name])))?;
    for module in MODULES {
        let file = workspace::root().join(format!("client/tests/suite/{module}.rs"));
        ensure!(file.is_file(), "{} is not there to drive the agent", file.display());
    }
    let modules = MODULES.map(|module| format!("{module}::"));
    is_clean(asan.drivers().args(["--test", "suite", "--"]).args(modules).args(["--skip", LONG]))
}

/// Findings go to files. What tests leak is theirs: the agent has no heap.
fn options(scratch: &Scratch) -> String {
    format!("detect_leaks=0:log_path={}", scratch.path("finding").display())
}

/// Shows what was found, and gives it.
fn findings(scratch: &Scratch) -> Result<String> {
    let mut all = String::new();
    for entry in fs::read_dir(scratch.path(""))? {
        all += &String::from_utf8_lossy(&fs::read(entry?.path())?);
    }
    eprint!("{all}");
    Ok(all)
}

/// Where and for what it builds.
struct Asan {
    target: String,
    work: PathBuf,
}

impl Asan {
    fn find() -> Result<Self> {
        require_nightly()?;
        let version = workspace::output(nightly(Path::new("rustc")).arg("-vV"))?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let target = host.context("rustc does not say for what it builds")?.to_owned();
        Ok(Self { target, work: workspace::target_dir().join("asan") })
    }

    /// cargo for the agent. With a target its flags are not those of build scripts.
    fn cargo(&self, words: &[&str]) -> Command {
        let mut cargo = nightly(Path::new("cargo"));
        cargo.args(words).args(["-p", "vsock-shell-agent", "--target", &self.target, "--target-dir"]);
        cargo.arg(&self.work).env("RUSTFLAGS", "-Zsanitizer=address");
        cargo
    }

    /// The agent that is built beside its tests.
    fn agent(&self) -> PathBuf {
        self.work.join(&self.target).join("debug/vsock-shell-agent")
    }

    /// cargo for tests of the client that drive this agent.
    fn drivers(&self) -> Command {
        let mut cargo = workspace::cargo();
        // Of the workspace, whose tests are built already.
        cargo.args(["test", "--quiet", "--workspace"]);
        cargo.env("VSOCK_SHELL_AGENT", self.agent()).env_remove("VSOCK_SHELL_CLIENT");
        cargo
    }

    /// The harness finds the bugs that are there on purpose.
    fn find_the_canarys_bugs(&self) -> Result<()> {
        for (name, kind) in BUGS {
            let scratch = Scratch::new(&std::env::temp_dir(), "canary")?;
            let mut cargo = self.cargo(&["test", "--quiet", "--lib"]);
            cargo.args(["--", "--ignored", "--exact"]).arg(format!("{CANARY}{name}"));
            let output =
                cargo.env("ASAN_OPTIONS", options(&scratch)).output().context("cannot run rustup")?;
            let found = fs::read_dir(scratch.path(""))?.flatten().any(|entry| {
                fs::read(entry.path()).is_ok_and(|text| String::from_utf8_lossy(&text).contains(kind))
            });
            if output.status.success() || !found {
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
                bail!("the canary's {name} was not found: the harness finds nothing");
            }
            println!("the canary's bug was found: {kind}");
        }
        Ok(())
    }
}
