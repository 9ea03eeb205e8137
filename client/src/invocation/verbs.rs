//! Owns what `fs` and `sys` can mean.

use std::ffi::OsString;

use super::Settings;
use crate::system::log::Since;
use crate::system::mount::Mount;
use crate::target::Target;

/// A verb of `fs` or `sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<V> {
    /// In which guest.
    pub target: Target,
    /// What is to be done.
    pub verb: V,
    /// `--json`.
    pub is_json: bool,
    /// How to reach the agent, and how much to say.
    pub settings: Settings,
}

/// What `fs` does with files of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsVerb {
    /// `ls`.
    List {
        /// What; the home directory where nothing is named.
        paths: Vec<OsString>,
        /// `-l`: with what is known of each.
        is_long: bool,
        /// `-d`: directories themselves, and not what is in them.
        is_itself: bool,
    },
    /// `cat`.
    Print {
        /// Which files.
        paths: Vec<OsString>,
    },
    /// `stat`.
    Describe {
        /// What.
        paths: Vec<OsString>,
    },
    /// `mkdir`.
    MakeDirectories {
        /// Which.
        paths: Vec<OsString>,
        /// `-p`: those that lead there too, and what is there already is fine.
        with_parents: bool,
    },
    /// `rm`.
    Remove {
        /// What.
        paths: Vec<OsString>,
        /// `-r`: with what is in it.
        is_tree: bool,
    },
    /// `mv`.
    Rename {
        /// What.
        from: OsString,
        /// Its new path.
        to: OsString,
    },
    /// `ln -s`.
    Link {
        /// What the link holds.
        target: OsString,
        /// Where it is.
        path: OsString,
    },
    /// `chmod`.
    SetMode {
        /// Twelve bits.
        mode: u32,
        /// Of what.
        paths: Vec<OsString>,
    },
    /// `df`.
    Space {
        /// What the file systems hold; at least one.
        paths: Vec<OsString>,
    },
}

/// What `sys` does with the system of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemVerb {
    /// `ps`.
    Processes,
    /// `modules`.
    Modules,
    /// `mount` alone.
    Mounts,
    /// `sysctl`.
    Settings {
        /// Names, and the values that those get that have one.
        settings: Vec<(OsString, Option<OsString>)>,
    },
    /// `kill`.
    Kill {
        /// The signal's generic number.
        signal: u32,
        /// Which processes.
        processes: Vec<u64>,
    },
    /// `dmesg`.
    Log {
        /// `-f`: with what is still to come.
        follows: bool,
        /// `--since`: without what was before.
        since: Option<Since>,
    },
    /// `mount`.
    Mount {
        /// What.
        source: OsString,
        /// Where.
        target: OsString,
        /// How.
        mount: Mount,
    },
    /// `umount`.
    Unmount {
        /// Where.
        targets: Vec<OsString>,
        /// `-l`: as soon as nobody uses it.
        is_lazy: bool,
        /// `-f`: whoever uses it.
        is_forced: bool,
    },
    /// `load`.
    Load {
        /// The module's file in the guest.
        path: OsString,
        /// NAME=VALUE.
        parameters: Vec<OsString>,
    },
    /// `unload`.
    Unload {
        /// The module's name.
        name: OsString,
    },
    /// `env`.
    Environment,
    /// `date`.
    Date {
        /// `--sync`: set it from ours.
        is_set: bool,
    },
    /// `sync`.
    Sync,
}
