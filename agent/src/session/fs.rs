//! The verbs of the kind `fs` (`R-9.12`): a system call each, in the directory that a path leads to.

use core::ffi::CStr;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::ChannelId;

use super::answer::Answer;
use super::base::Base;
use super::identity::Rights;
use super::remove::Remove;
use super::tasks::Task;
use super::transfer::Failed;
use super::verb::{Asked, Verb};

/// Does something with a file, with these rights.
///
/// # Errors
/// Why it cannot be done.
#[inline(never)]
pub fn start(asked: &Asked<'_>, channel: ChannelId, base: &Base, rights: Rights) -> Result<Task, Errno> {
    let mut answer = Answer::nothing(channel);
    let errno = |failed: Failed| failed.errno.unwrap_or(Errno::IO);
    if asked.verb == Verb::Remove && asked.flags & flag::TREE != 0 {
        return Remove::begin(channel, asked.path, base, rights).map(Task::Remove).map_err(errno);
    }
    rights.with(|| change(asked, base, &mut answer))?;
    Ok(Task::Answer(answer))
}

fn change(asked: &Asked<'_>, base: &Base, answer: &mut Answer) -> Result<(), Errno> {
    let (path, [argument, ..]) = (asked.path, asked.arguments);
    let [mode, _] = asked.values;
    let mode = Mode::from_raw_mode(mode as u32 & 0o7777);
    match asked.verb {
        Verb::Statfs => return answer.tell_space(base.at(path, OFlags::PATH)?),
        // A name would be followed to wherever a link leads.
        Verb::Chmod if base.is_confined() => {
            let file = base.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
            return rustix::fs::fchmod(file, mode);
        }
        _ => {}
    }
    let (folder, name) = base.parent(path)?;
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    match asked.verb {
        Verb::Mkdir => rustix::fs::mkdirat(folder, name, mode),
        Verb::Remove => match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR),
            removed => removed,
        },
        Verb::Rename => {
            let (to, new) = base.parent(argument)?;
            rustix::fs::renameat(
                folder,
                name,
                to.as_fd(),
                CStr::from_bytes_until_nul(&new).unwrap_or_default(),
            )
        }
        Verb::Chmod => rustix::fs::chmodat(folder, name, mode, AtFlags::empty()),
        _ => rustix::fs::symlinkat(argument, folder, name),
    }
}
