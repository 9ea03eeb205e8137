//! The agent in initrds that distributions make, put there by `agent/integration/`.

mod guest;

use std::path::Path;
use std::process::Command;

use guest::{boot, run, setup, succeeds, wanted};
use xtask::arch::Arch;
use xtask::scratch::Scratch;
use xtask::{debian, workspace};

/// What it takes to run `mkinitramfs`: Debian leaves out of dependencies what every system has.
const PACKAGES: [&str; 16] = [
    "base-files",
    "bash",
    "busybox",
    "dash",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "initramfs-tools-core",
    "kmod",
    "libc-bin",
    "linux-base",
    "mawk",
    "sed",
    "util-linux",
    "zstd",
];

/// Gives the root a /dev and a /proc that vanish with the process, and runs a program in it.
const ENTER: &str = "mount --rbind /dev \"$1/dev\" && mount --rbind /proc \"$1/proc\" && exec chroot \"$@\"";

fn succeed(command: &mut Command) {
    workspace::output(command).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn debians_initrd_is_entered_while_its_boot_stands_still() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    let kernel = &setup.kernel;
    let pristine = debian::root("initramfs", &PACKAGES, Arch::X86_64).unwrap();
    // Beside it, and not in a temporary folder that may be small.
    let scratch = Scratch::new(&workspace::target_dir(), "initrd").unwrap();
    let root = scratch.path("root");
    succeed(Command::new("cp").arg("-a").args([&pristine, &root]));
    let modules = root.join("usr/lib/modules").join(&kernel.release);
    std::fs::create_dir_all(modules.parent().unwrap()).unwrap();
    succeed(Command::new("cp").arg("-a").args([kernel.modules.as_ref().unwrap(), &modules]));
    let config = format!("config-{}", kernel.release);
    std::fs::copy(kernel.image.with_file_name(&config), root.join("boot").join(&config)).unwrap();
    let integration = workspace::root().join("agent/integration");
    let install = |from: &Path| succeed(Command::new("install").arg(from).arg(root.join("usr/sbin")));
    install(&workspace::agent());
    install(&integration.join("vsock-shell-start"));
    let hooks = integration.join("initramfs-tools/.");
    succeed(Command::new("cp").arg("-r").args([&hooks, &root.join("etc/initramfs-tools")]));
    let mut make = Command::new("unshare");
    make.args(["--mount", "sh", "-ec", ENTER, "sh"]).arg(&root);
    succeed(make.args(["mkinitramfs", "-o", "/initrd", &kernel.release]));

    setup.initrd = Some(root.join("initrd"));
    // With a limit for panics, which tests have, this initrd gives nobody a shell, and does not stand still.
    setup.words = "panic= break=mount".to_owned();
    let machine = boot(&setup);
    assert_eq!(succeeds(&machine, &["<target>", "--", "uname", "-r"]).trim(), setup.kernel.release);
    assert_eq!(run(&machine, &["<target>", "exit 7"]).status.code(), Some(7));
    assert_eq!(succeeds(&machine, &["<target>", "grep -c ' /root ' /proc/mounts || :"]), "0\n");
    // The name by which systemd spares it.
    let name = "tr '\\0' '\\n' < /proc/$PPID/cmdline | head -n 1";
    assert_eq!(succeeds(&machine, &["<target>", name]), "@vsock-shell-agent\n");
}
