//! What is asked of the kinds `fs` and `system`: a verb and what it takes, read in place (`PROTOCOL.md` §9).

use core::ffi::CStr;

use vsock_shell_proto::ability;
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::{Fields, Malformed, flag, tag};

use super::request::unknown;

macro_rules! verbs {
    ($($verb:ident $name:literal $arguments:literal $values:literal;)*) => {
        /// What can be done without a program.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Verb {
            $(#[doc = $name] $verb,)*
        }

        impl Verb {
            const ALL: &'static [Self] = &[$(Self::$verb),*];
            /// Their names, each with its NUL.
            const NAMES: &'static str = concat!($($name, "\0"),*);
            /// How many ARG each takes at least, and how many VALUE: the two halves of a byte.
            const TAKES: &'static [u8] = &[$($arguments << 4 | $values),*];
        }
    };
}

verbs! {
    Mkdir "mkdir" 0 1;
    Remove "remove" 0 0;
    Rename "rename" 1 0;
    Symlink "symlink" 1 0;
    Chmod "chmod" 0 1;
    Statfs "statfs" 0 0;
    // From here on those of `system`.
    Kill "kill" 0 2;
    Mount "mount" 2 1;
    Umount "umount" 1 1;
    Load "load" 1 1;
    Unload "unload" 1 1;
    Clock "clock" 0 2;
    Sync "sync" 0 0;
    Environment "env" 0 0;
    Log "kmsg" 0 0;
    Info "info" 0 0;
    PowerOff "poweroff" 0 0;
    Reboot "reboot" 0 0;
    Halt "halt" 0 0;
}

/// The most ARG that a verb takes.
const ARGUMENTS_MAX: usize = 4;
/// The most VALUE that a verb takes.
const VALUES_MAX: usize = 2;

/// A verb with what it takes.
pub struct Asked<'r> {
    /// What to do.
    pub verb: Verb,
    /// Its name.
    pub name: &'r CStr,
    /// About what; empty for what is asked of the system.
    pub path: &'r CStr,
    /// Those that are not there are empty.
    pub arguments: [&'r CStr; ARGUMENTS_MAX],
    /// Those that are not there are 0.
    pub values: [u64; VALUES_MAX],
    /// As many as the verb takes; those of `clock` may be missing.
    pub values_given: usize,
    /// Of those that the kind knows.
    pub flags: u32,
    /// With whose rights.
    pub user: Option<&'r CStr>,
}

impl<'r> Asked<'r> {
    /// Nothing yet.
    pub const fn nothing() -> Self {
        Self {
            verb: Verb::Info,
            name: c"",
            path: c"",
            arguments: [c""; ARGUMENTS_MAX],
            values: [0; VALUES_MAX],
            values_given: 0,
            flags: 0,
            user: None,
        }
    }

    /// What it takes, of [`ability`].
    pub fn takes(&self) -> u32 {
        match self.verb {
            Verb::Info | Verb::Statfs => 0,
            Verb::Mkdir | Verb::Remove | Verb::Rename | Verb::Symlink | Verb::Chmod => ability::FS_WRITE,
            Verb::Sync | Verb::Environment | Verb::Log => ability::SYSTEM,
            Verb::Clock if self.values_given == 0 => ability::SYSTEM,
            _ => ability::SYSTEM | ability::SYSTEM_WRITE,
        }
    }

    /// Reads a request of kind `fs`, or of `system`.
    ///
    /// # Errors
    /// UNSUPPORTED or MALFORMED, by `R-9.1`.
    #[inline(never)]
    pub fn read(&mut self, request: &'r [u8], is_fs: bool) -> Result<(), RefusalCode> {
        const REPEATED: u32 = 1 << tag::ARG | 1 << tag::VALUE;
        const OF_SYSTEM: u32 = REPEATED | 1 << tag::FLAGS | 1 << tag::VERB;
        const OF_FS: u32 = OF_SYSTEM | 1 << tag::PATH | 1 << tag::USER;
        let (tags, flags) = if is_fs {
            (OF_FS, flag::TREE | flag::KEEP_TIME)
        } else {
            (OF_SYSTEM, flag::FORCE | flag::FOLLOW)
        };
        let (mut seen, mut arguments) = (0, 0);
        for field in Fields::new(request) {
            let field = field.map_err(malformed)?;
            let bit = 1_u32.checked_shl(u32::from(field.tag)).unwrap_or(0) & tags;
            if bit == 0 {
                unknown(&field)?;
                continue;
            }
            if seen & bit & !REPEATED != 0 {
                return Err(RefusalCode::Malformed);
            }
            seen |= bit;
            if field.tag == tag::VALUE {
                let place = self.values.get_mut(self.values_given).ok_or(RefusalCode::Malformed)?;
                *place = field.long().map_err(malformed)?;
                self.values_given += 1;
            } else if field.tag == tag::FLAGS {
                self.flags = field.number().map_err(malformed)?;
            } else {
                let string = field.string().map_err(malformed)?;
                match field.tag {
                    tag::VERB => self.name = string,
                    tag::PATH => self.path = string,
                    tag::USER => self.user = Some(string),
                    _ => {
                        *self.arguments.get_mut(arguments).ok_or(RefusalCode::Malformed)? = string;
                        arguments += 1;
                    }
                }
            }
        }
        let (verb, takes) = Verb::find(self.name)
            .filter(|(verb, _)| ((*verb as u8) < Verb::Kill as u8) == is_fs)
            .ok_or(if self.name.is_empty() { RefusalCode::Malformed } else { RefusalCode::Unsupported })?;
        self.verb = verb;
        let values_wanted = usize::from(takes & 15);
        let has_values =
            self.values_given == values_wanted || (verb == Verb::Clock && self.values_given == 0);
        if has_values
            && arguments >= usize::from(takes >> 4)
            && self.flags & !flags == 0
            && is_fs != self.path.is_empty()
        {
            Ok(())
        } else {
            Err(RefusalCode::Malformed)
        }
    }
}

