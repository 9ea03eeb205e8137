//! An agent that serves the files beneath one directory (`--root`): whatever a client asks for or sends, nothing leads out.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::stream::{self, composed, folder, leave, meta};
use crate::guest::{self, Guest, agent_binary, names};
use vsock_shell_proto::items::{Meta, Timestamp, Want, encode_entry, encode_want, meta_flag};

/// An agent that serves `root`, beside which there is `outside` with a file.
fn rooted() -> (Guest, PathBuf, PathBuf) {
    let guest = Guest::start_by(|directory| {
        let root = directory.subdirectory("root");
        let mut command = Command::new(agent_binary());
        command.args(["--grace=0".as_ref(), OsStr::new("--root"), root.as_os_str()]);
        command
    });
    let (root, outside) = (guest.directory.path("root"), guest.directory.subdirectory("outside"));
    fs::write(outside.join("kept"), "kept").unwrap();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/f"), "inside").unwrap();
    symlink(&outside, root.join("out")).unwrap();
    symlink("../outside", root.join("up")).unwrap();
    symlink("d", root.join("in")).unwrap();
    symlink(outside.join("kept"), root.join("file")).unwrap();
    (guest, root, outside)
}

#[track_caller]
fn is_untouched(outside: &Path) {
    assert_eq!(names(outside), ["kept"]);
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
}

#[test]
fn paths_start_in_the_directory_with_and_without_a_slash() {
    let (guest, root, _) = rooted();
    for path in ["d/f", "/d/f", "//d/f", "./d/./f", "d//f"] {
        let to = guest.directory.path("to");
        guest.cp([guest.remote(path), to.clone().into()]).succeeded();
        assert_eq!(fs::read(&to).unwrap(), b"inside");
        let from = guest.directory.file("from", path.as_bytes());
        guest.cp([from.into_os_string(), guest.remote(format!("{path}-new"))]).succeeded();
        assert_eq!(fs::read(root.join("d/f-new")).unwrap(), path.as_bytes());
        fs::remove_file(root.join("d/f-new")).unwrap();
    }
    // All of it, as a tree: links are copied, and not followed.
    let to = guest.directory.path("all");
    guest.cp([OsString::from("-r"), guest.remote("/"), to.clone().into()]).succeeded();
    assert_eq!(names(&to), ["d", "file", "in", "out", "up"]);
    assert_eq!(fs::read_link(to.join("up")).unwrap(), Path::new("../outside"));
}

#[test]
fn no_path_leads_out() {
    let (guest, _, outside) = rooted();
    let from = guest.directory.file("from", b"evil");
    let tree = guest.directory.subdirectory("tree");
    fs::write(tree.join("evil"), "evil").unwrap();
    let to = guest.directory.path("to");
    let mut paths: Vec<_> = [
        "../outside/kept",
        "/../outside/kept",
        "d/../../outside/kept",
        "out/kept",
        "up/kept",
        "file",
        "in/f",
        "..",
        "d/../..",
        "out",
        "up",
        "out/",
    ]
    .map(PathBuf::from)
    .into();
    // A path of the machine is none here.
    paths.push(outside.join("kept"));
    for path in &paths {
        // Down, what is there as a file or as a tree; only a link at the end is itself part of a tree.
        let file = guest.cp([guest.remote(path), to.clone().into()]);
        assert_eq!(file.status(), 255, "{path:?}");
        assert!(!to.exists(), "{path:?}");
        let end = path.join(".");
        let tree_there = guest.cp([OsString::from("-r"), guest.remote(&end), to.clone().into()]);
        assert_eq!(tree_there.status(), 255, "{path:?}");
        assert!(!to.exists(), "{path:?}");
        // Up.
        for options in [&[][..], &["--in-place"], &["--resume"]] {
            let options = options.iter().map(OsString::from);
            let there = path.join("new");
            guest.cp(options.chain([from.clone().into(), guest.remote(&there)])).failed(255, &[]);
        }
        guest.cp([OsString::from("--in-place"), from.clone().into(), guest.remote(path)]).failed(255, &[]);
        guest
            .cp([OsString::from("-r"), tree.clone().into(), guest.remote(path.join("new"))])
            .failed(255, &[]);
        is_untouched(&outside);
    }
    // A directory that is reached through a link is none to put something in.
    for link in ["out", "up"] {
        let finished = guest.cp([from.clone().into(), guest.remote(format!("{link}/"))]);
        finished.failed(255, &[]);
        is_untouched(&outside);
    }
    assert_eq!(names(guest.directory.path("")), ["from", "log", "outside", "root", "socket", "tree"]);
}

