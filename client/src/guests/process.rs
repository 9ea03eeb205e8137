//! What a process shows of itself in /proc: whose it is, its command line, and where its paths lead.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes of a file of /proc that are read: a command line of QEMU has some kilobytes, the kernel's limit is far above.
const FILE_MAX: u64 = 1 << 20;

/// System accounts, as Debian and systemd give them: those below people, and the dynamic ones between people and nobody.
const SYSTEM_ACCOUNTS: [std::ops::RangeInclusive<u32>; 2] = [0..=999, 61_184..=65_533];

/// How far a process is believed, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Our own.
    Own,
    /// Root's, or a system account's.
    System,
    /// Another person's, whom root alone looks at.
    Stranger,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub trust: Trust,
    /// The file name of its program.
    pub program: Vec<u8>,
    /// Its arguments, without the program's name.
    pub arguments: Vec<Vec<u8>>,
    folder: PathBuf,
}

/// Those that are looked at by the user with this id.
pub fn all(proc: &Path, user: u32) -> Vec<Process> {
    let Ok(folder) = fs::read_dir(proc) else { return Vec::new() };
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| read(proc.join(format!("{pid}")), pid, user)).collect()
}

/// `None` where it has ended, is the kernel's, or is not to be looked at.
fn read(folder: PathBuf, pid: u32, user: u32) -> Option<Process> {
    let trust = trust(&file(&folder.join("status"))?, user)?;
    let line = file(&folder.join("cmdline"))?;
    let mut words = line.strip_suffix(b"\0").unwrap_or(&line).split(|&byte| byte == 0).map(<[u8]>::to_vec);
    let first = words.next()?;
    // What a process calls itself is believed where the kernel does not tell.
    let program = match fs::read_link(folder.join("exe")) {
        Ok(path) => path.into_os_string().into_vec(),
        Err(_) => first,
    };
    let program = program.strip_suffix(b" (deleted)").unwrap_or(&program);
    let program = program.rsplit(|&byte| byte == b'/').next()?.to_vec();
    Some(Process { pid, trust, program, arguments: words.collect(), folder })
}

/// By all four ids of the user that it has: what has root's rights for a person may have been told anything by that person.
fn trust(status: &[u8], user: u32) -> Option<Trust> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    let ids: Option<Vec<u32>> =
        str::from_utf8(line).ok()?.split_whitespace().map(|id| id.parse().ok()).collect();
    let ids = ids.filter(|ids| !ids.is_empty())?;
    if ids.iter().all(|&id| id == user) {
        Some(Trust::Own)
    } else if ids.iter().all(|id| SYSTEM_ACCOUNTS.iter().any(|accounts| accounts.contains(id))) {
        Some(Trust::System)
    } else {
        (user == 0).then_some(Trust::Stranger)
    }
}

impl Process {
    /// The values of an option that is written `-NAME VALUE`, `--NAME VALUE` or `--NAME=VALUE`.
    pub fn values<'p>(&'p self, name: &'p [u8]) -> impl DoubleEndedIterator<Item = &'p [u8]> {
        let option = |word: &'p [u8]| {
            let word = word.strip_prefix(b"-")?;
            word.strip_prefix(b"-").unwrap_or(word).strip_prefix(name)
        };
        self.arguments.iter().enumerate().filter_map(move |(at, word)| match option(word)? {
            [] => self.arguments.get(at + 1).map(Vec::as_slice),
            [b'=', value @ ..] => Some(value),
            _ => None,
        })
    }

    /// A path that means something to the process, as we can use it.
    pub fn path(&self, path: &[u8]) -> Option<PathBuf> {
        let path = Path::new(OsStr::from_bytes(path));
        if path.as_os_str().is_empty() {
            return None;
        }
        let (cwd, root) = (self.folder.join("cwd"), self.folder.join("root"));
        match (is_another_root(&root), path.strip_prefix("/")) {
            (true, Ok(below)) => Some(root.join(below)),
            (true, Err(_)) => Some(cwd.join(path)),
            (false, Ok(_)) => Some(path.to_owned()),
            (false, Err(_)) => fs::read_link(cwd).ok().map(|folder| folder.join(path)),
        }
    }

    /// A file of its own in /proc.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        file(&self.folder.join(name))
    }

    /// What its descriptors are, by their numbers.
    pub fn descriptors(&self) -> Vec<(u32, PathBuf)> {
        let Ok(folder) = fs::read_dir(self.folder.join("fd")) else { return Vec::new() };
        let number = |entry: fs::DirEntry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?))
        };
        let mut descriptors: Vec<_> = folder.flatten().filter_map(number).collect();
        descriptors.sort();
        descriptors
    }
}

/// Where that cannot be seen it is taken for ours.
fn is_another_root(root: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).map(|there| (there.dev(), there.ino())).ok();
    place(root).is_some_and(|root| Some(root) != place(Path::new("/")))
}

/// The beginning of a file of the kernel's.
fn file(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
