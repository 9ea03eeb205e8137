//! Tests of `doctor/kernel`: what is seen in made-up machines, and what is made of it.

use std::path::PathBuf;

use super::super::Result;
use super::*;

/// A machine's files, gone with the value.
struct Root(PathBuf);

impl Root {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("vsock-shell-kernel-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(root)
    }

    fn seen(&self) -> Kernel {
        Kernel::seen(&self.0, "6.1")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

const DEP: (&str, &str) = (
    "lib/modules/6.1/modules.dep",
    "kernel/drivers/vhost/vhost_vsock.ko.xz: kernel/net/vmw_vsock/vsock.ko.xz\n\
     kernel/net/vmw_vsock/vsock-loopback.ko: kernel/net/vmw_vsock/vsock.ko.xz\n",
);

#[test]
fn modules_are_seen_as_they_are_there() {
    let root = Root::new(
        "modules",
        &[
            DEP,
            ("lib/modules/6.1/modules.builtin", "kernel/net/vmw_vsock/hv_sock.ko\n"),
            ("sys/module/vmw_vsock_virtio_transport/initstate", "live\n"),
            ("proc/net/protocols", "protocol  size\nUNIX 1\nAF_VSOCK  1240 0\n"),
        ],
    );
    let kernel = root.seen();
    assert_eq!(kernel.has_family, Some(true));
    // A dependency alone is no line of its own.
    assert_eq!(kernel.vsock, Module::Missing);
    assert_eq!((kernel.vhost_vsock, kernel.loopback), (Module::Loadable, Module::Loadable));
    assert_eq!(kernel.to_host, ["vmw_vsock_virtio_transport", "hv_sock"]);
}

#[test]
fn a_module_that_is_loaded_is_so_whatever_the_lists_say_and_a_part_of_the_kernel_has_no_state() {
    let root = Root::new(
        "loaded",
        &[DEP, ("sys/module/vhost_vsock/initstate", "live\n"), ("sys/module/vsock/parameters/x", "1\n")],
    );
    let kernel = root.seen();
    assert_eq!((kernel.vhost_vsock, kernel.vsock), (Module::Loaded, Module::BuiltIn));
}

#[test]
fn where_nothing_can_be_seen_nothing_is_claimed() {
    let kernel = Root::new("empty", &[]).seen();
    assert_eq!(kernel.has_family, None);
    assert_eq!([kernel.vsock, kernel.vhost_vsock, kernel.loopback], [Module::Unknown; 3]);
    assert_eq!(judge_family(&kernel).result, Result::Noted);
}

fn judged(has_family: Option<bool>, vsock: Module) -> Finding {
    judge_family(&Kernel {
        has_family,
        vsock,
        vhost_vsock: Module::Missing,
        loopback: Module::Missing,
        to_host: vec![],
    })
}

#[test]
fn without_the_family_it_is_said_what_would_give_it() {
    for module in [Module::Loaded, Module::BuiltIn, Module::Loadable, Module::Missing, Module::Unknown] {
        assert_eq!(judged(Some(true), module).result, Result::Fine, "{module:?}");
    }
    for (module, advice) in [
        (Module::Loadable, "as root: modprobe vhost_vsock"),
        (Module::Unknown, "on the machine itself"),
        (Module::Missing, "CONFIG_VHOST_VSOCK"),
        (Module::BuiltIn, "mux:"),
    ] {
        let finding = judged(Some(false), module);
        assert_eq!(finding.result, Result::Failed, "{module:?}");
        assert!(finding.advice.as_ref().unwrap().contains(advice), "{finding:?}");
    }
    assert_eq!(judged(None, Module::Loaded).result, Result::Fine);
    assert_eq!(judged(None, Module::Missing).result, Result::Noted);
}

#[test]
fn vhost_vsock_has_to_be_there_now() {
    for (module, result, words) in [
        (Module::Loaded, Result::Fine, "loaded"),
        (Module::BuiltIn, Result::Fine, "part of the kernel"),
        (Module::Loadable, Result::Failed, "not loaded"),
        (Module::Missing, Result::Failed, "no such module"),
        (Module::Unknown, Result::Failed, "cannot be seen"),
    ] {
        let finding = judge_vhost(module);
        assert_eq!((finding.result, finding.advice.is_some()), (result, result == Result::Failed));
        assert!(finding.seen.contains(words), "{finding:?}");
    }
}
