//! Opening files as another user: the ids by which the kernel judges file access are switched for one call and back.
//!
//! With a file system id other than root's the kernel also takes the capabilities away that override permissions
//! (`setfsuid(2)`), so that the user can open what he could open after a login.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::account::Account;
use crate::sys;

/// Groups that the agent itself may have; with more it has none afterwards.
const OWN_GROUPS_MAX: usize = 64;

/// Where and as whom the paths of a transfer are opened.
pub struct Identity {
    account: Account,
    /// The ids have to be switched.
    is_other: bool,
}

/// The named user does not exist (ENOENT), or may not be taken on (EPERM).
pub struct NoUser(pub Errno);

impl Identity {
    /// The agent's own identity, or that of a user. `buffer` is for reading /etc/passwd.
    ///
    /// # Errors
    /// See [`NoUser`].
    pub fn of(user: Option<&CStr>, buffer: &mut [u8]) -> Result<Self, NoUser> {
        let own = geteuid();
        let Some(user) = user else {
            return Ok(Self { account: Account::own(own, getegid(), buffer), is_other: false });
        };
        let account = Account::of_user(user.to_bytes(), buffer).ok_or(NoUser(Errno::NOENT))?;
        let is_other = account.uid != own.as_raw();
        if is_other && !own.is_root() {
            return Err(NoUser(Errno::PERM));
        }
        Ok(Self { account, is_other })
    }

    /// The home directory.
    pub fn home(&self) -> &[u8] {
        &self.account.home
    }

    /// Does `work` with the user's rights. `buffer` is for reading /etc/group.
    pub fn with<T>(&self, buffer: &mut [u8], work: impl FnOnce() -> T) -> T {
        if !self.is_other {
            return work();
        }
        let mut own = [0; OWN_GROUPS_MAX];
        let own: ArrayVec<Gid, OWN_GROUPS_MAX> = sys::identity::groups(&mut own)
            .unwrap_or_default()
            .iter()
            .map(|&group| Gid::from_raw_unchecked(group))
            .collect();
        let _ = rustix::thread::set_thread_groups(&self.account.groups(buffer));
        sys::identity::set_file_ids(
            Uid::from_raw_unchecked(self.account.uid),
            Gid::from_raw_unchecked(self.account.gid),
        );
        let result = work();
        sys::identity::set_file_ids(geteuid(), getegid());
        let _ = rustix::thread::set_thread_groups(&own);
        result
    }
}
