//! A guest that runs: QEMU, what stands behind its vsock, its monitor, and the client that reaches it.
//!
//! Everything it needs is in one private folder and in processes that end with the value, or by `scratch`'s list when no
//! destructor runs.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::accelerator::{self, Accelerator};
use super::hardware::{Hardware, LINE, SLOT};
use super::qmp::Qmp;
use super::transport::{self, PORTS, Transport};
use crate::arch::Arch;
use crate::image::{Format, Recipe};
use crate::kernel::Kernel;
use crate::scratch::{self, Scratch, Server};
use crate::{packages, workspace};

pub(super) const IMAGE: &str = "initramfs.cpio";
const QEMU_LOG: &str = "qemu.log";
/// A snapshot.
const STATE: &str = "state";
pub(super) const BACKEND_LOG: &str = "vhost-device-vsock.log";
pub(super) const SERIAL_LOG: &str = "serial.log";

/// How long a guest may take until its agent answers.
const BOOT: Duration = Duration::from_secs(60);
/// How long under KVM until the kernel has said anything; without a working KVM it never does.
const FIRST_WORD: Duration = Duration::from_secs(3);
/// How long the monitor, a plug or a snapshot may take.
const MONITOR: Duration = Duration::from_secs(30);
/// How long between questions to the monitor, which hold the guest up.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);
/// How much of the console is worth showing when something failed.
const LAST_LINES: usize = 15;

/// What to boot.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The kernel; its modules go into the image.
    pub kernel: Kernel,
    /// The image around the agent.
    pub recipe: Recipe,
    /// The image's form.
    pub format: Format,
    /// An initramfs that was made elsewhere, in the place of the recipe's.
    pub initrd: Option<PathBuf>,
    /// How the host reaches the guest.
    pub transport: Transport,
    /// Its memory, in MiB.
    pub memory_mib: u32,
    /// More words for the kernel's command line.
    pub words: String,
    /// More words for QEMU's.
    pub hardware: Vec<String>,
    /// The file with the key that the client has.
    pub key: Option<PathBuf>,
}

impl Setup {
    /// A guest with a shell, and the agent as its `/init`.
    pub fn new(arch: Arch, kernel: Kernel, transport: Transport) -> Self {
        let mut recipe = Recipe::new(arch);
        recipe.shell = true;
        recipe.modules = kernel.modules.clone();
        Self {
            kernel,
            recipe,
            format: Format::Cpio,
            initrd: None,
            transport,
            memory_mib: 256,
            words: String::new(),
            hardware: Vec::new(),
            key: None,
        }
    }
}

/// A guest.
pub struct Machine {
    setup: Setup,
    accelerator: Accelerator,
    qmp: Qmp,
    qemu: Server,
    backend: Option<Server>,
    files: Scratch,
}

impl Machine {
    /// Boots until the agent answers.
    ///
    /// # Errors
    /// Something it needs cannot be had, or the agent does not answer in time; then with the end of the console.
    pub fn boot(setup: &Setup) -> Result<Self> {
        Self::boot_until(setup, &Self::answers)
    }

    /// Boots until the console shows these words, whether or not there is an agent that answers.
    ///
    /// # Errors
    /// Something it needs cannot be had, or the words are not there in time; then with the end of the console.
    pub fn boot_to_console(setup: &Setup, words: &str) -> Result<Self> {
        Self::boot_until(setup, &|machine| machine.shows(words, 1))
    }

    fn boot_until(setup: &Setup, is_up: &dyn Fn(&mut Self) -> Result<()>) -> Result<Self> {
        packages::require(packages::machines(setup.recipe.arch))?;
        let image = match &setup.initrd {
            Some(made) => fs::read(made).with_context(|| format!("cannot read {}", made.display()))?,
            None => setup.recipe.pack(&workspace::agent_of(setup.recipe.arch), setup.format)?,
        };
        accelerator::first_that_boots(setup.recipe.arch, |accelerator| {
            let booted = Self::boot_once(setup, accelerator, &image, is_up);
            if booted.is_err() {
                scratch::give_way_to_signal();
            }
            match booted {
                // An emulated kernel, or the backend, may stand still before either has said a word.
                Err(error) if accelerator == Accelerator::Tcg => {
                    eprintln!("booting once more: {error:#}");
                    Self::boot_once(setup, accelerator, &image, is_up)
                }
                booted => booted,
            }
        })
    }

