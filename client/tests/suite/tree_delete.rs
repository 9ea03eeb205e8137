//! What `--delete` removes, and how: only what the source has not, and through no link.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::guest::frames::{frame, hello, is_answered, request};
use crate::guest::tree::{assert_same_trees, listing};
use crate::guest::ways::{paths, small_tree, ways, with};
use crate::guest::{Guest, TARGET, names};

#[test]
fn delete_removes_what_the_source_has_not_and_nothing_that_is_excluded() {
    let guest = Guest::start();
    let tree = small_tree(&guest.directory);
    let other = Guest::start();
    let ways = ways(&guest, &other);
    for (number, way) in ways[..2].iter().enumerate() {
        let [to, outside] = ["to", "outside"].map(|name| guest.directory.path(name));
        let plant = || {
            fs::create_dir_all(to.join("old/er")).unwrap();
            fs::create_dir_all(to.join("d/old")).unwrap();
            fs::create_dir_all(&outside).unwrap();
            for file in ["old/x", "old/er/x", "old/keep.o", "d/old/x", "d/keep.o", "x"] {
                fs::write(to.join(file), file).unwrap();
            }
            fs::write(outside.join("kept"), "kept").unwrap();
            symlink(&outside, to.join("link")).unwrap();
        };
        plant();
        let source = with(&tree, "/.");
        way.cp(&["-r", "--delete", "--exclude", "*.o"], &[&source], to.as_os_str()).succeeded();
        assert_eq!(paths(&to), ["d/", "d/g", "d/keep.o", "f", "old/", "old/keep.o"], "way {number}");
        assert_eq!(names(&outside), ["kept"]);
        let finished = way.cp(&["-r", "--delete", "--json"], &[&source], to.as_os_str());
        let summary: serde_json::Value = serde_json::from_str(finished.succeeded()).unwrap();
        assert_eq!((&summary["removed"], &summary["problem_count"]), (&2.into(), &0.into()), "{summary}");
        assert_eq!(paths(&to), ["d/", "d/g", "f"]);
        // What could not be copied may only seem to be gone.
        fs::write(to.join("x"), "x").unwrap();
        fs::remove_file(to.join("f")).unwrap();
        fs::create_dir(to.join("f")).unwrap();
        way.cp(&["-r", "--delete"], &[&source], to.as_os_str()).failed(255, &["f: cannot write"]);
        assert_eq!(paths(&to), ["d/", "d/g", "f/", "x"]);
        // An empty source empties the destination.
        let empty = guest.directory.subdirectory("empty");
        way.cp(&["-r", "--delete"], &[&with(&empty, "/.")], to.as_os_str()).succeeded();
        assert_eq!(paths(&to), [""; 0]);
        for path in [to, outside, empty] {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

#[test]
fn delete_of_one_file_removes_nothing() {
    let (guest, other) = (Guest::start(), Guest::start());
    let file = guest.directory.file("f", b"f");
    for way in &ways(&guest, &other)[..2] {
        let to = guest.directory.subdirectory("to");
        fs::write(to.join("own"), "own").unwrap();
        way.cp(&["-r", "--delete"], &[file.as_os_str()], to.as_os_str()).succeeded();
        assert_eq!(names(&to), ["f", "own"]);
        fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn delete_leaves_directories_the_times_that_were_copied() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    for way in &ways(&guest, &other)[..2] {
        for options in [&["-r", "-p"][..], &["-r", "--resume"]] {
            let to = guest.directory.path("to");
            let source = with(&tree, "/.");
            way.cp(options, &[&source], to.as_os_str()).succeeded();
            let expected = listing(&tree, false);
            assert_same_trees(&listing(&to, false), &expected);
            for exclude in [&[][..], &["--exclude", "*.o"]] {
                fs::create_dir(to.join("d/more")).unwrap();
                for file in ["x", "d/x", "d/more/x"] {
                    fs::write(to.join(file), file).unwrap();
                }
                let options = [options, exclude, &["--delete"]].concat();
                way.cp(&options, &[&source], to.as_os_str()).succeeded();
                assert_same_trees(&listing(&to, false), &expected);
            }
            fs::remove_dir_all(to).unwrap();
        }
    }
}

#[test]
fn delete_works_where_the_destination_itself_is_a_link() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    for way in &ways(&guest, &other)[..2] {
        let (to, link) = (guest.directory.subdirectory("to"), guest.directory.path("link"));
        symlink("to", &link).unwrap();
        fs::write(to.join("x"), "x").unwrap();
        way.cp(&["-r", "--delete"], &[&with(&tree, "/.")], link.as_os_str()).succeeded();
        assert_eq!(paths(&to), ["d/", "d/g", "f"]);
        // And where it goes into that.
        fs::write(to.join("x"), "x").unwrap();
        fs::create_dir(to.join("a")).unwrap();
        fs::write(to.join("a/x"), "x").unwrap();
        way.cp(&["-r", "--delete"], &[tree.as_os_str()], link.as_os_str()).succeeded();
        assert_eq!(paths(&to), ["a/", "a/d/", "a/d/g", "a/f", "d/", "d/g", "f", "x"]);
        for path in [to, link] {
            _ = fs::remove_file(&path);
            _ = fs::remove_dir_all(path);
        }
    }
}

#[test]
fn a_tree_that_is_brought_into_a_directory_leaves_it_its_mode() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o750)).unwrap();
    for way in &ways(&guest, &other) {
        let to = guest.directory.subdirectory("to");
        let mode = || fs::metadata(&to).unwrap().permissions().mode() & 0o7777;
        for (options, expected) in [("-q", 0o1777), ("--resume", 0o1777), ("-p", 0o750)] {
            fs::set_permissions(&to, fs::Permissions::from_mode(0o1777)).unwrap();
            if options == "--resume" && way.is_between_guests() {
                continue;
            }
            way.cp(&["-r", options], &[&with(&tree, "/.")], to.as_os_str()).succeeded();
            assert_eq!(mode(), expected, "{options}");
        }
        fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn what_is_removed_inside_is_reached_through_no_link() {
    let guest = Guest::start();
    let (base, outside) = (guest.directory.subdirectory("base"), guest.directory.subdirectory("outside"));
    fs::write(outside.join("kept"), "kept").unwrap();
    fs::create_dir(base.join("d")).unwrap();
    fs::write(base.join("d/f"), "f").unwrap();
    symlink(&outside, base.join("link")).unwrap();
    symlink(&base, guest.directory.path("base-link")).unwrap();
    let mut stream = guest.session(0x1000_0003);
    let mut said = vec![hello()];
    let string = |tag: u8, value: &OsStr| {
        let value = [value.as_encoded_bytes(), b"\0"].concat();
        [&[tag][..], &(value.len() as u32).to_le_bytes()[..3], &value].concat()
    };
    const TREE: u32 = 1 << 3;
    const SYSTEM: u8 = 9;
    let (none, enoent, exdev, eloop) = (0, 2, 18, 40);
    let cases = [
        ("base", "link/kept", eloop),
        ("base", "../outside/kept", exdev),
        ("base", "d/../../outside/kept", exdev),
        ("base-link", "link/kept", eloop),
        ("base", "no/x", enoent),
        // PATH itself may be a link.
        ("base-link", "d/f", none),
        ("base", "d", none),
        ("base", "link", none),
    ];
    for (number, (path, inside, errno)) in cases.into_iter().enumerate() {
        let channel = number as u8 * 2;
        let fields = [
            string(0x18, OsStr::new("remove")),
            string(0x10, guest.directory.path(path).as_os_str()),
            string(0x01, OsStr::new(inside)),
            [&[0x12, 4, 0, 0][..], &TREE.to_le_bytes()].concat(),
        ]
        .concat();
        said.push(request(channel, 6, &fields));
        let expected = match errno {
            0 => frame(0x19, 0, channel, &[0; 8]),
            errno => [&[0x12, 0, channel, 0][..], &[21, 0, 0, 0, SYSTEM, 0, 0, 0, errno, 0, 0, 0]].concat(),
        };
        is_answered(&mut stream, &std::mem::take(&mut said), &expected);
    }
    assert_eq!(names(&outside), ["kept"]);
    assert_eq!(names(&base), [""; 0]);
    assert_eq!(guest.run([TARGET, "echo fine"]).succeeded(), "fine\n");
}
