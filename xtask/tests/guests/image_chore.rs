//! `cargo xtask image`: the same words give the same bytes.

use std::fs;
use std::process::Command;

use crate::guest::wanted;
use xtask::arch::Arch;
use xtask::kernel::Kernel;
use xtask::scratch::Scratch;

#[test]
fn two_runs_of_the_chore_write_the_same_bytes() {
    if !wanted() {
        return;
    }
    let scratch = Scratch::new(&std::env::temp_dir(), "image").unwrap();
    for arch in Arch::ALL {
        let kernel = Kernel::find(arch, None).unwrap();
        let write = |name: &str| {
            let file = scratch.path(name);
            let mut chore = Command::new(env!("CARGO_BIN_EXE_xtask"));
            chore.args(["image", "--shell", "--arch", arch.name(), "--modules"]).arg(&kernel.image);
            chore.args(["--add", concat!(env!("CARGO_MANIFEST_DIR"), "/tests:/opt/tests"), "-o"]).arg(&file);
            let output = chore.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            fs::read(file).unwrap()
        };
        let first = write("first.cpio.gz");
        assert!(first.starts_with(b"\x1f\x8b"), "not by gzip");
        assert!(first == write("second.cpio.gz"), "two images for {arch} differ");
    }
}
