//! A guest that is hostile when it sends: whatever tree it makes up, nothing outside of the destination is touched, the client
//! says in one line what is wrong, and its memory is bounded.

mod guest;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use guest::fake::{Asked, Fake, Say, items};
use guest::stream::{
    FILE, LINK, bytes, composed, end, entry, file, folder, hole, leave, link, meta, problem,
};
use guest::{Finished, Guest, Running, client, names, payload};
use vsock_shell_proto::items::{Meta, encode_attribute, meta_flag};

/// A fake guest and what must stay as it is.
struct Scene {
    fake: Fake,
    outside: PathBuf,
    to: PathBuf,
}

impl Scene {
    /// One that says the same items whatever it is asked; they are made with a path that is outside of the destination.
    fn new(stream: impl Fn(&Path) -> Vec<Vec<u8>>) -> Self {
        let (tell, told) = std::sync::mpsc::channel::<Vec<Vec<u8>>>();
        let mut stream_told = None;
        let fake = Fake::start(move |_: Asked| {
            let stream: &Vec<Vec<u8>> = stream_told.get_or_insert_with(|| told.recv().unwrap());
            items(stream.clone())
        });
        let outside = fake.directory.subdirectory("outside");
        fs::write(outside.join("kept"), "kept").unwrap();
        let to = fake.directory.path("to");
        tell.send(stream(&outside)).unwrap();
        Self { fake, outside, to }
    }

    /// Copies with these options to a destination that is not there; afterwards what is outside is as it was, and nothing
    /// that is said would do anything to a terminal.
    #[track_caller]
    fn cp(&self, options: &[&str]) -> Finished {
        let options = ["cp"].iter().chain(options).map(OsString::from);
        let words = options.chain([self.fake.remote("/from"), self.to.clone().into()]);
        let finished = Running::start(&mut client(words)).finish(b"");
        self.check(&finished);
        finished
    }

    #[track_caller]
    fn check(&self, finished: &Finished) {
        assert_eq!(names(&self.outside), ["kept"]);
        assert_eq!(fs::read(self.outside.join("kept")).unwrap(), b"kept");
        let around = names(self.fake.directory.path(""));
        assert!(
            around.iter().all(|name| ["outside", "socket", "to"].iter().any(|own| name == own)),
            "{around:?}"
        );
        let said = finished.stderr();
        assert!(!said.chars().any(|character| character.is_control() && character != '\n'), "{said:?}");
        assert!(said.lines().all(|line| line.starts_with("vsock-shell: ")), "{said:?}");
    }

    /// No temporary file is left, in whatever directory.
    #[track_caller]
    fn is_clean(&self) {
        let mut left = vec![self.to.clone()];
        while let Some(path) = left.pop() {
            let Ok(there) = fs::symlink_metadata(&path) else { continue };
            let name = path.file_name().unwrap().as_bytes();
            assert!(!name.starts_with(b".vsock-shell-"), "{path:?}");
            if there.is_dir() {
                left.extend(names(&path).into_iter().map(|name| path.join(name)));
            }
        }
    }
}

#[test]
fn r_10_1_a_name_that_leads_elsewhere_ends_the_copy() {
    let long = [b'n'; 256];
    for name in [&b".."[..], b".", b"", b"/etc", b"a/b", b"../outside/kept", b"a/", b"/", &long] {
        for make in [|name: &[u8]| file(name, b"x"), folder, |name: &[u8]| link(name, Path::new("/"))] {
            // A name that is too long for an item is one that breaks the rules anyhow.
            let scene = Scene::new(|_| vec![folder(b""), file(b"before", b"before"), make(name), leave()]);
            scene.cp(&["-r"]).failed(255, &["the guest sent a name that leads elsewhere"]);
            assert_eq!(names(&scene.to), ["before"]);
        }
    }
    // The first entry has none at all: it is the person who names it.
    for first in [file(b"kept", b"x"), folder(b"outside"), link(b"..", Path::new("/"))] {
        let scene = Scene::new(|_| vec![first.clone()]);
        scene.cp(&["-r"]).failed(255, &["a name that leads elsewhere"]);
        assert!(!scene.to.exists());
    }
}

