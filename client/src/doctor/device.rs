//! What a node of /dev is, and whether this user may open it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::Finding;
use crate::text::escape;

/// Somebody's or a group's rights, and who that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Permissions, and the type, as `st_mode` of stat(2) has them.
    pub mode: u32,
    /// Name of the owner, or the number.
    pub owner: String,
    /// Name of the group, or the number.
    pub group: String,
    /// We may read and write it.
    pub is_open: bool,
}

impl Rights {
    /// Those of what is at this path.
    ///
    /// # Errors
    /// It is not there, or not to be seen.
    pub fn seen(path: &Path) -> Result<Self, Errno> {
        let there = fs::metadata(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(Self {
            mode: there.mode(),
            owner: name("/etc/passwd", there.uid()),
            group: name("/etc/group", there.gid()),
            is_open: access(path, Access::READ_OK | Access::WRITE_OK).is_ok(),
        })
    }

    /// As `ls -l` shows them.
    pub fn shown(&self) -> String {
        let bits = ['r', 'w', 'x'].iter().cycle().enumerate().take(9);
        let bits = bits.map(|(at, letter)| if self.mode & (0o400 >> at) == 0 { '-' } else { *letter });
        format!("{} {} {}", bits.collect::<String>(), self.owner, self.group)
    }

    /// What opens it to this user.
    pub fn advice(&self) -> String {
        let is_for_group = self.mode & 0o060 == 0o060 && self.group != "root";
        if is_for_group {
            format!("be in its group: usermod -aG {} $USER, as root, and log in again", self.group)
        } else {
            format!("be {}, with sudo, or have its mode changed", self.owner)
        }
    }
}

/// The name of an account or a group, as the file has it; the number where it has none.
fn name(file: &str, id: u32) -> String {
    name_in(&fs::read_to_string(file).unwrap_or_default(), id).unwrap_or_else(|| id.to_string())
}

fn name_in(text: &str, id: u32) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(id)).then(|| escape(name.as_bytes()).into_owned())
    })
}

/// Whether a node is there and open to us. `purpose` is what it is needed for, behind "for".
pub fn judge(check: &'static str, rights: &Result<Rights, Errno>, purpose: &str) -> Finding {
    match rights {
        Ok(rights) if rights.is_open => {
            Finding::fine(check, format!("open to this user ({})", rights.shown()))
        }
        Ok(rights) => Finding::failed(
            check,
            format!("not open to this user ({})", rights.shown()),
            format!("for {purpose}, {}", rights.advice()),
        ),
        Err(Errno::NOENT) => Finding::failed(
            check,
            "not there",
            format!("it comes with its module, and is needed for {purpose}; containers have to be given it"),
        ),
        Err(errno) => Finding::failed(
            check,
            format!("cannot be looked at: {}", crate::text::reason(&(*errno).into())),
            format!("it is needed for {purpose}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Result as Found;
    use super::*;

    fn rights(mode: u32, group: &str, is_open: bool) -> Rights {
        Rights { mode, owner: "root".into(), group: group.into(), is_open }
    }

    #[test]
    fn who_may_not_open_it_is_told_which_group_may() {
        let finding = judge("device", &Ok(rights(0o20_660, "kvm", false)), "guests");
        assert_eq!(finding.seen, "not open to this user (rw-rw---- root kvm)");
        assert!(finding.advice.unwrap().contains("for guests, be in its group: usermod -aG kvm $USER"));
        for (mode, group) in [(0o20_600, "kvm"), (0o20_640, "kvm"), (0o20_660, "root")] {
            let finding = judge("device", &Ok(rights(mode, group, false)), "guests");
            assert_eq!(finding.result, Found::Failed);
            assert!(finding.advice.unwrap().contains("be root, with sudo"), "{mode:o} {group}");
        }
    }

    #[test]
    fn what_is_open_is_fine_and_what_is_not_there_is_told() {
        let finding = judge("device", &Ok(rights(0o20_666, "root", true)), "guests");
        assert_eq!(
            (finding.result, &*finding.seen),
            (Found::Fine, "open to this user (rw-rw-rw- root root)")
        );
        let finding = judge("device", &Err(Errno::NOENT), "guests");
        assert_eq!((finding.result, &*finding.seen), (Found::Failed, "not there"));
        let finding = judge("device", &Err(Errno::ACCESS), "guests");
        assert_eq!(finding.seen, "cannot be looked at: Permission denied");
    }

    #[test]
    fn names_of_accounts_and_groups_are_those_of_the_files() {
        let text = "root:x:0:\nkvm:x:104:a,b\nwrong\n:\nx:y:z\n";
        assert_eq!(name_in(text, 104).as_deref(), Some("kvm"));
        assert_eq!(name_in(text, 105), None);
    }

    #[test]
    fn a_node_that_everybody_may_use_is_open() {
        let rights = Rights::seen(Path::new("/dev/null")).unwrap();
        assert!(rights.is_open && rights.mode & 0o666 == 0o666 && !rights.owner.is_empty());
        assert_eq!(Rights::seen(Path::new("/dev/no-such-device")), Err(Errno::NOENT));
    }
}
