//! What is in a tree, as a copy has to keep it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File, Permissions};
use std::hash::Hasher as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, SeekFrom, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use twox_hash::XxHash3_64;

use super::payload;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Type and permissions.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    /// The content of a file, by digest and length; the target of a link.
    pub content: Vec<u8>,
    /// It takes fewer blocks than its size.
    pub has_holes: bool,
    /// What only `-p` keeps.
    pub kept: Option<Kept>,
}

/// What only `-p` keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// User and group.
    pub owner: (u32, u32),
    /// Names and values.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first entry that is the same file.
    pub same_as: PathBuf,
    /// The number of a device.
    pub device: u64,
}

/// Everything from `root` on, itself included under an empty path, without sockets.
pub type Listing = BTreeMap<PathBuf, Seen>;

/// All that is in a tree; with `is_preserved` also what only `-p` keeps.
#[track_caller]
pub fn listing(root: &Path, is_preserved: bool) -> Listing {
    let mut listing = Listing::new();
    let mut firsts = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(inside) = left.pop() {
        let path = if inside.as_os_str().is_empty() { root.to_owned() } else { root.join(&inside) };
        let there = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let kind = there.file_type();
        if kind.is_socket() {
            continue;
        }
        if kind.is_dir() {
            let mut inner: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| inside.join(entry.unwrap().file_name())).collect();
            inner.sort();
            left.extend(inner.into_iter().rev());
        }
        let content = if kind.is_file() {
            digest(&path)
        } else if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        let kept = is_preserved.then(|| {
            let first = firsts.entry((there.dev(), there.ino())).or_insert_with(|| inside.clone());
            Kept {
                owner: (there.uid(), there.gid()),
                attributes: attributes(&path),
                same_as: first.clone(),
                device: there.rdev(),
            }
        });
        let seen = Seen {
            mode: there.mode(),
            modified: (there.mtime(), there.mtime_nsec()),
            content,
            has_holes: kind.is_file() && there.blocks() * 512 < there.size(),
            kept,
        };
        listing.insert(inside, seen);
    }
    listing
}

/// Both are the same; tells what differs, not all that they hold.
#[track_caller]
pub fn assert_same_trees(got: &Listing, expected: &Listing) {
    for (path, expected) in expected {
        let got = got.get(path).unwrap_or_else(|| panic!("{path:?} is missing"));
        assert_eq!(got, expected, "{path:?}");
    }
    let more: Vec<_> = got.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(more.is_empty(), "{more:?} came besides");
}

/// The bytes themselves where they are few. Zeros count by where they are not, so that a hole costs nothing.
fn digest(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let length = file.metadata().unwrap().len();
    if length <= 100 {
        return fs::read(path).unwrap();
    }
    let (mut digest, mut page, mut at) = (XxHash3_64::new(), [0; 4096], 0);
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = data / 4096 * 4096;
        let count = file.read_at(&mut page, at).unwrap();
        if page[..count] != [0; 4096][..count] {
            digest.write(&at.to_le_bytes());
            digest.write(&page[..count]);
        }
        at += 4096;
    }
    format!("{length} bytes, {:x}", digest.finish()).into_bytes()
}

/// All extended attributes.
pub fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65_536];
            let c_name = CString::new(name).unwrap();
            let length = rustix::fs::lgetxattr(path, &c_name, &mut value[..]).unwrap();
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}

/// Sets an extended attribute.
#[track_caller]
pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// A FIFO.
#[track_caller]
pub fn make_fifo(path: &Path, mode: u32) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives what is at `path`, a link itself, a time that is `number` steps after an old one.
#[track_caller]
pub fn set_time(path: &Path, number: i64) {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let time = Timespec { tv_sec: 1_000_000_000 + number, tv_nsec: 123_456_789 + number };
    let times = Timestamps { last_access: omit, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A time long ago.
pub fn an_old_time() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_234_567_890, 987_654_321)
}

/// Odd names, each in its own way.
pub fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"two words"[..],
        b" ",
        b"a\nb",
        b"\xff\xfe",
        b"-",
        b"--delete",
        b"...",
        b"..a",
        b"a:b",
        b"%3",
        b"\x1b[31m",
        b"\x7f\x01",
        b"*",
        b"[a]",
        b"\\",
        b"~",
        "\u{202e}gpj.exe".as_bytes(),
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    names.push(vec![b'n'; 255]);
    names
}

/// Makes a tree that has every kind of entry that an ordinary user can make.
pub fn plant(root: &Path) {
    fs::create_dir(root).unwrap();
    let file = |name: &str, content: &[u8], mode: u32| {
        let path = root.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    for name in ["empty", "deep", "deep/er", "deep/er/est", "odd", "closed", "sticky"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    file("none", b"", 0o644);
    file("one", b"1", 0o600);
    file("large", &payload(300_001), 0o751);
    file("deep/er/est/frozen", &payload(70_000), 0o400);
    file("closed/inside", b"inside", 0o444);
    for (number, name) in odd_names().into_iter().enumerate() {
        let path = root.join("odd").join(OsStr::from_bytes(&name));
        fs::write(&path, &name).unwrap();
        set_time(&path, number as i64);
        symlink(OsStr::from_bytes(&name), path.with_file_name(format!("to {number}"))).unwrap();
    }
    // Holes in front, in between and at the end; nothing but a hole; none although it is all zeros.
    let sparse = File::create(root.join("sparse")).unwrap();
    for at in [1 << 20, 3 << 20, (3 << 20) + 70_000] {
        sparse.write_all_at(&payload(5000), at).unwrap();
    }
    sparse.set_len(8 << 20).unwrap();
    File::create(root.join("hole")).unwrap().set_len(5 << 30).unwrap();
    file("zeros", &[0; 200_000], 0o644);
    for (name, target) in [
        ("relative", "deep/er"),
        ("absolute", "/etc/passwd"),
        ("dangling", "no/such/thing"),
        ("around", "around"),
        ("up", "../../.."),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    symlink("t".repeat(4000), root.join("far")).unwrap();
    make_fifo(&root.join("fifo"), 0o620);
    fs::hard_link(root.join("large"), root.join("deep/er/large again")).unwrap();
    fs::hard_link(root.join("large"), root.join("large too")).unwrap();
    set_attribute(&root.join("large"), "user.colour", b"blue\0green");
    set_attribute(&root.join("deep"), "user.large", &payload(2000));
    set_attribute(&root.join("deep/er"), "user.none", b"");
    // From the inside out: what is made in a directory changes its time.
    let mut paths: Vec<_> = listing_of_paths(root);
    paths.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for (number, path) in paths.iter().enumerate() {
        set_time(path, number as i64);
    }
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(root.join("sticky"), Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o750)).unwrap();
}

/// A socket, which no copy takes.
pub fn make_socket(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

fn listing_of_paths(root: &Path) -> Vec<PathBuf> {
    let mut paths = vec![root.to_owned()];
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        at += 1;
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    paths
}

/// Lets what is in a tree be removed by whoever made it.
pub fn thaw(root: &Path) {
    for path in listing_of_paths(root) {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        }
    }
}