#[test]
fn r_10_5_nothing_is_written_through_a_link_that_was_planted_before() {
    let scene = Scene::new(|outside| {
        vec![
            folder(b""),
            link(b"l", outside),
            folder(b"l"),
            file(b"evil", b"evil"),
            folder(b"d"),
            leave(),
            leave(),
            link(b"f", &outside.join("kept")),
            file(b"f", b"evil"),
            file(b"after", b"after"),
            leave(),
        ]
    });
    scene.cp(&["-r"]).failed(255, &["/from/l: cannot enter: "]);
    assert_eq!(names(&scene.to), ["after", "f", "l"]);
    assert!(fs::symlink_metadata(scene.to.join("l")).unwrap().is_symlink());
    assert_eq!(fs::read(scene.to.join("f")).unwrap(), b"evil");
    scene.is_clean();
    // The same where all of it is there already.
    scene.cp(&["-rp"]).failed(255, &["cannot enter: "]);
}

#[test]
fn r_10_4_a_directory_that_turns_into_a_link_stays_one() {
    let scene = Scene::new(|outside| {
        vec![
            folder(b""),
            folder(b"d"),
            leave(),
            link(b"d", outside),
            folder(b"d"),
            file(b"inside", b"inside"),
            leave(),
            leave(),
        ]
    });
    scene.cp(&["-r"]).failed(255, &["/from/d: cannot create: Is a directory"]);
    assert_eq!(names(scene.to.join("d")), ["inside"]);
    scene.is_clean();
}

#[test]
fn a_directory_that_is_open_and_replaced_leads_nowhere_else() {
    // Nothing replaces it; and what comes after it was left goes where it belongs.
    let scene = Scene::new(|outside| {
        vec![
            folder(b""),
            folder(b"d"),
            link(b"up", Path::new("..")),
            folder(b"up"),
            link(b"d", outside),
            leave(),
            file(b"inside", b"inside"),
            leave(),
            leave(),
        ]
    });
    scene.cp(&["-r"]).failed(255, &["/from/d/up: cannot enter: "]);
    assert_eq!(names(scene.to.join("d")), ["inside", "up"]);
}

#[test]
fn r_10_7_a_hard_link_leads_to_what_came_and_nowhere_else() {
    let identity = |inode, flags| Meta {
        inode,
        device: 7,
        size: 1,
        ..meta(FILE, flags | meta_flag::IDENTITY | meta_flag::OWNER)
    };
    let scene = Scene::new(|outside| {
        let kept = outside.join("kept");
        let target = kept.as_os_str().as_bytes();
        let link_to =
            |name: &[u8], inode, target: &[u8]| entry(&identity(inode, meta_flag::LINK), name, target);
        vec![
            folder(b""),
            // Of what never came, whatever path it names.
            link_to(b"one", 1, target),
            link_to(b"two", 1, b"../outside/kept"),
            // Of what is another thing by now: the link itself gets another name, and is not followed.
            entry(&identity(2, meta_flag::OPEN), b"a", b""),
            bytes(b"a"),
            end(b"a", 1),
            link(b"a", &kept),
            link_to(b"three", 2, target),
            // Of itself.
            entry(&identity(3, meta_flag::OPEN), b"b", b""),
            bytes(b"b"),
            end(b"b", 1),
            link_to(b"b", 3, target),
            leave(),
        ]
    });
    let finished = scene.cp(&["-rp"]);
    let said: Vec<_> = finished.stderr().lines().collect();
    assert_eq!((finished.status(), said.len()), (255, 2), "{said:?}");
    assert!(said.iter().all(|line| line.contains("cannot link: No such file or directory")), "{said:?}");
    assert_eq!(fs::read(scene.to.join("b")).unwrap(), b"b");
    assert!(fs::symlink_metadata(scene.to.join("three")).unwrap().is_symlink());
    scene.is_clean();
}