#[test]
fn a_link_where_a_file_goes_is_replaced_and_not_followed() {
    let (guest, root, outside) = rooted();
    let from = guest.directory.file("from", b"new");
    guest.cp([from.into_os_string(), guest.remote("file")]).succeeded();
    is_untouched(&outside);
    assert!(fs::symlink_metadata(root.join("file")).unwrap().is_file());
    // A directory of that name that leads out takes nothing.
    let tree = guest.directory.subdirectory("up");
    fs::write(tree.join("evil"), "evil").unwrap();
    guest.cp([OsString::from("-r"), tree.into_os_string(), guest.remote("/")]).failed(255, &["cannot enter"]);
    is_untouched(&outside);
}

fn frame(kind: u8, flow: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, flow, 2, 0], &(payload.len() as u32).to_le_bytes()[..], payload].concat()
}

fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag, value.len() as u8, 0, 0], value].concat()
}

/// Says a request and what follows it on flow 0 by hand; all that the agent says until it has ended the channel.
fn said(guest: &Guest, number: u64, kind: u8, request: &[u8], stream: &[u8]) -> Vec<u8> {
    assert!(stream.len() < 4096, "the first credit");
    let mut hello = [0; 32];
    hello[16] = 64;
    let mut hello = frame(0x01, 0, &hello);
    hello[2] = 0;
    let frames = [
        hello,
        frame(0x10, 0, &[kind, 0, 0, 0, 0, 0, 0, 0]),
        frame(0x13, 3, request),
        frame(0x14, 3, &[]),
        frame(0x13, 0, stream),
        frame(0x14, 0, &[]),
    ]
    .concat();
    let mut session = guest.session(number);
    let record = [&[1, 0, 0, 0], &(frames.len() as u32).to_le_bytes()[..], &frames].concat();
    session.write_all(&record).unwrap();
    let mut heard = Vec::new();
    let release = frame(0x1B, 0, &[]);
    while !heard.windows(8).any(|window| window == release) {
        let mut piece = [0; 4096];
        let count = session.read(&mut piece).unwrap();
        assert!(count > 0, "closed after {heard:?}");
        heard.extend_from_slice(&piece[..count]);
    }
    heard
}

fn entry(mode: u32, flags: u32, name: &[u8], target: &[u8]) -> Vec<u8> {
    stream::entry(&meta(mode, flags), name, target)
}

#[test]
fn hard_links_of_a_hostile_client_stay_inside() {
    let (guest, root, outside) = rooted();
    let link = |name: &[u8], target: &[u8]| entry(0o100_644, meta_flag::LINK, name, target);
    let absolute = outside.join("kept");
    let absolute = std::os::unix::ffi::OsStrExt::as_bytes(absolute.as_os_str());
    let stream = [
        folder(b""),
        link(b"a", b"../outside/kept"),
        link(b"b", b"../../outside/kept"),
        link(b"c", absolute),
        link(b"e", b"d/../../outside/kept"),
        link(b"g", b"l/kept"),
        entry(0o120_777, 0, b"l", b"../../outside"),
        link(b"h", b"l/kept"),
        link(b"i", b".."),
        link(b"j", b"l/.."),
        link(b"k", b""),
        leave(),
    ]
    .concat();
    let request = [field(0x10, b"new\0"), field(0x12, &[0; 4])].concat();
    said(&guest, 1, 2, &request, &stream);
    assert_eq!(names(root.join("new")), ["l"]);
    is_untouched(&outside);
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(fs::metadata(outside.join("kept")).unwrap().nlink(), 1);
}

