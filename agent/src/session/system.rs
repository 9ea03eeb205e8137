//! The verbs of the kind `system` (`R-9.10`, `R-9.11`, `R-9.13`): a system call each, and the answer to it.

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::frame::ChannelId;

use super::Core;
use super::answer::Answer;
use super::base::Base;
use super::fs;
use super::identity::Identity;
use super::power;
use super::request::{Place, Started, number, refuse_denied, start_exec};
use super::tasks::Task;
use super::verb::{Asked, Verb};
use crate::exec;
use crate::init::modules;
use crate::init::power::Action;
use crate::line::{Line, Part, text};
use crate::sys::{clock, process};

/// Does what a request of kind `fs`, or of `system`, asks for.
#[inline(never)]
pub(super) fn start(
    is_fs: bool,
    request: &[u8],
    memory: &mut [u8],
    channel: ChannelId,
    core: &mut Core,
    place: &mut Place<'_>,
) -> Started {
    let mut asked = Asked::nothing();
    asked.read(request, is_fs).map_err(|code| core.refuse(channel, code, 0, b""))?;
    if place.config.denied & asked.takes() != 0 {
        return refuse_denied(core, channel);
    }
    let done = if is_fs {
        let Identity { home, rights } = Identity::or_refuse(asked.user, memory, channel, core)?;
        rights
            .with(|| Base::open(place.config.root, &home))
            .map_err(|failed| failed.errno.unwrap_or(Errno::IO))
            .and_then(|base| fs::start(&asked, channel, base, rights))
    } else {
        let mut answer = Answer::nothing(channel);
        let done = match Action::of_verb(asked.verb) {
            Some(action) => match power::ask(action, asked.flags & flag::FORCE != 0) {
                Ok(false) => return start_exec(power::program(action), 0, memory, channel, core, place),
                asked => asked.map(|_| ()),
            },
            None => perform(&asked, memory, &mut answer, place),
        };
        done.map(|()| Task::Answer(answer))
    };
    done.map_err(|errno| {
        let text = Line::of(&[text(c"cannot "), Part::Bytes(asked.name.to_bytes())]);
        core.refuse(channel, RefusalCode::System, number(errno), text.as_bytes());
    })
}

/// Does something with the system.
#[inline(never)]
fn perform(
    asked: &Asked<'_>,
    memory: &mut [u8],
    answer: &mut Answer,
    place: &mut Place<'_>,
) -> Result<(), Errno> {
    let [first, second, third, fourth] = asked.arguments;
    let [value, other] = asked.values;
    match asked.verb {
        Verb::Kill => process::kill(value, other),
        Verb::Mount => {
            let flags = MountFlags::from_bits_retain(value as u32);
            rustix::mount::mount(first, second, third, flags, fourth)
        }
        Verb::Umount => rustix::mount::unmount(first, UnmountFlags::from_bits_retain(value as u32)),
        Verb::Load => modules::load_from(first, second, value as i32),
        Verb::Unload => rustix::system::delete_module(first, value as i32),
        Verb::Clock => {
            if asked.values_given > 0 {
                clock::set_time(asked.values)?;
            }
            answer.tell_time()
        }
        Verb::Environment => {
            answer.open()?;
            exec::own_environment(memory, place.config, &mut |entry| answer.write(entry.to_bytes_with_nul()));
            answer.end();
            Ok(())
        }
        Verb::Log => answer.tell_log(asked.flags & flag::FOLLOW != 0, place),
        Verb::Info => answer.tell_info(place.config),
        _ => {
            rustix::fs::sync();
            Ok(())
        }
    }
}
