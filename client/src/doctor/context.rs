//! What a context id means on this machine: whose it is, and whether a guest that runs here has it.

use super::Finding;
use super::kernel::{Kernel, judge_vhost};
use crate::guests::Guest;
use crate::target::Address;

/// The hypervisor's, `VMADDR_CID_HYPERVISOR` of vsock(7).
const HYPERVISOR: u32 = 0;
/// Always the machine itself, `VMADDR_CID_LOCAL`.
const LOCAL: u32 = 1;
/// The host's, `VMADDR_CID_HOST`.
pub const HOST: u32 = 2;
/// No machine's, `VMADDR_CID_ANY`: what the kernel says where nothing carries AF_VSOCK.
const NONE: u32 = u32::MAX;

/// What tells this machine's own.
pub const DEVICE: &str = "/dev/vsock";

/// A guest by its context id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its context id.
    pub cid: u32,
    /// What it is called here, and its process.
    pub about: String,
}

/// What the kernel says that this machine's context id is: a question to /dev/vsock, without a socket. `None` where that cannot
/// be opened.
pub fn local() -> Option<u32> {
    vsock::get_local_cid().ok()
}

/// Those of the guests that are reached by AF_VSOCK.
pub fn with_cid(guests: &[Guest]) -> Vec<Seen> {
    let seen = |guest: &Guest| match guest.address {
        Address::Vsock { cid, .. } => {
            let about = format!("{} ({} {})", guest.name, guest.monitor.word(), guest.pid);
            Some(Seen { cid, about })
        }
        _ => None,
    };
    guests.iter().filter_map(seen).collect()
}

/// Whether something carries AF_VSOCK from here to the machine with this context id.
pub fn judge_transport(kernel: &Kernel, cid: u32, local: Option<u32>) -> Finding {
    const CHECK: &str = "transport";
    if kernel.vhost_vsock.is_there() {
        return judge_vhost(kernel.vhost_vsock);
    }
    if cid == LOCAL || local == Some(cid) {
        // Whether that can be reached is another question.
        return Finding::fine(CHECK, "none is needed to this machine itself");
    }
    match (kernel.to_host.first(), cid) {
        (Some(module), HOST) => Finding::fine(CHECK, format!("{module} leads to the host")),
        (Some(module), _) if local != Some(NONE) => Finding::noted(
            CHECK,
            format!("{module} leads to the host of this machine, and vhost_vsock is not there"),
            "where the guest runs on this machine, as root: modprobe vhost_vsock",
        ),
        _ => judge_vhost(kernel.vhost_vsock),
    }
}

/// What this machine is, by its own context id.
pub fn judge_local(local: u32) -> Finding {
    const CHECK: &str = "own context id";
    match local {
        NONE => Finding::noted(
            CHECK,
            "none: nothing carries AF_VSOCK",
            "as root: modprobe vhost_vsock, where guests are to run here",
        ),
        HOST => Finding::fine(CHECK, "2: this machine is a host"),
        other => Finding::fine(CHECK, format!("{other}: this machine is itself a guest")),
    }
}

/// Whether a context id is a guest's.
pub fn judge(cid: u32, local: Option<u32>, has_loopback: bool, guests: &[Seen]) -> Finding {
    const CHECK: &str = "context id";
    let known = known(guests);
    if cid == HYPERVISOR {
        return Finding::failed(CHECK, "0 is the hypervisor's, where no agent runs", known);
    }
    let is_own = cid == LOCAL || (local == Some(cid) && cid != NONE);
    if is_own && has_loopback {
        return Finding::noted(
            CHECK,
            format!("{cid} is this machine itself, by way of vsock_loopback"),
            format!("for a guest, {known}"),
        );
    }
    if is_own {
        return Finding::failed(CHECK, format!("{cid} is this machine itself"), known);
    }
    if cid == HOST {
        return Finding::fine(CHECK, "2 is the host of this machine");
    }
    match guests.iter().find(|guest| guest.cid == cid) {
        Some(guest) => Finding::fine(CHECK, format!("{cid} is {}", guest.about)),
        None => Finding::noted(CHECK, format!("no process of a guest with {cid} is seen here"), known),
    }
}

