//! A tree with every kind of entry, in a guest that has nothing but the agent: sent, fetched again, and compared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{
    FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::guest::{bare, boot, object, run, succeeds, there, wanted, write_payload};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat,
};
use serde_json::Value;
use xtask::vm::Machine;

/// Folders of small files, and files in each.
const FOLDERS: usize = 40;
const FILES: usize = 50;
/// Of the files with holes.
const SPARSE: u64 = 16 << 20;
/// An attribute that every file system has, for root.
const ATTRIBUTE: &str = "trusted.vsock-shell";

/// What is known of an entry.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    modified: (i64, i64),
    /// A file's bytes, or what a link holds.
    content: Vec<u8>,
    /// The first name of the same file.
    same_as: Option<PathBuf>,
    attribute: Option<Vec<u8>>,
    has_holes: bool,
}

/// All that is below a folder, by its path; sockets are left out.
fn known(root: &Path) -> BTreeMap<PathBuf, Known> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let about = path.symlink_metadata().unwrap();
        let kind = about.file_type();
        if kind.is_socket() {
            continue;
        }
        if kind.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let content = match (kind.is_file(), kind.is_symlink()) {
            (true, _) => fs::read(&path).unwrap(),
            (_, true) => fs::read_link(&path).unwrap().into_os_string().into_vec(),
            _ => Vec::new(),
        };
        let mut value = [0; 64];
        let attribute = rustix::fs::lgetxattr(&path, ATTRIBUTE, &mut value);
        let known = Known {
            mode: about.mode(),
            owner: (about.uid(), about.gid()),
            device: if kind.is_char_device() || kind.is_block_device() { about.rdev() } else { 0 },
            modified: (about.mtime(), about.mtime_nsec()),
            content,
            same_as: (kind.is_file() && about.nlink() > 1).then(|| PathBuf::from(about.ino().to_string())),
            attribute: attribute.ok().map(|length| value[..length].to_vec()),
            has_holes: kind.is_file() && about.blocks() * 512 < about.size(),
        };
        all.insert(path.strip_prefix(root).unwrap().to_owned(), known);
    }
    // Numbers of inodes are others on each side: the first path of each stands for them.
    let mut first: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (path, known) in &mut all {
        if let Some(inode) = &mut known.same_as {
            *inode = first.entry(inode.clone()).or_insert_with(|| path.clone()).clone();
        }
    }
    all
}

