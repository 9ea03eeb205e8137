//! `cargo xtask COMMAND`: every chore of vsock-shell.
//!
//! This file only names the chores and hands the rest of the command line to the one that was asked for. Each chore
//! is a module; what several of them need is in `workspace` (paths and cargo), `packages` (what Debian has to
//! provide), `debian` (files out of its packages), `arch`, `kernel` and `scratch` (private folders and servers that never
//! outlive us). The bench's floors are a second binary, `src/floor/`. It is a library so that `tests/` can start guests.
#![forbid(unsafe_code)]

pub mod arch;
mod asan;
mod bench;
mod build;
mod cross;
pub mod debian;
mod demo;
pub mod dist;
mod features;
mod fuzz;
pub mod image;
pub mod kernel;
pub mod manual;
mod nightly;
pub mod packages;
mod portability;
mod rules;
pub mod scratch;
mod size;
mod suite;
pub mod terminal;
pub mod vm;
pub mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask build                      the client and the static agent, in target/release/
cargo xtask dist [TARGET]…             static agents, the client, their manual pages, completions and digests, in target/dist/;
                                       TARGETs are more of rustc's
cargo xtask image [OPTION]… -o FILE    an initramfs with the agent as /init; without options it says which there are
cargo xtask vm [OPTION]… [-- COMMAND…] boots such an image in QEMU: a shell in it, or a command and its exit status
cargo xtask demo                       both at work on a private socket: a command, a file, a shell
cargo xtask test [ARG]…                every test; with ARGs only `cargo test --workspace ARG…`
cargo xtask fuzz [TARGET] [--seconds N] [--keep]
                                       looks for inputs that break something; `canary`: whether it would find one
cargo xtask fuzz --coverage            the lines of proto that the committed corpus reaches
cargo xtask asan                       the agent's tests, and an agent that is driven, under AddressSanitizer
cargo xtask portability                proto without std, and its tests on 32 bits (part of `test`)
cargo xtask rules                      whether each rule of the protocol that can be broken has a test that breaks it
cargo xtask size [--json]              what the agent weighs, and whether it is fully static
cargo xtask bench [--quick] [--rows 1,3] [--rounds N] [--markdown FILE]
                                       side by side with its floors, ssh, rsync, dropbear and socat
cargo xtask packages                   install what all of these need from Debian, or print the line that does";

/// Performs the chore that the command line names.
pub fn main() -> ExitCode {
    scratch::end_on_signal();
    scratch::end_on_panic();
    let mut arguments = std::env::args_os().skip(1);
    let chore = arguments.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
    let outcome = perform(&chore, arguments.collect());
    scratch::give_way_to_signal();
    match outcome {
        Ok(status) => status,
        Err(error) => {
            eprintln!("xtask {chore}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(chore: &str, arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let done = match chore {
        "vm" => return vm::main(arguments),
        "image" => image::main(arguments),
        "test" => suite::main(&arguments),
        "size" => size::main(arguments),
        "bench" => bench::main(arguments),
        "fuzz" => fuzz::main(arguments),
        "dist" => dist::main(&arguments),
        _ if !arguments.is_empty() => anyhow::bail!("no such chore, or it takes no arguments\n{USAGE}"),
        "asan" => asan::main(),
        "build" => build::main(),
        "demo" => demo::main(),
        "portability" => portability::main(),
        "rules" => rules::main(),
        "packages" => packages::main(),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => anyhow::bail!("no such chore\n{USAGE}"),
    };
    done.map(|()| ExitCode::SUCCESS)
}
