//! The verbs of the kind `fs` (`R-9.12`): a system call each, in the directory that a path leads to.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use vsock_shell_proto::frame::ChannelId;

use super::answer::Answer;
use super::base::Base;
use super::identity::Rights;
use super::remove::Remove;
use super::tasks::Task;
use super::verb::{Asked, Verb};
use super::walk::c_str;

/// Does something with a file, with these rights.
///
/// # Errors
/// Why it cannot be done.
#[inline(never)]
pub fn start(asked: &Asked<'_>, channel: ChannelId, mut base: Base, rights: Rights) -> Result<Task, Errno> {
    if asked.verb == Verb::Remove {
        let mut path = asked.path;
        let [inside, ..] = asked.arguments;
        if !inside.is_empty() {
            rights.with(|| base.enclose(path))?;
            path = inside;
        }
        return Remove::begin(channel, path, &base, asked.flags, rights).map(Task::Remove);
    }
    let mut answer = Answer::nothing(channel);
    rights.with(|| change(asked, &base, &mut answer))?;
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
        Verb::Chmod => return rustix::fs::chmodat(base, path, mode, AtFlags::empty()),
        _ => {}
    }
    let (folder, name) = base.parent(path)?;
    let name = c_str(&name);
    match asked.verb {
        Verb::Mkdir => rustix::fs::mkdirat(folder, name, mode),
        Verb::Rename => {
            let (to, new) = base.parent(argument)?;
            rustix::fs::renameat(folder, name, to.as_fd(), c_str(&new))
        }
        _ => rustix::fs::symlinkat(argument, folder, name),
    }
}
