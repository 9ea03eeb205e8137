//! The machine that QEMU is: its command line, the same for a fresh boot and for a restored snapshot.

use std::path::Path;
use std::process::Command;

use super::accelerator::Accelerator;
use super::transport::{PORT_NAME, Transport};
use crate::arch::Arch;
use crate::scratch::Scratch;

/// The port that the vsock device sits on. Only from a port can it be unplugged, which a snapshot asks for.
pub const SLOT: &str = "vsock-slot";

/// The host's socket of the line `/dev/ttyS1` of a guest, where there is one.
pub const LINE: &str = "line.sock";

/// What a guest is started with.
pub struct Hardware<'a> {
    pub arch: Arch,
    pub accelerator: Accelerator,
    pub transport: Transport,
    /// Of this run: sockets, logs, the image.
    pub files: &'a Scratch,
    pub kernel: &'a Path,
    pub memory_mib: u32,
    /// More words for the kernel.
    pub words: &'a str,
    /// More words for QEMU.
    pub more: &'a [String],
    /// The state to go on from, in the place of a boot.
    pub state: Option<&'a Path>,
}

impl Hardware<'_> {
    /// The QEMU that is this machine.
    pub fn command(&self) -> Command {
        let mut qemu = Command::new(self.program());
        // A QEMU that aborts, as one does on a KVM that it cannot use, may leave its memory image in its folder.
        qemu.current_dir(self.files.path("."));
        let path = |name: &str| self.files.path(name).display().to_string();
        qemu.args([
            "-M",
            &format!("{},memory-backend=memory", self.board()),
            "-nodefaults",
            "-no-user-config",
        ]);
        qemu.args(self.processor()).args(["-smp", "1", "-m", &self.memory_mib.to_string()]);
        // Shared, because the vsock backend is another process.
        qemu.args(["-object", &format!("memory-backend-memfd,id=memory,size={}M,share=on", self.memory_mib)]);
        qemu.arg("-kernel").arg(self.kernel).args(["-initrd", &path(super::machine::IMAGE)]);
        qemu.args(["-append", &self.kernel_command_line()]);
        qemu.args(["-device", &format!("pcie-root-port,id={SLOT},chassis=1,slot=1")]);
        qemu.args(["-device", "virtio-serial-pci,id=serial"]);
        qemu.args(["-chardev", &format!("socket,id=port,path={},server=on,wait=off", path("port.sock"))]);
        qemu.args(["-device", &format!("virtserialport,bus=serial.0,chardev=port,name={PORT_NAME}")]);
        qemu.args(["-display", "none", "-serial", &format!("file:{}", path(super::machine::SERIAL_LOG))]);
        // A line beside the console. The other board has only one that does not need a driver of its own.
        if self.arch == Arch::X86_64 {
            qemu.args(["-chardev", &format!("socket,id=line,path={},server=on,wait=off", path(LINE))]);
            qemu.args(["-serial", "chardev:line"]);
        }
        qemu.args(["-qmp", &format!("unix:{},server=on,wait=off", path("qmp.sock")), "-no-reboot"]);
        qemu.args(self.more);
        match self.state {
            // The vsock device was unplugged before the snapshot, and comes back by a plug.
            Some(state) => qemu.args(["-incoming", &format!("exec:cat '{}'", state.display())]),
            None => qemu.args(self.transport.device(self.files, SLOT)),
        };
        qemu
    }

    fn program(&self) -> &'static str {
        match self.arch {
            Arch::X86_64 => "qemu-system-x86_64",
            Arch::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// Not microvm, which boots a little faster and not every time.
    fn board(&self) -> &'static str {
        match self.arch {
            Arch::X86_64 => "q35,smm=off",
            Arch::Aarch64 => "virt",
        }
    }

    fn processor(&self) -> [&'static str; 4] {
        match (self.accelerator, self.arch) {
            (Accelerator::Kvm, _) => ["-accel", "kvm", "-cpu", "host"],
            (Accelerator::Tcg, Arch::X86_64) => ["-accel", "tcg", "-cpu", "max"],
            (Accelerator::Tcg, Arch::Aarch64) => ["-accel", "tcg", "-cpu", "cortex-a72"],
        }
    }

    /// Under KVM the kernel speaks from its first moment on, which shows whether it boots at all.
    fn kernel_command_line(&self) -> String {
        let console = match self.arch {
            Arch::X86_64 => "ttyS0",
            Arch::Aarch64 => "ttyAMA0",
        };
        let voice = match (self.accelerator, self.arch) {
            (Accelerator::Tcg, _) => "quiet",
            (Accelerator::Kvm, Arch::X86_64) => "earlyprintk=ttyS0",
            (Accelerator::Kvm, Arch::Aarch64) => "earlycon",
        };
        let port = format!("vsock_shell.listen=vsock vsock_shell.listen=serial:{PORT_NAME}");
        let line = match self.arch {
            Arch::X86_64 => "vsock_shell.listen=serial:/dev/ttyS1",
            Arch::Aarch64 => "",
        };
        format!("console={console} {voice} panic=-1 {port} {line} {}", self.words)
    }
}
