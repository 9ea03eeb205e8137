//! The checks for this machine: what it has for its guests, which run, and whether their agents answer.
//!
//! Guests of Firecracker, Cloud Hypervisor and vhost-device-vsock need nothing of the kernel, so that what it lacks is noted and
//! fails nothing. What fails is a configuration that cannot be used, and a guest that runs and has no agent that answers.

use std::path::Path;

use super::device::Rights;
use super::kernel::{Kernel, judge_family, judge_vhost};
use super::{Diagnosis, Finding, context, device};
use crate::guests::Guest;
use crate::names::{Names, NamesError};
use crate::probe::{PATIENCE, Presence, probe};
use crate::target::Address;

/// What a monitor opens to give its guest a vsock device.
const VHOST_DEVICE: &str = "/dev/vhost-vsock";

/// Looks at this machine and the guests that run on it, as far as this user sees them.
#[must_use]
pub fn of_machine(names: &Names) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    let kernel = Kernel::here();
    diagnosis.add(judge_family(&kernel).softened());
    diagnosis.add(judge_vhost(kernel.vhost_vsock).softened());
    let vhost = Rights::seen(Path::new(VHOST_DEVICE));
    diagnosis.add(device::judge(VHOST_DEVICE, &vhost, "starting QEMU with a vhost-vsock device").softened());
    let vsock = Rights::seen(Path::new(context::DEVICE));
    diagnosis.add(device::judge(context::DEVICE, &vsock, "the context id of this machine").softened());
    if let Some(local) = context::local() {
        diagnosis.add(context::judge_local(local));
    }
    diagnosis.add(judge_configuration(names.config().map(|config| config.entries().len())));
    check_guests(&mut diagnosis, names.guests());
    diagnosis
}

fn judge_configuration(read: Result<usize, NamesError>) -> Finding {
    const CHECK: &str = "configuration";
    match read {
        Ok(0) => Finding::fine(CHECK, "none, or without targets"),
        Ok(1) => Finding::fine(CHECK, "it can be used, and has 1 target"),
        Ok(count) => Finding::fine(CHECK, format!("it can be used, and has {count} targets")),
        Err(error) => Finding::failed(
            CHECK,
            error.to_string(),
            "correct it: until then no name is known; addresses can be used all the same",
        ),
    }
}

fn check_guests(diagnosis: &mut Diagnosis, guests: &[Guest]) {
    if guests.is_empty() {
        diagnosis.add(judge_none());
    }
    let addresses: Vec<Address> = guests.iter().map(|guest| guest.address.clone()).collect();
    for (guest, presence) in guests.iter().zip(probe(&addresses, PATIENCE)) {
        diagnosis.add(judge_guest(guest, &presence));
    }
}

const GUEST: &str = "guest";

fn judge_none() -> Finding {
    Finding::noted(
        GUEST,
        "none is seen that runs here",
        "those of other users and of containers are not seen; root sees more",
    )
}

fn judge_guest(guest: &Guest, presence: &Presence) -> Finding {
    let about = format!("{} ({} {}, {})", guest.name, guest.monitor.word(), guest.pid, guest.address);
    let more = format!("vsock-shell doctor {}", guest.name);
    match presence {
        Presence::Answers => Finding::fine(GUEST, format!("{about}: its agent answers")),
        Presence::Silent(why) => {
            Finding::failed(GUEST, format!("{about}: {why}"), format!("{more} tells more"))
        }
        Presence::Unasked => Finding::noted(
            GUEST,
            format!("{about}: not asked, because a port serves one at a time"),
            format!("{more} asks it"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Result as Found;
    use super::*;
    use crate::guests::Monitor;

    #[test]
    fn a_guest_is_fine_where_its_agent_answers() {
        let guest = Guest {
            name: "web".into(),
            monitor: Monitor::Qemu,
            pid: 42,
            address: Address::Vsock { cid: 7, port: 5000 },
        };
        for (presence, result, seen, advice) in [
            (Presence::Answers, Found::Fine, "its agent answers", None),
            (
                Presence::Silent("reset".into()),
                Found::Failed,
                "reset",
                Some("vsock-shell doctor web tells more"),
            ),
            (
                Presence::Unasked,
                Found::Noted,
                "not asked, because a port serves one at a time",
                Some("vsock-shell doctor web asks it"),
            ),
        ] {
            let finding = judge_guest(&guest, &presence);
            assert_eq!(finding.seen, format!("web (qemu 42, vsock:7:5000): {seen}"));
            assert_eq!((finding.result, finding.advice.as_deref()), (result, advice));
        }
        assert_eq!(judge_none().result, Found::Noted);
    }

    #[test]
    fn a_configuration_fails_where_it_cannot_be_used() {
        for (count, words) in [(0, "without targets"), (1, "has 1 target"), (2, "has 2 targets")] {
            let finding = judge_configuration(Ok(count));
            assert!(finding.result == Found::Fine && finding.seen.ends_with(words), "{finding:?}");
        }
        let finding = judge_configuration(Err(NamesError::NotRunning("f:1".into())));
        assert!(finding.has_failed() && finding.seen.contains("f:1"), "{finding:?}");
    }
}