/// How many names a file has, itself a link or not.
fn name_count(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(&fs::symlink_metadata(path).unwrap())
}

#[test]
fn a_hard_link_to_a_planted_link_is_one_to_the_link_itself() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    let link = |name: &[u8], target: &[u8]| entry(0o100_644, meta_flag::LINK, name, target);
    // An agent that serves one directory, and one that serves all: a tree is left by no name in either.
    for (number, is_confined) in [(100, true), (200, false)] {
        let (rooted, root, outside) = rooted();
        let unconfined = (!is_confined).then(Guest::start);
        let guest = unconfined.as_ref().unwrap_or(&rooted);
        let path = |inside: &str| if is_confined { PathBuf::from(inside) } else { root.join(inside) };
        let request = |inside: &str| {
            let path = path(inside).into_os_string();
            [field(0x10, &[path.as_bytes(), b"\0"].concat()), field(0x12, &[0; 4])].concat()
        };
        let kept = outside.join("kept");
        let before = fs::metadata(&kept).unwrap();
        let stream = [
            folder(b""),
            // Of links that came before in the same stream: to a file outside, and to a directory there.
            entry(0o120_777, 0, b"file", b"../../outside/kept"),
            entry(0o120_777, 0, b"up", b"../../outside"),
            link(b"of file", b"file"),
            link(b"of up", b"up"),
            link(b"through", b"up/kept"),
            // Of a directory that turns out to be such a link.
            folder(b"up"),
            entry(0o100_644, 0, b"kept", b""),
            link(b"evil", b"kept"),
            leave(),
            // In the place of the link that leads out; and metadata alone of a name of it.
            link(b"up", b"of file"),
            entry(0o100_777, 0, b"of file", b""),
            entry(0o100_777, 0, b"up", b""),
            leave(),
        ]
        .concat();
        let heard = said(guest, number, 2, &request("new"), &stream);
        // What cannot be made is told, of all of them to the end.
        for told in [&b"through"[..], b"up", b"of file"] {
            assert!(heard.windows(told.len()).any(|window| window == told), "{told:?}");
        }
        assert_eq!(names(root.join("new")), ["file", "of file", "of up", "up"]);
        for name in ["file", "of file", "up"] {
            assert_eq!(fs::read_link(root.join("new").join(name)).unwrap(), Path::new("../../outside/kept"));
        }
        assert_eq!(fs::read_link(root.join("new/of up")).unwrap(), Path::new("../../outside"));
        // The same of links that were there before.
        let stream = [
            folder(b""),
            link(b"a", b"file"),
            link(b"b", b"out/kept"),
            link(b"c", b"up/kept"),
            link(b"e", b"in/f"),
            link(b"g", b"out"),
            entry(0o100_777, 0, b"a", b""),
            leave(),
        ]
        .concat();
        said(guest, number + 1, 2, &request("."), &stream);
        assert_eq!(names(&root), ["a", "d", "file", "g", "in", "new", "out", "up"]);
        assert!(["a", "g"].iter().all(|name| fs::symlink_metadata(root.join(name)).unwrap().is_symlink()));
        is_untouched(&outside);
        assert_eq!((name_count(&kept), name_count(&root.join("d/f"))), (1, 1));
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode(), before.permissions().mode());
    }
}

