//! The agent in initrds that distributions make, put there by `agent/integration/`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::guest::{DEADLINE, boot, run, setup, succeeds, wanted};
use xtask::arch::Arch;
use xtask::scratch::Scratch;
use xtask::vm::{Machine, Setup};
use xtask::{debian, workspace};

/// What every system has, and Debian therefore leaves out of dependencies.
const BASE: [&str; 13] = [
    "base-files",
    "bash",
    "dash",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "kmod",
    "libc-bin",
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

/// A tool that makes initrds.
struct Tool<'t> {
    /// What it comes with.
    packages: &'t [&'t str],
    /// A folder of `agent/integration`, and where its content goes.
    hooks: (&'t str, &'t str),
    /// What makes the file `/initrd`, hardly compressed, which would take longer than all else; `<release>` stands for the
    /// kernel's.
    words: &'t [&'t str],
}

/// Runs the tool in a root of its own, with the agent and the hooks in it, for the kernel of `setup`, whose initrd the result is.
fn give_initrd(setup: &mut Setup, tool: &Tool<'_>) -> Scratch {
    let kernel = &setup.kernel;
    let packages = [&BASE[..], tool.packages].concat();
    let pristine = debian::root(tool.packages[0], &packages, Arch::X86_64).unwrap();
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
    let (from, to) = tool.hooks;
    succeed(Command::new("cp").arg("-r").args([&integration.join(from).join("."), &root.join(to)]));
    let mut make = Command::new("unshare");
    make.args(["--mount", "sh", "-ec", ENTER, "sh"]).arg(&root);
    succeed(make.args(tool.words.iter().map(|word| word.replace("<release>", &kernel.release))));
    setup.initrd = Some(root.join("initrd"));
    scratch
}

/// Commands run in it, before there is a root, from an agent that systemd would spare.
#[track_caller]
fn is_entered_before_the_root(machine: &Machine, release: &str, place_of_root: &str) {
    assert_eq!(succeeds(machine, &["<target>", "--", "uname", "-r"]).trim(), release);
    assert_eq!(run(machine, &["<target>", "exit 7"]).status.code(), Some(7));
    let mounted = format!(
        "while read -r _ place _; do test $place = {place_of_root} && echo $place; done < /proc/mounts; :"
    );
    assert_eq!(succeeds(machine, &["<target>", &mounted]), "");
    let name = "IFS= read -r -n 18 name < /proc/$PPID/cmdline; echo $name";
    assert_eq!(succeeds(machine, &["<target>", name]), "@vsock-shell-agent\n");
}

#[test]
fn debians_initrd_is_entered_while_its_boot_stands_still() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    let tool = Tool {
        packages: &["initramfs-tools-core", "busybox", "linux-base"],
        hooks: ("initramfs-tools", "etc/initramfs-tools"),
        words: &["mkinitramfs", "-l", "1", "-o", "/initrd", "<release>"],
    };
    let _files = give_initrd(&mut setup, &tool);
    // With a limit for panics, which tests have, this initrd gives nobody a shell, and does not stand still.
    setup.words = "panic= break=mount".to_owned();
    is_entered_before_the_root(&boot(&setup), &setup.kernel.release, "/root");
}

#[test]
fn dracuts_initrd_is_entered_while_its_boot_stands_still() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    let tool = Tool {
        packages: &["dracut-core", "coreutils", "mount", "udev"],
        hooks: ("dracut", "usr/lib/dracut/modules.d"),
        words: &["dracut", "--no-hostonly", "--no-compress", "--force", "/initrd", "<release>"],
    };
    let _files = give_initrd(&mut setup, &tool);
    setup.words = "rd.break".to_owned();
    is_entered_before_the_root(&boot(&setup), &setup.kernel.release, "/sysroot");
}

/// What the root of the test is: as much as systemd asks of a root, with a shell as its init.
const REAL_ROOT: &str = "\
    mkdir -p \"$1/bin\" \"$1/sbin\" \"$1/etc\" \"$1/proc\" \"$1/sys\" \"$1/dev\" \"$1/run\" \"$1/tmp\" && \
    cp \"$2\" \"$1/bin/busybox\" && ln -s busybox \"$1/bin/sh\" && \
    printf 'ID=real\\n' > \"$1/etc/os-release\" && \
    printf '#!/bin/sh\\nexec /bin/busybox sleep 1000\\n' > \"$1/sbin/init\" && chmod 755 \"$1/sbin/init\" && \
    mke2fs -q -t ext4 -d \"$1\" \"$3\" 32M";

#[test]
fn an_agent_of_an_initrd_with_systemd_goes_on_in_the_real_root() {
    if !wanted() {
        return;
    }
    let mut setup = setup(Arch::X86_64);
    let tool = Tool {
        packages: &["systemd", "dracut-core", "coreutils", "mount", "udev"],
        hooks: ("dracut", "usr/lib/dracut/modules.d"),
        words: &[
            "dracut",
            "--no-hostonly",
            "--no-compress",
            "-a",
            "systemd-initrd",
            "--force",
            "/initrd",
            "<release>",
        ],
    };
    let _files = give_initrd(&mut setup, &tool);
    let files = Scratch::new(&workspace::target_dir(), "root").unwrap();
    let disk = files.path("disk");
    let busybox = debian::unpacked("busybox-static", Arch::X86_64).unwrap().join("bin/busybox");
    let mut make = Command::new("sh");
    make.args(["-ec", REAL_ROOT, "sh"]).args([&files.path("tree"), &busybox, &disk]);
    succeed(&mut make);
    setup.hardware = vec!["-drive".to_owned(), format!("file={},format=raw,if=virtio", disk.display())];
    setup.words = "root=/dev/vda rw".to_owned();
    let machine = boot(&setup);
    // The oldest process of that name is the listener.
    let listener = "for task in /proc/[0-9]*; do read -r name 2>&- < $task/comm; \
        case $name in @vsock*) echo ${task#/proc/}; break;; esac; done";
    let of_initrd = succeeds(&machine, &["<target>", listener]);
    assert!(succeeds(&machine, &["<target>", "cat /etc/os-release"]).contains("dracut"));
    let entered = Instant::now() + DEADLINE;
    let is_entered =
        "read -r name < /proc/1/comm; test $name = busybox && . /etc/os-release && test $ID = real";
    // systemd ends the commands of the initrd, though not the agent.
    while !run(&machine, &["<target>", is_entered]).status.success() {
        assert!(Instant::now() < entered, "{}", machine.console());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(succeeds(&machine, &["<target>", listener]), of_initrd);
}
