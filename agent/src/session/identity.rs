//! What is done with another user's rights: the ids by which the kernel judges who does it are switched for some calls and
//! back.
//!
//! They are the effective ones: the kernel judges files by them, tells a server at a Unix socket who has connected, and takes
//! all capabilities away with them (`credentials(7)`, `capabilities(7)`), so that the user can do what he could do after a login.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

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

/// The rights with which files are opened and renamed, and sockets connected.
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
            rights.check().map_err(NoUser)?;
        }
        Ok(Self { home: account.home, rights })
    }
}

impl Rights {
    /// Those of the agent.
    pub const OWN: Self = Self { other: None, groups: ArrayVec::new_const() };

    /// Does `work` with these rights. The process ends where it cannot have them, as once it could: with other ones nothing is
    /// done.
    pub fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut own = [Gid::ROOT; OWN_GROUPS_MAX];
        let Ok(groups) = self.enter(&mut own) else { sys::process::end(1) };
        let result = work();
        self.leave(groups);
        result
    }

    /// Whether these rights can be had: not in a user namespace that has not the user, or no groups.
    fn check(&self) -> Result<(), Errno> {
        let mut own = [Gid::ROOT; OWN_GROUPS_MAX];
        self.enter(&mut own).map(|groups| self.leave(groups))
    }

    /// Takes them on; the groups of before.
    #[inline(never)]
    fn enter<'o>(&self, own: &'o mut [Gid; OWN_GROUPS_MAX]) -> Result<&'o [Gid], Errno> {
        let Some((uid, gid)) = self.other else { return Ok(&[]) };
        let own = sys::groups::groups(own).unwrap_or_default();
        let entered = set_thread_groups(&self.groups)
            .and_then(|()| set_thread_res_gid(None, gid, None))
            .and_then(|()| set_thread_res_uid(None, uid, None));
        if entered.is_err() {
            self.leave(own);
        }
        entered.map(|()| own)
    }

    /// The user first, since only root sets the others.
    #[inline(never)]
    fn leave(&self, groups: &[Gid]) {
        if self.other.is_some() {
            let _ = set_thread_res_uid(None, getuid(), None);
            let _ = set_thread_res_gid(None, getgid(), None);
            let _ = set_thread_groups(groups);
        }
    }
}