#[test]
fn links_that_a_hostile_client_plants_are_not_gone_through() {
    let (guest, root, outside) = rooted();
    let stream = [
        folder(b""),
        entry(0o120_777, 0, b"l", b"../../outside"),
        folder(b"l"),
        entry(0o100_644, 0, b"kept", b""),
        entry(0o120_777, 0, b"evil", b"x"),
        folder(b"deeper"),
        leave(),
        leave(),
        leave(),
    ]
    .concat();
    let request = [field(0x10, b"new\0"), field(0x12, &[0; 4])].concat();
    said(&guest, 2, 2, &request, &stream);
    assert_eq!(names(root.join("new")), ["l"]);
    is_untouched(&outside);
    // Metadata alone are set of nothing outside either.
    let stream = [folder(b""), entry(0o100_777, 0, b"file", b""), leave()].concat();
    said(&guest, 3, 2, &[field(0x10, b".\0"), field(0x12, &[0; 4])].concat(), &stream);
    use std::os::unix::fs::PermissionsExt as _;
    assert_ne!(fs::metadata(outside.join("kept")).unwrap().permissions().mode() & 0o7777, 0o777);
    // Nor does a name of more than one component lead anywhere.
    for (number, name) in
        [&b"../outside/evil\0"[..], b"..\0", b"out/evil\0", b"/evil\0"].into_iter().enumerate()
    {
        let request = [field(0x10, b"d\0"), field(0x11, name), field(0x12, &[0; 4])].concat();
        said(&guest, 10 + number as u64, 2, &request, &entry(0o120_777, 0, b"", b"x"));
        is_untouched(&outside);
    }
    assert_eq!(names(root.join("d")), ["f"]);
    assert!(!guest.directory.path("evil").exists());
}

#[test]
fn wants_of_a_list_stay_inside() {
    let (guest, _, outside) = rooted();
    let wants = [c"../outside/kept", c"out/kept", c"up/kept", c"file", c"d/../../outside/kept", c"in/f"];
    let absolute =
        std::ffi::CString::new(outside.join("kept").into_os_string().into_encoded_bytes()).unwrap();
    let wants = wants.into_iter().chain([absolute.as_c_str()]);
    let want = |path| composed(|out| encode_want(out, &Want { length: 0, digest: 0, flags: 0, path }));
    const LIST: u32 = 1 << 7;
    let stream: Vec<u8> = wants.flat_map(want).chain(want(c"d/f")).collect();
    for (number, path) in [&b".\0"[..], b"/\0"].into_iter().enumerate() {
        let request = [field(0x10, path), field(0x12, &LIST.to_le_bytes())].concat();
        let heard = said(&guest, 20 + number as u64, 3, &request, &stream);
        // A BYTES item with what is outside.
        assert!(!heard.windows(12).any(|window| window == b"\x02\x04\0\0\0\0\0\0kept"), "{heard:?}");
        assert!(heard.windows(14).any(|window| window == b"\x02\x06\0\0\0\0\0\0inside"), "{heard:?}");
    }
    // From a directory inside nothing leads above that.
    let request = [field(0x10, b"d\0"), field(0x12, &LIST.to_le_bytes())].concat();
    let heard = said(&guest, 30, 3, &request, &[want(c"../d/f"), want(c"f")].concat());
    assert_eq!(heard.windows(14).filter(|window| *window == b"\x02\x06\0\0\0\0\0\0inside").count(), 1);
    guest.is_idle();
}

#[test]
fn no_device_is_made_read_or_written() {
    let (guest, root, outside) = rooted();
    let device = |kind: u32, number: u64| {
        let meta = Meta { mode: kind | 0o666, flags: 0, size: number, ..Meta::file(0, 0, Timestamp::NONE) };
        composed(|out| encode_entry(out, &meta, b"device", b""))
    };
    let request = [field(0x10, b"new\0"), field(0x12, &0_u32.to_le_bytes())].concat();
    for (number, kind) in [(91, 0o060_000), (92, 0o020_000)] {
        // /dev/null and its like: what would come of it is seen by its being there.
        let stream = [folder(b""), device(kind, 1 | 3 << 32), leave()].concat();
        said(&guest, number, 2, &request, &stream);
        assert!(!root.join("new/device").exists(), "{kind:o}");
    }
    if guest::is_root() {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("null"),
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
        let from = guest.directory.file("from", b"x");
        let words = [OsString::from("--in-place"), from.into(), guest.remote("null")];
        guest.cp(words).failed(255, &["Invalid argument"]);
    }
    // Rights that a program would have from its owner are not given.
    let from = guest.directory.file("program", b"#!");
    fs::set_permissions(&from, std::os::unix::fs::PermissionsExt::from_mode(0o6755)).unwrap();
    guest.cp([from.into_os_string(), guest.remote("program")]).succeeded();
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(root.join("program")).unwrap());
    assert_eq!(mode & 0o7777, 0o755);
    is_untouched(&outside);
}
