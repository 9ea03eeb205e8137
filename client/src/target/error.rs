//! Why a word is no target, and what to write instead.

use std::fmt;

/// Why a word is not a target. The text is a reason, to follow the word and a colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// Nothing, or nothing after `USER@`.
    Empty,
    /// An `@` with nothing before it.
    EmptyUser,
    /// A bare word: no number and no scheme.
    Name,
    /// A first word, before a colon, that is no scheme.
    Scheme,
    /// A number with something after a colon, which reads as a file in a guest.
    NumberWithColon,
    /// The context id is not a number that can be connected to.
    Cid,
    /// The port is not a number, or out of range for its transport.
    Port,
    /// Nothing where a path belongs.
    EmptyPath,
    /// A path longer than a Unix socket's address can hold.
    PathTooLong,
    /// No host, or one that is not text.
    Host,
    /// Nothing where a command belongs.
    EmptyCommand,
    /// Neither `vsock` nor `unix:`.
    NotToListenOn,
    /// A scheme alone, before the colon at which a target of `cp` ends.
    SchemeAlone,
}

impl fmt::Display for TargetError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            Self::Empty => "it is empty; a target is a context id such as 3, or vsock:3, or unix:PATH",
            Self::EmptyUser => "the user before `@` is empty",
            Self::Name => {
                "it is no context id, no address, and no name that is known here; use 3, vsock:3, mux:PATH, unix:PATH, tcp:HOST:PORT, exec:COMMAND, or what `vsock-shell targets` shows"
            }
            Self::Scheme => "its first word must be one of vsock, mux, unix, tcp, serial, exec",
            Self::NumberWithColon => {
                "with a port, write vsock:CID:PORT; for a file in the guest, use `vsock-shell cp`"
            }
            Self::Cid => "the context id must be a number from 0 to 4294967294",
            Self::Port => "the port must be a number: to 4294967294 for vsock and mux, to 65535 for tcp",
            Self::EmptyPath => "the path is empty",
            Self::PathTooLong => {
                "the path is over the 107 bytes that a Unix socket's address can hold; use a shorter one, or a symbolic link"
            }
            Self::Host => {
                "the host is empty or not text; write tcp:HOST:PORT, with an IPv6 address in brackets"
            }
            Self::EmptyCommand => "the command is empty",
            Self::SchemeAlone => {
                "here a target ends at its first colon; write % for those within it, as in unix%/run/a.sock:/tmp/x"
            }
            Self::NotToListenOn => "an agent can call vsock:PORT or unix:PATH",
        };
        out.write_str(reason)
    }
}

impl std::error::Error for TargetError {}

const _: () = assert!(size_of::<TargetError>() == 1);
