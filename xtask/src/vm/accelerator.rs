//! What executes the guest's instructions: KVM where it really boots, else QEMU itself.
//!
//! On some machines `/dev/kvm` opens and a stock kernel never gets anywhere, so the first guest of a run tries it with a short
//! deadline, and what it found holds for the run.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::arch::Arch;

/// Whether KVM boots, once somebody knows.
static KVM_BOOTS: Mutex<Option<bool>> = Mutex::new(None);

/// What executes the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's translator, "tiny code generator".
    Tcg,
}

/// Boots by KVM where that can work, by TCG where it does not.
pub fn first_that_boots<T>(arch: Arch, boot: impl Fn(Accelerator) -> Result<T>) -> Result<T> {
    if arch == Arch::host()? && File::options().read(true).write(true).open("/dev/kvm").is_ok() {
        // Held during the first boot: the others of this run wait for what it finds.
        let mut known = KVM_BOOTS.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            None => {
                let booted = boot(Accelerator::Kvm);
                *known = Some(booted.is_ok());
                match booted {
                    Ok(machine) => return Ok(machine),
                    Err(error) => eprintln!("without KVM: {error:#}"),
                }
            }
            Some(true) => {
                drop(known);
                return boot(Accelerator::Kvm);
            }
            Some(false) => {}
        }
    }
    boot(Accelerator::Tcg)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_guest_of_another_architecture_is_translated_and_its_failure_is_final() {
        let foreign = Arch::ALL.into_iter().find(|arch| Arch::host().unwrap() != *arch).unwrap();
        let boots = Cell::new(0);
        let failed = first_that_boots(foreign, |accelerator| {
            boots.set(boots.get() + 1);
            assert_eq!(accelerator, Accelerator::Tcg);
            anyhow::bail!("no kernel") as Result<()>
        });
        assert_eq!((failed.unwrap_err().to_string().as_str(), boots.get()), ("no kernel", 1));
    }
}