#[test]
fn a_hard_link_through_a_link_that_was_planted_is_not_made() {
    let identity =
        |inode, flags| Meta { inode, device: 7, size: 4, ..meta(FILE, flags | meta_flag::IDENTITY) };
    let named =
        |name: &[u8], inode| [entry(&identity(inode, meta_flag::OPEN), name, b""), bytes(b"evil")].concat();
    let again = |name: &[u8], inode| entry(&identity(inode, meta_flag::LINK), name, b"");
    let scene = Scene::new(|outside| {
        vec![
            folder(b""),
            // A file in what is no directory but a link, which is left out, and other names of it.
            link(b"l", outside),
            folder(b"l"),
            named(b"kept", 1),
            end(b"evil", 4),
            again(b"inside", 1),
            leave(),
            again(b"one", 1),
            again(b"l", 1),
            // One whose content is a lie, where a link out stands already; and one that cannot be read to its end.
            link(b"a", &outside.join("kept")),
            named(b"a", 2),
            end(b"lie!", 4),
            again(b"two", 2),
            link(b"b", outside),
            named(b"b", 3),
            problem(5, b"b", b"read"),
            again(b"three", 3),
            file(b"after", b"after"),
            leave(),
        ]
    });
    // Also where links of these names are there before the copy begins.
    for is_planted in [false, true] {
        if is_planted {
            fs::create_dir(&scene.to).unwrap();
            for (name, target) in [("l", ""), ("a", "kept"), ("one", "kept"), ("three", "")] {
                std::os::unix::fs::symlink(scene.outside.join(target), scene.to.join(name)).unwrap();
            }
            fs::rename(&scene.to, scene.fake.directory.path("from")).unwrap();
            fs::create_dir(&scene.to).unwrap();
            fs::rename(scene.fake.directory.path("from"), scene.to.join("from")).unwrap();
        }
        let copy = if is_planted { scene.to.join("from") } else { scene.to.clone() };
        let finished = scene.cp(&["-rp"]);
        assert_eq!(finished.status(), 255, "{finished:?}");
        assert!(finished.stderr().contains("/one: cannot link: No such file or directory"), "{finished:?}");
        assert_eq!(fs::read(copy.join("after")).unwrap(), b"after");
        for name in names(&copy).iter().filter(|name| *name != "after") {
            assert!(fs::symlink_metadata(copy.join(name)).unwrap().is_symlink(), "{name:?}");
        }
        assert_eq!(
            std::os::unix::fs::MetadataExt::nlink(&fs::metadata(scene.outside.join("kept")).unwrap()),
            1
        );
        scene.is_clean();
        fs::remove_dir_all(&scene.to).unwrap();
    }
}

#[test]
fn without_r_nothing_but_a_file_comes() {
    // Somebody who writes to that name afterwards would write through it.
    for (first, rest) in [
        (link(b"", Path::new("outside/kept")), vec![]),
        (folder(b""), vec![file(b"f", b"f"), leave()]),
        (entry(&meta(0o010_644, 0), b"", b""), vec![]),
    ] {
        let scene = Scene::new(|_| [vec![first.clone()], rest.clone()].concat());
        scene.cp(&[]).failed(255, &["what arrived breaks the rules of a copy"]);
        assert!(fs::symlink_metadata(&scene.to).is_err());
        // Nor goes it on to another guest.
        let other = Guest::start();
        let there = other.directory.path("there");
        let words = ["cp".into(), scene.fake.remote("/from"), other.remote(&there)];
        let finished = Running::start(&mut client::<OsString>(words)).finish(b"");
        finished.failed(255, &["what arrived breaks the rules of a copy"]);
        assert!(fs::symlink_metadata(&there).is_err());
    }
}

#[test]
fn a_link_to_a_device_that_came_before_is_replaced_and_not_written_to() {
    let scene = Scene::new(|_| vec![file(b"", b"content")]);
    fs::create_dir(&scene.to).unwrap();
    std::os::unix::fs::symlink("/dev/null", scene.to.join("from")).unwrap();
    scene.cp(&[]).succeeded();
    assert!(fs::symlink_metadata(scene.to.join("from")).unwrap().is_file());
    assert_eq!(fs::read(scene.to.join("from")).unwrap(), b"content");
}

