//! Owns what a subsystem of ssh is in a guest (`-s`): the program that serves it, and where that is looked for.
//!
//! A server of ssh is told so by its configuration. Here there is none, and one subsystem that programs ask for: sftp. Its
//! server stands outside of every PATH, and each distribution has chosen a place for it; so the places are the PATH with
//! which it is executed. It is found without a shell, by one request, before a byte of what it is to read is lost.

use std::ffi::{OsStr, OsString};

use crate::invocation::Program;

/// The only one.
const SFTP: &str = "sftp";

/// What serves it.
pub(crate) const SFTP_SERVER: &str = "sftp-server";

/// Where it stands: Debian and Ubuntu, Fedora and its family, Alpine, Arch, openSUSE, what is built small, Gentoo.
const PLACES: &str = "/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec/ssh:/usr/libexec:/usr/lib:\
                      /usr/lib/misc:/usr/lib64/misc";

/// The PATH of an agent that was started without one.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program that serves the subsystem of this name.
pub(crate) fn program(name: &OsStr) -> Option<Program> {
    (name == SFTP).then(|| Program::Argv(vec![SFTP_SERVER.into()]))
}

/// The PATH to look for it in; where the person has set one, its places count too, and before those.
pub(crate) fn path(own: Option<&OsStr>) -> OsString {
    let (first, last) = match own {
        Some(own) => (own, OsStr::new(PLACES)),
        None => (OsStr::new(PLACES), OsStr::new(DEFAULT_PATH)),
    };
    [first, last].join(OsStr::new(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sftp_is_the_only_subsystem() {
        assert_eq!(program(OsStr::new("sftp")), Some(Program::Argv(vec!["sftp-server".into()])));
        assert_eq!(program(OsStr::new("netconf")), None);
        assert_eq!(program(OsStr::new("sftp ")), None);
    }

    #[test]
    fn it_is_looked_for_in_the_places_of_distributions_and_then_in_a_path() {
        let path = path(None).into_string().unwrap();
        assert!(path.starts_with("/usr/lib/openssh:") && path.ends_with(":/sbin:/bin"), "{path}");
        assert!(path.split(':').all(|place| place.starts_with('/')), "an empty one is the working directory");
    }

    #[test]
    fn a_path_of_ones_own_counts_first() {
        let path = path(Some(OsStr::new("/opt/bin"))).into_string().unwrap();
        assert!(path.starts_with("/opt/bin:/usr/lib/openssh:") && !path.ends_with(':'), "{path}");
    }
}