/// What somebody with a wrong context id would want to know.
fn known(guests: &[Seen]) -> String {
    if guests.is_empty() {
        return "is it running, with a vsock device? those of other users and of containers are not seen"
            .into();
    }
    let each: Vec<String> = guests.iter().map(|Seen { cid, about }| format!("{cid} is {about}")).collect();
    format!("those seen: {}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::Result;
    use super::super::kernel::Module;
    use super::*;
    use crate::guests::Monitor;

    fn guests() -> Vec<Seen> {
        let guest =
            |name: &str, address| Guest { name: name.into(), monitor: Monitor::Qemu, pid: 42, address };
        with_cid(&[
            guest("web", Address::Vsock { cid: 7, port: 5000 }),
            guest("box", Address::Unix("/a".into())),
        ])
    }

    #[test]
    fn the_guest_that_has_it_is_named() {
        let finding = judge(7, Some(2), false, &guests());
        assert_eq!((finding.result, &*finding.seen), (Result::Fine, "7 is web (qemu 42)"));
    }

    #[test]
    fn one_that_no_guest_has_is_told_with_those_that_they_have() {
        let finding = judge(8, Some(2), false, &guests());
        assert_eq!(
            (finding.result, finding.advice.as_deref()),
            (Result::Noted, Some("those seen: 7 is web (qemu 42)"))
        );
        // It may be where nobody can look, so that the connection has to tell.
        let finding = judge(8, None, false, &[]);
        assert_eq!(finding.result, Result::Noted);
        assert!(finding.advice.unwrap().contains("is it running"));
    }

    #[test]
    fn reserved_ones_are_no_guests() {
        assert_eq!(judge(0, Some(2), true, &[]).result, Result::Failed);
        for (cid, local) in [(1, Some(2)), (1, None), (2, Some(2)), (9, Some(9))] {
            let finding = judge(cid, local, false, &guests());
            assert_eq!(finding.result, Result::Failed, "{cid}");
            assert!(finding.seen.contains("this machine itself"), "{finding:?}");
            assert!(finding.advice.unwrap().contains("7 is web"));
            assert_eq!(judge(cid, local, true, &[]).result, Result::Noted, "{cid}");
        }
        // From a guest it is another machine.
        assert_eq!(judge(2, Some(9), false, &[]).result, Result::Fine);
        assert_eq!(judge(2, None, false, &[]).result, Result::Fine);
    }

    #[test]
    fn the_own_context_id_tells_what_this_machine_is() {
        assert_eq!(judge_local(2).seen, "2: this machine is a host");
        assert_eq!(judge_local(9).seen, "9: this machine is itself a guest");
        assert_eq!(judge_local(NONE).result, Result::Noted);
    }

    fn kernel(vhost_vsock: Module, to_host: &[&'static str]) -> Kernel {
        Kernel {
            has_family: Some(true),
            vsock: Module::Loaded,
            vhost_vsock,
            loopback: Module::Missing,
            to_host: to_host.to_vec(),
        }
    }

    #[test]
    fn something_has_to_lead_there() {
        let virtio = ["vmw_vsock_virtio_transport"];
        for (vhost, to_host, cid, local, result) in [
            (Module::Loaded, &[][..], 7, Some(2), Result::Fine),
            (Module::BuiltIn, &virtio[..], 7, Some(9), Result::Fine),
            (Module::Loadable, &[], 7, Some(NONE), Result::Failed),
            (Module::Missing, &[], 7, None, Result::Failed),
            // A guest reaches its host, and perhaps what that forwards.
            (Module::Loadable, &virtio, 2, Some(9), Result::Fine),
            (Module::Loadable, &virtio, 7, Some(9), Result::Noted),
            (Module::Loadable, &virtio, 7, Some(NONE), Result::Failed),
            (Module::Missing, &[], 1, None, Result::Fine),
        ] {
            let finding = judge_transport(&kernel(vhost, to_host), cid, local);
            assert_eq!(finding.result, result, "{vhost:?} {to_host:?} {cid} {local:?}");
            assert_eq!(finding.advice.is_some(), result != Result::Fine);
        }
    }
}