fn malformed(_: Malformed) -> RefusalCode {
    RefusalCode::Malformed
}

impl Verb {
    /// The verb of a name, and what it takes.
    fn find(name: &CStr) -> Option<(Self, u8)> {
        let mut names = Self::NAMES.as_bytes().split(|&byte| byte == 0);
        let at = names.position(|other| other == name.to_bytes())?;
        Some((*Self::ALL.get(at)?, *Self::TAKES.get(at)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::fields;

    fn refusal(is_fs: bool, list: &[(u8, &[u8])]) -> Option<RefusalCode> {
        Asked::nothing().read(&fields(list), is_fs).err()
    }

    const ONE: [u8; 8] = 1_u64.to_le_bytes();

    #[test]
    fn every_verb_is_found_by_its_name() {
        for &verb in Verb::ALL {
            let name = Verb::NAMES.split_inclusive('\0').nth(verb as usize).unwrap();
            let name = CStr::from_bytes_with_nul(name.as_bytes()).unwrap();
            assert_eq!(Verb::find(name).map(|(verb, _)| verb), Some(verb));
        }
        assert_eq!((Verb::find(c""), Verb::find(c"mkdi"), Verb::find(c"mkdirs")), (None, None, None));
    }

    #[test]
    fn r_9_12_what_a_verb_takes_comes_in_order() {
        let request = fields(&[
            (tag::VERB, b"mount\0"),
            (tag::ARG, b"\0"),
            (tag::ARG, b"/mnt\0"),
            (tag::VALUE, &ONE),
            (tag::ARG, b"tmpfs\0"),
            (tag::FLAGS, &[0; 4]),
        ]);
        let mut asked = Asked::nothing();
        asked.read(&request, false).unwrap();
        assert_eq!((asked.verb, asked.arguments), (Verb::Mount, [c"", c"/mnt", c"tmpfs", c""]));
        assert_eq!((asked.values, asked.values_given), ([1, 0], 1));
    }

    #[test]
    fn r_9_1_what_is_missing_or_too_much_is_malformed() {
        let verb = (tag::VERB, &b"mkdir\0"[..]);
        let (path, value) = ((tag::PATH, &b"/x\0"[..]), (tag::VALUE, &ONE[..]));
        assert_eq!(refusal(true, &[verb, path, value]), None);
        for wrong in [
            &[path, value][..],
            &[verb, value],
            &[verb, path],
            &[verb, path, value, value],
            &[verb, verb, path, value],
            &[verb, path, (tag::VALUE, &[0; 4])],
            &[verb, (tag::PATH, b"\0"), value],
            &[verb, path, value, (tag::FLAGS, &[0, 8, 0, 0])],
            &[(tag::VERB, b"rename\0"), path],
        ] {
            assert_eq!(refusal(true, wrong), Some(RefusalCode::Malformed), "{wrong:?}");
        }
        let clock = (tag::VERB, &b"clock\0"[..]);
        assert_eq!(refusal(false, &[clock]), None);
        assert_eq!(refusal(false, &[clock, value]), Some(RefusalCode::Malformed));
        assert_eq!(refusal(false, &[clock, value, value]), None);
        assert_eq!(refusal(false, &[clock, value, value, value]), Some(RefusalCode::Malformed));
    }

    #[test]
    fn r_9_1_a_verb_or_a_field_of_the_other_kind_is_unsupported() {
        let path = (tag::PATH, &b"/x\0"[..]);
        assert_eq!(refusal(false, &[(tag::VERB, b"remove\0")]), Some(RefusalCode::Unsupported));
        assert_eq!(refusal(true, &[(tag::VERB, b"sync\0"), path]), Some(RefusalCode::Unsupported));
        assert_eq!(refusal(false, &[(tag::VERB, b"sync\0"), path]), Some(RefusalCode::Unsupported));
        assert_eq!(refusal(false, &[(tag::VERB, b"fly\0")]), Some(RefusalCode::Unsupported));
    }

    #[test]
    fn a_request_cut_anywhere_is_refused() {
        let request = fields(&[(tag::VERB, b"unload\0"), (tag::ARG, b"x\0"), (tag::VALUE, &ONE)]);
        for cut in 0..request.len() {
            assert!(Asked::nothing().read(&request[..cut], false).is_err(), "cut at {cut}");
        }
    }
}