fn set_modified(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes a tree with every kind of entry; how many it has.
fn plant(root: &Path) {
    for folder in 0..FOLDERS {
        let folder_path = root.join(format!("many/{folder}"));
        fs::create_dir_all(&folder_path).unwrap();
        for file in 0..FILES {
            let number = folder * FILES + file;
            let path = folder_path.join(format!("file {number}"));
            write_payload(&path, (number * 7 % 3000) as u64);
            fs::set_permissions(&path, Permissions::from_mode(0o400 | (number as u32 & 0o377))).unwrap();
            set_modified(&path, 1_000_000_000 + number as i64, number as i64 * 499_999);
        }
    }
    write_payload(&root.join("large"), 5_000_001);
    fs::write(root.join("empty"), "").unwrap();
    fs::create_dir(root.join("empty folder")).unwrap();
    let mut deep = root.to_owned();
    (0..60).for_each(|depth| deep.push(format!("{depth}")));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("deep"), "deep").unwrap();

    for (name, pieces) in [("hole", &[][..]), ("holes", &[(0, b"begin"), (SPARSE / 2, b"mid\0e")])] {
        let file = File::create(root.join(name)).unwrap();
        file.set_len(SPARSE).unwrap();
        pieces.iter().for_each(|(at, bytes)| file.write_all_at(*bytes, *at).unwrap());
    }

    fs::create_dir(root.join("names")).unwrap();
    let odd: [&[u8]; 16] = [
        b"-rf",
        b"a\nb",
        b"  ",
        b"\xff\xfe",
        b"*",
        b"?",
        b"[x]",
        b"\\",
        b"'\"",
        b"\t\x1b[31m",
        b"..x",
        b"3:x",
        b"%",
        "ä\u{202e}".as_bytes(),
        b"$(reboot)",
        &[b'x'; 255],
    ];
    for (number, name) in odd.into_iter().enumerate() {
        fs::write(root.join("names").join(OsString::from_vec(name.to_vec())), [number as u8]).unwrap();
    }

    fs::create_dir(root.join("links")).unwrap();
    let long = "x/".repeat(1000);
    let targets: [&[u8]; 6] = [b"../large", b"nothing", b"/", b"..", b"odd \xff\n target", long.as_bytes()];
    for (number, target) in targets.into_iter().enumerate() {
        let link = root.join(format!("links/{number}"));
        symlink(OsString::from_vec(target.to_vec()), &link).unwrap();
        set_modified(&link, 900_000_000, 1);
        lchown(&link, Some(12), Some(34)).unwrap();
    }
    for (file, other) in
        [("large", "links/large"), ("large", "zz"), ("empty", "empty too"), ("holes", "names/holes")]
    {
        fs::hard_link(root.join(file), root.join(other)).unwrap();
    }

    fs::create_dir(root.join("special")).unwrap();
    let node = |name: &str, kind, number| {
        mknodat(CWD, root.join("special").join(name), kind, Mode::from_raw_mode(0o640), number).unwrap();
    };
    node("fifo", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("large numbers", FileType::BlockDevice, makedev(259, 70_000));
    UnixListener::bind(root.join("special/socket")).unwrap();

    for (name, mode) in
        [("setuid", 0o4755), ("setgid", 0o2755), ("sticky", 0o1777), ("nobody", 0o000), ("all", 0o7777)]
    {
        let path = root.join(name);
        fs::write(&path, name).unwrap();
        lchown(&path, Some(1000), Some(4_000_000_000)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    rustix::fs::setxattr(root.join("setuid"), ATTRIBUTE, b"a\0b", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(root.join("special"), ATTRIBUTE, b"of a folder", XattrFlags::empty()).unwrap();
    lchown(root.join("empty folder"), Some(7), Some(8)).unwrap();
    fs::set_permissions(root.join("empty folder"), Permissions::from_mode(0o3751)).unwrap();
    set_modified(&root.join("special/fifo"), -2, 999_999_999);
    set_modified(&root.join("empty folder"), 0, 0);
    set_modified(&root.join("names"), 4_000_000_000, 123_456_789);
    // Nothing is made in it any more.
    set_modified(root, 1_234_567_890, 987_654_321);
}

/// Copies, and gives the summary. All has to be copied.
#[track_caller]
fn copy(machine: &Machine, options: &[&str], from: &str, to: &str) -> Value {
    object(machine, &[&["cp", "-r", "--json"], options, &[from, to]].concat())
}

#[track_caller]
fn same(got: &BTreeMap<PathBuf, Known>, expected: &BTreeMap<PathBuf, Known>) {
    for (path, expected) in expected {
        let got = got.get(path).unwrap_or_else(|| panic!("{path:?} is missing"));
        // Without their content, which may be long.
        let shown = |known: &Known| {
            let Known { mode, owner, device, modified, same_as, attribute, has_holes, content } = known;
            format!(
                "{mode:o} {owner:?} {device:x} {modified:?} {same_as:?} {attribute:?} {has_holes} {}",
                content.len()
            )
        };
        assert!(got == expected, "{path:?}: {} and not {}", shown(got), shown(expected));
    }
    let more: Vec<_> = got.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(more.is_empty(), "{more:?}");
}

#[test]
fn a_tree_of_every_kind_comes_back_as_it_was() {
    if !wanted() {
        return;
    }
    let machine = boot(&bare());
    succeeds(&machine, &["sys", "mount", "-t", "tmpfs", "-o", "size=64m", "<target>", "tmpfs", "/mnt"]);
    let (tree, back) = (machine.path("tree"), machine.path("back"));
    fs::create_dir(&tree).unwrap();
    plant(&tree);
    let expected = known(&tree);
    assert!(expected.len() > 2_100, "{}", expected.len());
    assert!(expected[Path::new("hole")].has_holes && expected[Path::new("zz")].same_as.is_some());
    let (here, inside) = (tree.to_str().unwrap(), there(&machine, "/mnt/tree"));

    let sent = copy(&machine, &["-p"], here, &inside);
    assert_eq!((&sent["problem_count"], &sent["notes"][0]["count"]), (&0.into(), &1.into()), "{sent}");
    // It is in the guest, and not only in what is told of it.
    let stat = |path: &str| object(&machine, &["fs", "stat", "--json", "<target>", path])[0].clone();
    let device = stat("/mnt/tree/special/large numbers");
    assert_eq!((&device["major"], &device["minor"]), (&259.into(), &70_000.into()));
    assert_eq!(stat("/mnt/tree/large")["inode"], stat("/mnt/tree/links/large")["inode"]);
    assert_eq!(stat("/mnt/tree/large")["links"], 3);
    assert_eq!(stat("/mnt/tree/hole")["blocks"], 0);
    let space = object(&machine, &["fs", "df", "--json", "<target>", "/mnt"]);
    let used = (space[0]["blocks"].as_u64().unwrap() - space[0]["blocks_free"].as_u64().unwrap()) * 4096;
    assert!(used < SPARSE, "{used}");

    let fetched = copy(&machine, &["-p", "--trust-guest"], &inside, back.to_str().unwrap());
    assert_eq!(fetched["problem_count"], 0, "{fetched}");
    same(&known(&back), &expected);
    assert_eq!(fetched["files"], sent["files"]);

    // Nothing has changed. Where a directory is, a tree goes into it.
    let around = there(&machine, "/mnt");
    let again = copy(&machine, &["-p", "--checksum"], here, &around);
    assert_eq!((&again["bytes"], &again["problem_count"]), (&0.into(), &0.into()), "{again}");

    // What is gone here goes there too, and nothing else.
    fs::remove_dir_all(tree.join("many/7")).unwrap();
    fs::remove_file(tree.join("zz")).unwrap();
    write_payload(&tree.join("many/8/new"), 10);
    let expected = known(&tree);
    let updated = copy(&machine, &["-p", "--checksum", "--delete"], here, &around);
    assert_eq!(updated["removed"], 2, "{updated}");
    fs::remove_dir_all(&back).unwrap();
    copy(&machine, &["-p", "--trust-guest"], &inside, back.to_str().unwrap());
    same(&known(&back), &expected);
}

#[test]
fn a_tree_of_a_guest_that_is_not_trusted_comes_without_what_gives_power() {
    if !wanted() {
        return;
    }
    let machine = boot(&bare());
    let (tree, back) = (machine.path("tree"), machine.path("back"));
    fs::create_dir(&tree).unwrap();
    plant(&tree);
    let inside = there(&machine, "/tmp/tree");
    copy(&machine, &["-p", "--exclude", "/many/1?/", "--exclude", "*9"], tree.to_str().unwrap(), &inside);
    let output = run(&machine, &["cp", "-r", "-p", &inside, back.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("--trust-guest"), "{output:?}");
    let expected = known(&tree);
    let got = known(&back);
    let is_excluded = |path: &Path| {
        let text = path.to_string_lossy();
        path.components().any(|part| part.as_os_str().as_bytes().ends_with(b"9"))
            || (10..20).any(|number| text.starts_with(&format!("many/{number}")))
    };
    for (path, expected) in &expected {
        let Some(got) = got.get(path) else {
            assert!(is_excluded(path) || expected.device != 0, "{path:?} is missing");
            continue;
        };
        assert!(!is_excluded(path) && expected.device == 0, "{path:?}");
        assert!(got.mode & 0o6000 == 0 || got.mode & 0o170_000 == 0o040_000, "{path:?}: {:o}", got.mode);
        assert_eq!(got.mode & 0o1777, expected.mode & 0o1777, "{path:?}");
        assert_eq!((&got.content, got.modified), (&expected.content, expected.modified), "{path:?}");
        assert_eq!(got.attribute, None, "{path:?}");
    }
}