#[test]
fn r_10_1_what_breaks_the_rules_ends_the_copy() {
    let open = |mode| entry(&meta(mode, meta_flag::OPEN), b"x", b"");
    let streams: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("leaves what it never entered", vec![folder(b""), leave(), leave()]),
        ("a second first entry", vec![file(b"", b"x"), file(b"", b"x")]),
        ("content without a file", vec![folder(b""), bytes(b"x")]),
        ("an end without a file", vec![folder(b""), end(b"", 0)]),
        ("an entry in a file", vec![folder(b""), open(FILE), file(b"y", b"y")]),
        ("an open FIFO", vec![folder(b""), open(0o010_644)]),
        ("an open link", vec![folder(b""), open(LINK)]),
        ("an open device", vec![folder(b""), open(0o020_644)]),
        (
            "an attribute first",
            vec![composed(|out| encode_attribute(out, b"user.a", |_| Ok::<_, ()>(0)).unwrap())],
        ),
        ("an unknown item", vec![folder(b""), vec![99, 1, 0, 0, 0, 0, 0, 0, 0]]),
        ("zeros that are none", vec![folder(b""), vec![4, 16, 0, 0, 1, 0, 0, 0]]),
        ("far too long", vec![folder(b""), vec![1, 255, 255, 255, 0, 0, 0, 0]]),
        ("an empty piece of content", vec![folder(b""), open(FILE), bytes(b"")]),
    ];
    for (what, stream) in streams {
        let scene = Scene::new(|_| stream.clone());
        let finished = scene.cp(&["-r"]);
        assert!(
            finished.stderr().contains("what arrived breaks the rules of a copy"),
            "{what}: {finished:?}"
        );
        finished.failed(255, &[]);
        scene.is_clean();
    }
}

#[test]
fn a_stream_that_ends_too_early_leaves_nothing_incomplete() {
    let whole = [folder(b""), file(b"a", &payload(10_000)), folder(b"d"), file(b"b", b"b"), leave(), leave()]
        .concat();
    for length in [1, 7, 8, 50, 100, 5000, 10_200, 10_300, whole.len() - 100, whole.len() - 1] {
        let scene = Scene::new(|_| vec![whole[..length].to_vec()]);
        let finished = scene.cp(&["-r"]);
        finished.failed(255, &[]);
        scene.is_clean();
    }
    // Nor does one that says that it failed.
    let fake = Fake::start(|_| {
        let begun = vec![entry(&meta(FILE, meta_flag::OPEN), b"", b""), bytes(&[7; 5000])];
        Say::Failed(Box::new(begun.into_iter()), 5, b"read \x1b[2J\nvsock-shell: all is well".to_vec())
    });
    let to = fake.directory.path("to");
    let words = ["cp".into(), fake.remote("/from"), to.clone().into_os_string()];
    let finished = Running::start(&mut client::<OsString>(words)).finish(b"");
    finished.failed(255, &["cannot read \\x1b[2J\\nvsock-shell: all is well: Input/output error"]);
    assert!(!to.exists());
}

#[test]
fn r_10_2_more_than_was_announced_ends_the_copy() {
    let ten = Meta { size: 10, ..meta(FILE, meta_flag::OPEN) };
    for more in [
        vec![bytes(&[7; 11])],
        vec![bytes(&[7; 10]), bytes(&[7; 1])],
        vec![hole(11)],
        vec![hole(u64::MAX)],
        vec![bytes(&[7; 10]), hole(u64::MAX - 5)],
    ] {
        for is_in_tree in [true, false] {
            let scene = Scene::new(|_| {
                let name: &[u8] = if is_in_tree { b"f" } else { b"" };
                let stream = [vec![entry(&ten, name, b"")], more.clone(), vec![end(&[7; 10], 10)]].concat();
                if is_in_tree { [vec![folder(b"")], stream, vec![leave()]].concat() } else { stream }
            });
            scene.cp(&["-r"]).failed(255, &["the guest sent more than it announced"]);
            scene.is_clean();
            assert!(!scene.to.is_file() && !scene.to.join("f").exists());
        }
    }
    // Where nobody knows the size there is one that no file has.
    let scene = Scene::new(|_| {
        vec![entry(&meta(FILE, meta_flag::OPEN), b"", b""), hole(u64::MAX), end(b"", u64::MAX)]
    });
    scene.cp(&[]).failed(255, &["more than it announced"]);
}