    fn boot_once(
        setup: &Setup,
        accelerator: Accelerator,
        image: &[u8],
        is_up: &dyn Fn(&mut Self) -> Result<()>,
    ) -> Result<Self> {
        let files = Scratch::new(&std::env::temp_dir(), "vm")?;
        fs::write(files.path(IMAGE), image)?;
        let backend = setup.transport.start(&files)?;
        let mut machine = Self::start(setup.clone(), accelerator, files, backend, None)?;
        is_up(&mut machine)?;
        transport::open_ports(&machine.files)?;
        Ok(machine)
    }

    /// Starts QEMU and reaches its monitor.
    fn start(
        setup: Setup,
        accelerator: Accelerator,
        files: Scratch,
        backend: Option<Server>,
        state: Option<&PathBuf>,
    ) -> Result<Self> {
        let hardware = Hardware {
            arch: setup.recipe.arch,
            accelerator,
            transport: setup.transport,
            files: &files,
            kernel: &setup.kernel.image,
            memory_mib: setup.memory_mib,
            words: &setup.words,
            more: &setup.hardware,
            state: state.map(PathBuf::as_path),
        };
        let log = files.path(QEMU_LOG);
        let mut qemu = Server::start("QEMU", &mut hardware.command(), &log)?;
        let socket = files.path("qmp.sock");
        let mut qmp = None;
        qemu.awaits("opened its monitor", MONITOR, || {
            qmp = Qmp::connect(&socket).ok();
            qmp.is_some()
        })
        .with_context(|| {
            fs::read_to_string(&log).unwrap_or_default().lines().collect::<Vec<_>>().join("; ")
        })?;
        let qmp = qmp.context("QEMU's monitor")?;
        Ok(Self { setup, accelerator, qmp, qemu, backend, files })
    }

    /// Waits until the agent answers the client.
    ///
    /// # Errors
    /// QEMU ends before that, or it takes too long.
    pub fn answers(&mut self) -> Result<()> {
        self.awaits_answer().map_err(|error| self.explained(&error))
    }

    /// Waits until the console has shown these words so often.
    ///
    /// # Errors
    /// QEMU ends before that, or it takes too long.
    pub fn shows(&mut self, words: &str, count: usize) -> Result<()> {
        self.awaits_words(words, count).map_err(|error| self.explained(&error))
    }

    fn explained(&mut self, error: &anyhow::Error) -> anyhow::Error {
        let logs = [QEMU_LOG, BACKEND_LOG]
            .map(|log| fs::read_to_string(self.files.path(log)).unwrap_or_default())
            .concat();
        let device = vsock_status(&mut self.qmp)
            .map_or_else(String::new, |status| format!("the guest's driver for vsock: {status}\n"));
        anyhow!("{error:#}\n{logs}{device}the guest's console ends with:\n{}", self.last_lines())
    }

    fn awaits_words(&mut self, words: &str, count: usize) -> Result<()> {
        self.awaits_kernel()?;
        let console = self.files.path(SERIAL_LOG);
        self.qemu.awaits(&format!("said {words:?}"), BOOT, || {
            let shown = fs::read(&console).unwrap_or_default();
            String::from_utf8_lossy(&shown).matches(words).count() >= count
        })
    }

    /// Under KVM the kernel says something soon, or never.
    fn awaits_kernel(&mut self) -> Result<()> {
        if self.accelerator == Accelerator::Kvm {
            let console = self.files.path(SERIAL_LOG);
            let has_spoken = || fs::metadata(&console).is_ok_and(|found| found.len() > 0);
            self.qemu.awaits("booted a kernel", FIRST_WORD, has_spoken)?;
        }
        Ok(())
    }

