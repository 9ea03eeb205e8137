//! What this kernel has of AF_VSOCK: the family of sockets, and the modules that carry it to a guest.
//!
//! Nothing is loaded and no socket is made: /proc/net/protocols, /sys/module, and the lists that depmod(8) has made.

use std::fs;
use std::path::Path;

use super::Finding;

/// How a module is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// It was loaded.
    Loaded,
    /// It is a part of the kernel.
    BuiltIn,
    /// It could be loaded.
    Loadable,
    /// This kernel has none.
    Missing,
    /// It is not loaded, and the lists of what could be are not there: a container has none.
    Unknown,
}

/// What a kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// It has AF_VSOCK now; `None`: that cannot be seen.
    pub has_family: Option<bool>,
    /// The family.
    pub vsock: Module,
    /// From a host to its guests.
    pub vhost_vsock: Module,
    /// To itself.
    pub loopback: Module,
    /// From a guest to its host: those that are there.
    pub to_host: Vec<&'static str>,
}

/// From a guest to its host, for each kind of hypervisor.
const TO_HOST: [&str; 3] = ["vmw_vsock_virtio_transport", "hv_sock", "vmw_vsock_vmci_transport"];

impl Module {
    /// Works now.
    pub fn is_there(self) -> bool {
        matches!(self, Self::Loaded | Self::BuiltIn)
    }

    /// How this module is there, below `root`, for a kernel of this release.
    fn seen(root: &Path, release: &str, name: &str) -> Self {
        let folder = root.join("sys/module").join(name);
        if folder.join("initstate").exists() {
            return Self::Loaded;
        }
        let lists = root.join("lib/modules").join(release);
        let list = |name: &str| fs::read_to_string(lists.join(name));
        // Its parameters may be shown, and need not.
        if folder.exists() || list("modules.builtin").is_ok_and(|list| has_module(&list, name)) {
            return Self::BuiltIn;
        }
        match list("modules.dep") {
            Ok(list) if has_module(&list, name) => Self::Loadable,
            Ok(_) => Self::Missing,
            Err(_) => Self::Unknown,
        }
    }
}

/// Whether a list of files of modules has this one at the beginning of a line. In the name of a file a hyphen is as good.
fn has_module(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split_once(':').map_or(line, |(path, _)| path);
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split_once(".ko").is_some_and(|(module, _)| module.replace('-', "_") == name)
    })
}

impl Kernel {
    /// The one that runs.
    pub fn here() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self::seen(Path::new("/"), &release)
    }

    /// What is seen below `root`, which is `/`, of a kernel of this release.
    pub fn seen(root: &Path, release: &str) -> Self {
        let module = |name| Module::seen(root, release, name);
        let protocols = fs::read_to_string(root.join("proc/net/protocols")).ok();
        let is_family = |line: &str| line.split_whitespace().next() == Some("AF_VSOCK");
        Self {
            has_family: protocols.map(|protocols| protocols.lines().any(is_family)),
            vsock: module("vsock"),
            vhost_vsock: module("vhost_vsock"),
            loopback: module("vsock_loopback"),
            to_host: TO_HOST.into_iter().filter(|name| module(name).is_there()).collect(),
        }
    }
}

/// What to do without AF_VSOCK.
const OTHERWISE: &str = "use a kernel with CONFIG_VHOST_VSOCK, or reach the guest by mux: or serial:";

/// Whether sockets of AF_VSOCK can be made.
pub fn judge_family(kernel: &Kernel) -> Finding {
    const CHECK: &str = "kernel";
    match (kernel.has_family, kernel.vsock) {
        (Some(true), _) => Finding::fine(CHECK, "it has AF_VSOCK"),
        (_, Module::Loaded) => Finding::fine(CHECK, "it has AF_VSOCK, module vsock is loaded"),
        (_, Module::Loadable) => Finding::failed(
            CHECK,
            "it has no AF_VSOCK, module vsock is not loaded",
            "as root: modprobe vhost_vsock",
        ),
        (None, _) => {
            Finding::noted(CHECK, "it cannot be seen whether it has AF_VSOCK", "look where /proc is mounted")
        }
        (Some(false), Module::Unknown) => Finding::failed(
            CHECK,
            "it has no AF_VSOCK, and which modules there are cannot be seen here",
            "on the machine itself, as root: modprobe vhost_vsock",
        ),
        (Some(false), Module::Missing | Module::BuiltIn) => {
            Finding::failed(CHECK, "it has no AF_VSOCK and no module for it", OTHERWISE)
        }
    }
}

/// Whether guests of this machine can be given AF_VSOCK.
pub fn judge_vhost(module: Module) -> Finding {
    const CHECK: &str = "vhost_vsock";
    match module {
        Module::Loaded => Finding::fine(CHECK, "the module is loaded"),
        Module::BuiltIn => Finding::fine(CHECK, "it is a part of the kernel"),
        Module::Loadable => {
            Finding::failed(CHECK, "the module is not loaded", "as root: modprobe vhost_vsock")
        }
        Module::Missing => Finding::failed(CHECK, "this kernel has no such module", OTHERWISE),
        Module::Unknown => Finding::failed(
            CHECK,
            "it is not loaded, and whether it could be cannot be seen here",
            "on the machine itself, as root: modprobe vhost_vsock",
        ),
    }
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
