//! What each feature of the agent costs, by the modules that its functions and constants are from.
//!
//! A function that the compiler inlined counts where it ended up, and what several features need (`rustix`, `core`, system
//! calls, the log) is a line of its own: nobody would get those bytes back by leaving one feature out.

use anyhow::Result;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

use crate::size::Weight;

/// Features, and the beginnings of the paths that belong to them. The first that fits counts.
const FEATURES: [(&str, &[&str]); 9] = [
    (
        "serial ports and lines",
        &[
            "vsock_shell_proto::serial",
            "vsock_shell_agent::{serial,port}",
            "vsock_shell_agent::session::wire",
        ],
    ),
    ("jobs", &["vsock_shell_agent::session::{job,detach}", "vsock_shell_proto::job"]),
    ("the protocol's core", &["vsock_shell_proto"]),
    (
        "commands and terminals",
        &[
            "vsock_shell_agent::{exec,spawn,command,environ,account,terminal,modes,hangup,failure,arena}",
            "vsock_shell_agent::session::{exec,ends,dying}",
            "vsock_shell_agent::sys::{groups,pointers,terminal}",
        ],
    ),
    (
        "files",
        &[
            "vsock_shell_agent::session::{put,get,identity}",
            "vsock_shell_agent::digest",
            "vsock_shell_agent::sys::stripes",
        ],
    ),
    (
        "process 1",
        &[
            "vsock_shell_agent::{init,root,oom}",
            "vsock_shell_agent::session::power",
            "vsock_shell_agent::sys::network",
        ],
    ),
    (
        "options, addresses, the listener",
        &[
            "vsock_shell_agent::{args,startup,listen,listener,half_open,caller,sessions,config}",
            "vsock_shell_agent::sys::socket",
        ],
    ),
    ("sessions and their requests", &["vsock_shell_agent::session"]),
    ("what all of them use", &[""]),
];

/// Bytes of each feature in a file with symbols.
pub fn weigh(file: &[u8]) -> Result<Vec<Weight>> {
    let parsed = object::File::parse(file)?;
    let mut weights: Vec<Weight> = FEATURES.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect();
    let in_file = |symbol: &object::Symbol<'_, '_>| {
        let section = symbol.section_index().and_then(|index| parsed.section_by_index(index).ok());
        section.is_some_and(|section| section.kind() != SectionKind::UninitializedData)
    };
    for symbol in parsed.symbols().filter(in_file) {
        let name = format!("{:#}", rustc_demangle::demangle(symbol.name().unwrap_or_default()));
        if let Some((_, bytes)) = weights.get_mut(feature_of(&name)) {
            *bytes += symbol.size();
        }
    }
    Ok(weights)
}

fn feature_of(symbol: &str) -> usize {
    // `<vsock_shell_agent::line::Line as …>::method` belongs to the type.
    let path = symbol.trim_start_matches(['<', '&']);
    let fits =
        |(_, beginnings): &(&str, &[&str])| beginnings.iter().any(|beginning| begins_with(path, beginning));
    FEATURES.iter().position(fits).unwrap_or(FEATURES.len() - 1)
}

/// Whether `path` begins with these segments, of which the last may be a choice `{a,b}`.
fn begins_with(path: &str, beginning: &str) -> bool {
    let (stem, choices) = match beginning.split_once('{') {
        Some((stem, choices)) => (stem, choices.trim_end_matches('}')),
        None => ("", beginning),
    };
    let Some(rest) = path.strip_prefix(stem) else { return false };
    choices.split(',').any(|choice| {
        rest.strip_prefix(choice).is_some_and(|rest| {
            choice.is_empty() || !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_belongs_to_the_first_feature_that_fits_whole_segments() {
        let name = |symbol| FEATURES[feature_of(symbol)].0;
        assert_eq!(name("vsock_shell_proto::serial::port::Port::read"), "serial ports and lines");
        assert_eq!(name("vsock_shell_agent::port::serve"), "serial ports and lines");
        assert_eq!(name("<vsock_shell_agent::session::put::Put>::take"), "files");
        assert_eq!(name("vsock_shell_agent::session::Driver::run"), "sessions and their requests");
        assert_eq!(name("vsock_shell_agent::sessions::Sessions::reap"), "options, addresses, the listener");
        assert_eq!(name("vsock_shell_agent::listener::Listener::run"), "options, addresses, the listener");
        assert_eq!(name("vsock_shell_proto::mux::Mux<P,C>::flush"), "the protocol's core");
        assert_eq!(name("rustix::io::read"), "what all of them use");
        assert_eq!(name("memcpy"), "what all of them use");
    }
}
