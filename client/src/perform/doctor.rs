//! Owns `doctor`: which diagnosis is made, how it is told, and its status.

use super::{FAILED, complain, print};
use crate::doctor::{of_machine, of_target};
use crate::invocation::Doctor;
use crate::names::Names;

/// The status where a check has failed, to tell it from a diagnosis that could not be made.
const WRONG: u8 = 1;

/// Finds out why a guest cannot be reached, or what this machine lacks; the status to exit with: 0 where no check has failed.
#[must_use]
pub fn doctor(invocation: &Doctor, names: &Names) -> u8 {
    let diagnosis = match &invocation.target {
        Some(target) => of_target(target, invocation.timeout, || names.guests().to_vec()),
        None => of_machine(names),
    };
    let address = invocation.target.as_ref().map(|target| target.address.to_string());
    let text = if invocation.is_json {
        format!("{}\n", diagnosis.to_value(address.as_deref()))
    } else {
        diagnosis.to_text()
    };
    match print(&text) {
        Ok(()) if diagnosis.is_fine() => 0,
        Ok(()) => WRONG,
        Err(error) => {
            complain("doctor", &error);
            FAILED
        }
    }
}