#[test]
fn r_10_3_a_file_that_is_not_what_its_digest_says_is_discarded_and_the_rest_is_copied() {
    let open = |name: &[u8]| entry(&meta(FILE, meta_flag::OPEN), name, b"");
    for lie in [end(b"other", 7), end(b"content", 8), end(b"content", 6), end(b"", 0)] {
        let scene = Scene::new(|_| {
            vec![
                folder(b""),
                open(b"\x1b]0;evil\x07"),
                bytes(b"content"),
                lie.clone(),
                file(b"z", b"z"),
                leave(),
            ]
        });
        scene.cp(&["-r"]).failed(255, &["/from/\\x1b]0;evil\\x07: the file arrived garbled"]);
        assert_eq!(names(&scene.to), ["z"]);
    }
}

#[test]
fn r_10_1_a_tree_that_is_too_deep_ends_the_copy() {
    let scene = Scene::new(|_| std::iter::once(folder(b"")).chain((0..1000).map(|_| folder(b"d"))).collect());
    scene.cp(&["-r"]).failed(255, &["the guest sent a tree that is too deep"]);
}

#[test]
fn r_10_9_what_a_guest_tells_is_shown_escaped() {
    let evil = b"\x1b]0;evil\x07\r\n\x9b2J\xe2\x80\xae";
    let scene = Scene::new(|_| {
        vec![
            folder(b""),
            problem(13, evil, evil),
            problem(0, evil, evil),
            problem(u32::MAX, evil, evil),
            file(evil, b"content"),
            leave(),
        ]
    });
    let finished = scene.cp(&["-r"]);
    assert_eq!((finished.status(), finished.stderr().lines().count()), (255, 3), "{finished:?}");
    assert!(finished.stderr().contains("\\x1b]0;evil\\x07\\r\\n"), "{finished:?}");
    assert_eq!(names(&scene.to), [OsStr::from_bytes(evil)]);
    let finished = scene.cp(&["-r", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(finished.stdout()).unwrap();
    assert_eq!(summary["problem_count"], 3);
    // Refusals too, of downloads and of uploads.
    let fake = Fake::start(move |_| Say::Refused(13, [b"open ", &evil[..]].concat()));
    let here = fake.directory.file("here", b"here");
    for words in [
        [fake.remote("/from"), fake.directory.path("to").into()],
        [here.into_os_string(), fake.remote("/to")],
    ] {
        let words = [OsString::from("cp")].into_iter().chain(words);
        Running::start(&mut client(words)).finish(b"").failed(255, &["\\x1b]0;evil\\x07"]);
    }
}

#[test]
fn devices_and_rights_do_not_come_unasked() {
    let null = Meta { size: 1 | 3 << 32, ..meta(0o020_666, 0) };
    let owned = Meta { owner: 1234, group: 1234, ..meta(0o104_755, meta_flag::OPEN | meta_flag::OWNER) };
    let scene = Scene::new(|_| {
        vec![
            folder(b""),
            entry(&null, b"null", b""),
            entry(&owned, b"program", b""),
            bytes(b"x"),
            composed(|out| {
                encode_attribute(out, b"security.capability", |place| {
                    place[..20].copy_from_slice(&[
                        1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                    ]);
                    Ok::<_, ()>(20)
                })
                .unwrap()
            }),
            end(b"x", 1),
            leave(),
        ]
    });
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let finished = scene.cp(&["-r"]);
    assert_eq!((finished.status(), names(&scene.to)), (0, vec!["program".into()]), "{finished:?}");
    let program = fs::metadata(scene.to.join("program")).unwrap();
    assert_eq!(program.permissions().mode() & 0o7777, 0o755);
    assert_eq!(program.uid(), rustix::process::geteuid().as_raw());
    assert!(guest::tree::attributes(&scene.to.join("program")).is_empty());
    let finished = scene.cp(&["-rp"]);
    assert_eq!(finished.status(), 0, "{finished:?}");
    assert!(guest::tree::attributes(&scene.to.join("from/program")).is_empty());
    assert_eq!(names(scene.to.join("from")), ["program"]);
}
