//! Files with another user's rights: the ids by which the kernel judges file access are switched for some calls and
//! back.
//!
//! With a file system id other than root's the kernel also takes the capabilities away that override permissions
//! (`setfsuid(2)`), so that the user can open what he could open after a login.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::frame::ChannelId;

use super::Core;
use super::request::number;
use crate::account::{Account, PATH_MAX};
use crate::line::{Line, Part, text};
use crate::sys;

/// Groups that the agent itself may have; with more it has none afterwards.
const OWN_GROUPS_MAX: usize = 64;

/// Groups of a user that count for a transfer, the primary one first; as many as NFS passes on (RFC 5531, appendix A).
const GROUPS_MAX: usize = 16;

/// Where and as whom the paths of a transfer are opened.
pub struct Identity {
    /// The home directory.
    pub home: ArrayVec<u8, PATH_MAX>,
    /// The rights.
    pub rights: Rights,
}

/// The rights with which files are opened and renamed.
pub struct Rights {
    /// The user and the group, where the ids have to be switched.
    other: Option<(Uid, Gid)>,
    groups: ArrayVec<Gid, GROUPS_MAX>,
}

/// The named user does not exist (ENOENT), or may not be taken on (EPERM).
pub struct NoUser(pub Errno);

impl Identity {
    /// The same; where there is none the channel is refused.
    pub(super) fn or_refuse(
        user: Option<&CStr>,
        buffer: &mut [u8],
        channel: ChannelId,
        core: &mut Core,
    ) -> Result<Self, ()> {
        Self::of(user, buffer).map_err(|NoUser(errno)| {
            let user = user.unwrap_or_default().to_bytes();
            let text = Line::of(&[text(c"cannot become user "), Part::Bytes(user)]);
            core.refuse(channel, RefusalCode::NoUser, number(errno), text.as_bytes());
        })
    }

    /// The agent's own identity, or that of a user. `buffer` is for reading /etc/passwd and /etc/group.
    ///
    /// # Errors
    /// See [`NoUser`].
    #[inline(never)]
    pub fn of(user: Option<&CStr>, buffer: &mut [u8]) -> Result<Self, NoUser> {
        let own = geteuid();
        let mut rights = Rights { other: None, groups: ArrayVec::new_const() };
        let Some(user) = user else {
            return Ok(Self { home: Account::own(own, getegid(), buffer).home, rights });
        };
        let account = Account::of_user(user.to_bytes(), buffer).ok_or(NoUser(Errno::NOENT))?;
        if account.uid != own.as_raw() {
            if !own.is_root() {
                return Err(NoUser(Errno::PERM));
            }
            let groups = account.groups(buffer);
            let counted = groups.get(..GROUPS_MAX).unwrap_or(&groups);
            let _ = rights.groups.try_extend_from_slice(counted);
            rights.other = Some((Uid::from_raw_unchecked(account.uid), Gid::from_raw_unchecked(account.gid)));
        }
        Ok(Self { home: account.home, rights })
    }
}

impl Rights {
    /// Those of the agent.
    pub const OWN: Self = Self { other: None, groups: ArrayVec::new_const() };

    /// Does `work` with these rights.
    pub fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut own = [Gid::ROOT; OWN_GROUPS_MAX];
        let groups = self.enter(&mut own);
        let result = work();
        leave(groups);
        result
    }

    /// Takes them on; the groups of before, where there is something to switch back.
    #[inline(never)]
    fn enter<'o>(&self, own: &'o mut [Gid; OWN_GROUPS_MAX]) -> Option<&'o [Gid]> {
        let (uid, gid) = self.other?;
        let own = sys::identity::groups(own).unwrap_or_default();
        switch(uid, gid, &self.groups);
        Some(own)
    }
}

#[inline(never)]
fn leave(groups: Option<&[Gid]>) {
    if let Some(groups) = groups {
        switch(geteuid(), getegid(), groups);
    }
}

/// In this order both ways: setting groups takes CAP_SETGID, which is none of the capabilities that the file ids change.
#[inline(never)]
fn switch(uid: Uid, gid: Gid, groups: &[Gid]) {
    let _ = rustix::thread::set_thread_groups(groups);
    sys::identity::set_file_ids(uid, gid);
}