    /// Waits for the guest's driver for vsock, and lets clients in.
    fn awaits_driver(&mut self) -> Result<()> {
        if self.setup.transport != Transport::VhostUser {
            return Ok(());
        }
        let qmp = &mut self.qmp;
        self.qemu.awaits("had a driver for vsock", BOOT, || {
            // A QEMU that is too old to be asked says nothing.
            let is_up = vsock_status(qmp).is_none_or(|status| status.to_string().contains("DRIVER_OK"));
            if !is_up {
                std::thread::sleep(BETWEEN_QUESTIONS);
            }
            is_up
        })?;
        transport::open_ports(&self.files)
    }

    fn awaits_answer(&mut self) -> Result<()> {
        self.awaits_kernel()?;
        self.awaits_driver()?;
        let seconds = BOOT.as_secs().to_string();
        let mut wait = self.client(["wait", "--timeout", &seconds, "<target>"]);
        let mut client = Server::start("the client", &mut wait, &self.files.path("client.log"))?;
        let mut status = None;
        self.qemu.awaits("had an agent that answers", BOOT + MONITOR, || {
            status = client.ended().ok().flatten();
            status.is_some()
        })?;
        let told = fs::read_to_string(self.files.path("client.log")).unwrap_or_default();
        ensure!(status.is_some_and(|status| status.success()), "{}", told.trim());
        Ok(())
    }

    /// What the client calls the guest.
    pub fn target(&self) -> String {
        self.setup.transport.target(&self.files)
    }

    /// What the client calls a guest that serves its line `/dev/ttyS1`.
    pub fn target_on_line(&self) -> String {
        format!("serial:{}", self.files.path(LINE).display())
    }

    /// What the client calls a guest that serves its port of virtio-serial.
    pub fn target_on_port(&self) -> String {
        Transport::Serial.target(&self.files)
    }

    /// The client, with words in which `<target>` stands for the guest.
    pub fn client<W: AsRef<str>>(&self, words: impl IntoIterator<Item = W>) -> Command {
        let target = self.target();
        let mut client = Command::new(workspace::client());
        if let Some(key) = &self.setup.key {
            client.arg("--key").arg(key);
        }
        client.args(words.into_iter().map(|word| word.as_ref().replace("<target>", &target)));
        client
    }

    /// QEMU's monitor.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// A path in the guest's private folder on this machine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }

