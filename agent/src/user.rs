//! The user for whose rights the agent gives its own up once everything is open (`--user`). Nothing that it does or runs gets
//! others afterwards.

use core::ffi::CStr;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};

use crate::account::{Account, LINE_MAX};
use crate::line::{Part, text};
use crate::sys::storage::Storage;
use crate::{log, oom};

static LINES: Storage<[u8; LINE_MAX]> = Storage::new([0; LINE_MAX]);

/// It cannot be done, which was told to the log.
#[derive(Debug)]
pub struct Unusable;

/// The account of this name, where one was named.
///
/// # Errors
/// There is none, or it is root's.
#[inline(never)]
pub fn find(name: Option<&CStr>) -> Result<Option<Account>, Unusable> {
    let Some(name) = name.map(CStr::to_bytes) else { return Ok(None) };
    let mut buffer = LINES.lease().ok_or(Unusable)?;
    let account = Account::of_user(name, &mut buffer[..]);
    let problem = match &account {
        None => c": no such user",
        Some(account) if account.uid == 0 => c": this is root",
        Some(_) => return Ok(account),
    };
    log::error(&[Part::Bytes(name), text(problem)]);
    Err(Unusable)
}

/// Becomes this user, for good: programs of other users have no more rights either.
///
/// # Errors
/// It may not.
#[inline(never)]
pub fn take_on(account: Option<Account>) -> Result<(), Unusable> {
    let Some(account) = account else { return Ok(()) };
    let mut buffer = LINES.lease().ok_or(Unusable)?;
    // Later this process may not even say that its programs are no better than others.
    oom::expose();
    let own = geteuid();
    let became = if own.is_root() {
        account.take_on(&mut buffer[..])
    } else if account.uid == own.as_raw() {
        Ok(())
    } else {
        Err(Errno::PERM)
    };
    // Other ids make a process one that is dumped again, as far as the system is set up so.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    became.and_then(|()| rustix::thread::set_no_new_privs(true)).map_err(|errno| {
        log::failure(c"become user", &account.name, errno);
        Unusable
    })
}