    /// What the guest has written to its console.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.files.path(SERIAL_LOG)).unwrap_or_default()).into_owned()
    }

    fn last_lines(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let first = lines.len().saturating_sub(LAST_LINES);
        lines.get(first..).unwrap_or_default().join("\n")
    }

    /// Waits until the guest has switched itself off, and tells how QEMU ended.
    ///
    /// # Errors
    /// It does not.
    pub fn ends(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.qemu.ends(patience)
    }

    /// Writes the guest's state to a file, ends QEMU, and goes on from the file in a new QEMU.
    ///
    /// A vhost-user device keeps a machine from being saved, so it is unplugged before and plugged in after, with a new
    /// backend behind it; who listens in the guest goes on doing so.
    ///
    /// # Errors
    /// QEMU refuses, or the agent does not answer afterwards.
    pub fn snapshot_and_restore(self) -> Result<Self> {
        let mut machine = self.restored()?;
        match machine.answers() {
            // It may stand still, as when it boots.
            Err(error) if machine.accelerator == Accelerator::Tcg => {
                eprintln!("going on from the snapshot once more: {error:#}");
                let Self { setup, accelerator, qemu, backend, files, .. } = machine;
                drop((qemu, backend));
                machine = Self::from_state(setup, accelerator, files)?;
                machine.answers()?;
            }
            answer => answer?,
        }
        Ok(machine)
    }

    /// The same, without asking the agent whether it answers.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn restored(mut self) -> Result<Self> {
        if self.setup.transport.is_vsock() {
            self.qmp.device_del("vsock", MONITOR).context("unplugging vsock")?;
        }
        self.qmp.stop()?;
        self.qmp.migrate_to(&self.files.path(STATE), MONITOR)?;
        self.qmp.quit()?;
        let Self { setup, accelerator, mut qemu, backend, files, .. } = self;
        qemu.ends(MONITOR)?;
        drop((qemu, backend));
        Self::from_state(setup, accelerator, files)
    }

    /// A machine that goes on from what was written to [`STATE`].
    fn from_state(setup: Setup, accelerator: Accelerator, files: Scratch) -> Result<Self> {
        for socket in ["qmp.sock", "vhost.sock", PORTS, "port.sock", LINE] {
            let _ = fs::remove_file(files.path(socket));
        }
        let state = files.path(STATE);
        let backend = setup.transport.start(&files)?;
        let mut machine = Self::start(setup, accelerator, files, backend, Some(&state))?;
        machine.goes_on()?;
        Ok(machine)
    }

    /// Stops the whole machine for so long, its monitor too. (A vhost-device-vsock whose machine was stopped by the monitor carries
    /// nothing afterwards.)
    ///
    /// # Errors
    /// QEMU has ended.
    pub fn freeze(&self, length: Duration) -> Result<()> {
        self.qemu.signal(Signal::STOP)?;
        std::thread::sleep(length);
        self.qemu.signal(Signal::CONT)
    }

    /// Kills what stands behind the guest's vsock, with SIGKILL, and puts another in its place.
    ///
    /// # Errors
    /// The guest does not let its device go, or QEMU refuses the new one.
    pub fn exchange_backend(&mut self) -> Result<()> {
        if let Some(backend) = &self.backend {
            backend.signal(Signal::KILL)?;
        }
        self.backend = None;
        self.qmp.device_del("vsock", MONITOR).context("unplugging vsock")?;
        self.qmp.execute("chardev-remove", json!({ "id": "vsock-backend" }))?;
        for socket in ["vhost.sock", PORTS] {
            let _ = fs::remove_file(self.files.path(socket));
        }
        self.backend = self.setup.transport.start(&self.files)?;
        self.plug()
    }

    /// Waits until the state has been read, lets the guest run, and plugs vsock in.
    fn goes_on(&mut self) -> Result<()> {
        let qmp = &mut self.qmp;
        let mut failure = None;
        self.qemu.awaits("read the snapshot", MONITOR, || match qmp.execute("query-status", json!({})) {
            Ok(status) => status.get("status").and_then(Value::as_str) != Some("inmigrate"),
            Err(error) => {
                failure = Some(error);
                true
            }
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        self.qmp.cont()?;
        self.plug()
    }

    /// Plugs vsock in, and waits for its driver.
    fn plug(&mut self) -> Result<()> {
        match self.setup.transport {
            Transport::Serial | Transport::Line => Ok(()),
            Transport::Vhost => {
                let cid = self.setup.transport.target(&self.files).parse::<u32>()?;
                self.qmp.device_add(json!({
                    "driver": "vhost-vsock-pci", "id": "vsock", "guest-cid": cid, "bus": SLOT,
                }))
            }
            Transport::VhostUser => {
                let path = self.files.path("vhost.sock").display().to_string();
                let address = json!({ "type": "unix", "data": { "path": path } });
                let backend = json!({ "type": "socket", "data": { "addr": address, "server": false } });
                self.qmp.execute("chardev-add", json!({ "id": "vsock-backend", "backend": backend }))?;
                self.qmp.device_add(json!({
                    "driver": "vhost-user-vsock-pci", "id": "vsock", "chardev": "vsock-backend", "bus": SLOT,
                }))?;
                self.awaits_driver()
            }
        }
    }
}

/// How far the guest's driver has come with the device, in QEMU's words; none where there is no such device.
fn vsock_status(qmp: &mut Qmp) -> Option<Value> {
    let all = qmp.execute("x-query-virtio", json!({})).ok()?;
    let vsock = all
        .as_array()?
        .iter()
        .find(|device| device["name"].as_str().is_some_and(|name| name.contains("vsock")))?;
    let mut status = qmp.execute("x-query-virtio-status", json!({ "path": vsock["path"] })).ok()?;
    Some(status["status"].take())
}
