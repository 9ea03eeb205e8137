//! Where a tree goes, as `cp -r` has it, and what of it: excludes, what is there already, `--in-place`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use crate::guest::tree::make_fifo;
use crate::guest::ways::{paths, small_tree, ways, with};
use crate::guest::{self, Guest, Running, names, payload, solid_file};

#[test]
fn a_tree_goes_where_cp_would_put_it() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    let (inside, itself) = (["a/", "a/d/", "a/d/g", "a/f"], ["d/", "d/g", "f"]);
    for (number, way) in ways(&guest, &other).iter().enumerate() {
        let mut count = 0;
        let mut fresh = |is_there: bool| {
            count += 1;
            let path = guest.directory.path(format!("to-{number}-{count}"));
            is_there.then(|| fs::create_dir(&path).unwrap());
            path
        };
        for source_end in ["", "/", "//"] {
            for (is_there, end, expected) in
                [(true, "", &inside[..]), (true, "/", &inside), (false, "", &itself), (false, "/", &itself)]
            {
                let to = fresh(is_there);
                way.cp(&["-r"], &[&with(&tree, source_end)], &with(&to, end)).succeeded();
                assert_eq!(paths(&to), expected, "way {number}: a{source_end} {is_there} to{end}");
            }
        }
        for source_end in ["/.", "/./", "/d/.."] {
            for is_there in [true, false] {
                let to = fresh(is_there);
                way.cp(&["-r"], &[&with(&tree, source_end)], to.as_os_str()).succeeded();
                assert_eq!(paths(&to), itself, "way {number}: a{source_end} {is_there}");
            }
        }
        // Several go into a directory, and only there.
        let to = fresh(true);
        let sources = [tree.join("d"), tree.join("f")];
        let sources = [sources[0].as_os_str(), sources[1].as_os_str()];
        way.cp(&["-r"], &sources, to.as_os_str()).succeeded();
        assert_eq!(paths(&to), ["d/", "d/g", "f"]);
        let to = fresh(false);
        let refused = way.cp(&["-r"], &sources, to.as_os_str());
        assert_eq!((refused.status(), refused.stderr().lines().count()), (255, 2), "{refused:?}");
        assert!(!to.exists());
        // The directory that the destination is in has to be there.
        way.cp(&["-r"], &[tree.as_os_str()], to.join("deeper").as_os_str()).failed(255, &["No such file"]);
    }
}

#[test]
fn a_directory_is_copied_only_with_r() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    for way in ways(&guest, &other) {
        let to = guest.directory.path("to");
        way.cp(&[], &[tree.as_os_str()], to.as_os_str()).failed(255, &["directory"]);
        assert!(!to.exists());
    }
}

#[test]
fn with_r_a_link_is_copied_as_itself_but_for_a_slash_at_its_end() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    let link = guest.directory.path("link");
    symlink("a", &link).unwrap();
    for way in ways(&guest, &other) {
        let to = guest.directory.path("to");
        way.cp(&["-r"], &[link.as_os_str()], to.as_os_str()).succeeded();
        assert_eq!(fs::read_link(&to).unwrap(), Path::new("a"));
        fs::remove_file(&to).unwrap();
        for end in ["/", "/."] {
            way.cp(&["-r"], &[&with(&link, end)], to.as_os_str()).succeeded();
            assert_eq!(paths(&to), paths(&tree));
            fs::remove_dir_all(&to).unwrap();
        }
        // Without it the file is copied.
        fs::remove_file(&link).unwrap();
        symlink("a/f", &link).unwrap();
        way.cp(&[], &[link.as_os_str()], to.as_os_str()).succeeded();
        assert!(fs::symlink_metadata(&to).unwrap().is_file());
        fs::remove_file(&to).unwrap();
        fs::remove_file(&link).unwrap();
        symlink("a", &link).unwrap();
    }
}

#[test]
fn the_destination_may_be_a_link_and_nothing_under_it() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    for way in ways(&guest, &other) {
        let [real, outside, link] = ["real", "outside", "link"].map(|name| guest.directory.path(name));
        fs::create_dir(&real).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink("real", &link).unwrap();
        way.cp(&["-r"], &[tree.as_os_str()], link.as_os_str()).succeeded();
        assert_eq!(paths(&real), ["a/", "a/d/", "a/d/g", "a/f"]);
        // Somebody has put a link where a directory goes.
        fs::remove_dir_all(real.join("a/d")).unwrap();
        symlink(&outside, real.join("a/d")).unwrap();
        let refused = way.cp(&["-r"], &[tree.as_os_str()], link.as_os_str());
        refused.failed(255, &["/d: cannot enter: "]);
        assert!(names(&outside).is_empty());
        assert!(fs::symlink_metadata(real.join("a/d")).unwrap().is_symlink());
        // A link where a file goes is replaced.
        fs::write(outside.join("kept"), "kept").unwrap();
        fs::remove_file(real.join("a/f")).unwrap();
        symlink(outside.join("kept"), real.join("a/f")).unwrap();
        way.cp(&["-r"], &[tree.as_os_str()], link.as_os_str()).failed(255, &["/d: cannot enter: "]);
        assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        assert!(fs::symlink_metadata(real.join("a/f")).unwrap().is_file());
        for tree in [real, outside] {
            fs::remove_dir_all(tree).unwrap();
        }
        fs::remove_file(link).unwrap();
    }
}

#[test]
fn what_is_there_is_merged_and_a_directory_that_was_there_keeps_its_mode() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
    for way in ways(&guest, &other) {
        let to = guest.directory.path("to");
        fs::create_dir_all(to.join("a/d")).unwrap();
        fs::write(to.join("a/d/own"), "own").unwrap();
        fs::write(to.join("a/f"), "old and longer").unwrap();
        fs::set_permissions(to.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
        way.cp(&["-r"], &[tree.as_os_str()], to.as_os_str()).succeeded();
        assert_eq!(paths(&to), ["a/", "a/d/", "a/d/g", "a/d/own", "a/f"]);
        assert_eq!(fs::read(to.join("a/f")).unwrap(), b"f");
        assert_eq!(fs::metadata(to.join("a")).unwrap().mode() & 0o7777, 0o700);
        // With -p its metadata are what it is about.
        way.cp(&["-rp"], &[tree.as_os_str()], to.as_os_str()).succeeded();
        assert_eq!(fs::metadata(to.join("a")).unwrap().mode() & 0o7777, 0o755);
        fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn what_stands_in_the_way_is_told_and_the_rest_is_copied() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = small_tree(&guest.directory);
    make_fifo(&tree.join("z"), 0o600);
    for way in ways(&guest, &other) {
        let to = guest.directory.path("to");
        // A file where a directory goes, a directory where a file goes, a file where a FIFO goes, a FIFO where a file does.
        fs::create_dir_all(to.join("a/f")).unwrap();
        fs::write(to.join("a/d"), "in the way").unwrap();
        let refused = way.cp(&["-r"], &[tree.as_os_str()], to.as_os_str());
        let lines: Vec<_> = refused.stderr().lines().collect();
        assert_eq!((refused.status(), lines.len()), (255, 2), "{refused:?}");
        assert!(lines.iter().any(|line| line.contains("a/f: cannot write: Is a directory")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("a/d: cannot enter: Not a directory")), "{lines:?}");
        assert_eq!(paths(&to), ["a/", "a/d", "a/f/", "a/z"]);
        assert_eq!(fs::read(to.join("a/d")).unwrap(), b"in the way");
        fs::remove_dir_all(&to).unwrap();
        fs::create_dir_all(to.join("a")).unwrap();
        make_fifo(&to.join("a/f"), 0o600);
        let refused = way.cp(&["-r"], &[tree.as_os_str()], to.as_os_str());
        refused.failed(255, &["a/f: cannot", "File exists"]);
        assert_eq!(paths(&to), ["a/", "a/d/", "a/d/g", "a/f", "a/z"]);
        fs::remove_dir_all(&to).unwrap();
        // A directory never replaces a file that is the destination, nor a file a directory.
        fs::write(&to, "in the way").unwrap();
        way.cp(&["-r"], &[tree.as_os_str()], to.as_os_str()).failed(255, &["Not a directory"]);
        assert_eq!(fs::read(&to).unwrap(), b"in the way");
        fs::remove_file(&to).unwrap();
    }
}

#[test]
fn excludes_mean_the_same_everywhere() {
    let (guest, other) = (Guest::start(), Guest::start());
    let tree = guest.directory.subdirectory("a");
    for path in
        ["src/main.o", "src/main.c", "target/x/y", "src/target", "one", "two", "x.tmp", "b/src/main.c"]
    {
        fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        fs::write(tree.join(path), path).unwrap();
    }
    fs::write(tree.join("[q]"), "q").unwrap();
    symlink("target", tree.join("link.o")).unwrap();
    let all = paths(&tree);
    /// What is left out by some patterns.
    type Case<'c> = (&'c [&'c str], &'c dyn Fn(&str) -> bool);
    let cases: [Case<'_>; 9] = [
        (&["*.o"], &|path| path.ends_with(".o")),
        (&["target"], &|path| path.starts_with("target/") || path == "src/target"),
        (&["target/"], &|path| path.starts_with("target/")),
        (&["/src"], &|path| path.starts_with("src/")),
        (&["src/*.c"], &|path| path == "src/main.c"),
        (&["**/*.c"], &|path| path.ends_with(".c")),
        (&["[ot]*"], &|path| path == "one" || path == "two" || path.contains("target")),
        (&["\\[q]", "???.t?p", "x.*"], &|path| path == "[q]" || path == "x.tmp"),
        (&["a", "to"], &|_| false),
    ];
    for (patterns, is_out) in cases {
        let options: Vec<_> =
            ["-r"].into_iter().chain(patterns.iter().flat_map(|pattern| ["--exclude", pattern])).collect();
        let expected: Vec<_> = all.iter().filter(|path| !is_out(path)).cloned().collect();
        for (number, way) in ways(&guest, &other).iter().enumerate() {
            let to = guest.directory.path("to");
            way.cp(&options, &[tree.as_os_str()], to.as_os_str()).succeeded();
            assert_eq!(paths(&to), expected, "way {number}: {patterns:?}");
            fs::remove_dir_all(to).unwrap();
        }
    }
    // More than a request may hold, where the guest reads.
    let many: Vec<_> = (0..300).map(|number| format!("--exclude={number:020}")).collect();
    let words = ["-r".into()].into_iter().chain(many.into_iter().map(OsString::from));
    let to = guest.directory.path("to").into_os_string();
    guest.cp(words.chain([guest.remote(&tree), to])).failed(255, &["too large"]);
}

#[test]
fn in_place_writes_into_the_file_that_is_there() {
    let guest = Guest::start();
    let from = guest.directory.file("from", &payload(100_000));
    let to = guest.directory.file("to", &payload(200_000));
    fs::hard_link(&to, guest.directory.path("same")).unwrap();
    let number = fs::metadata(&to).unwrap().ino();
    guest.cp(["--in-place".as_ref(), from.as_os_str(), &guest.remote(&to)]).succeeded();
    assert_eq!(fs::read(guest.directory.path("same")).unwrap(), payload(100_000));
    assert_eq!(fs::metadata(&to).unwrap().ino(), number);
    // A stream too; and holes become zeros, as a device would keep what it has.
    let mut stream =
        guest.client(["cp".as_ref(), "--in-place".as_ref(), OsStr::new("-"), &guest.remote(&to)]);
    Running::start(&mut stream).finish(b"short").succeeded();
    assert_eq!(fs::read(&to).unwrap(), b"short");
    let sparse = guest.directory.path("sparse");
    fs::File::create(&sparse).unwrap().set_len(1 << 20).unwrap();
    guest.cp(["--in-place".as_ref(), sparse.as_os_str(), &guest.remote(&to)]).succeeded();
    assert_eq!(fs::read(&to).unwrap(), [0; 1 << 20]);
    // From a guest they come as holes, behind which there is nothing of what was there.
    solid_file(&to, 2 << 20);
    guest.cp(["--in-place".as_ref(), guest.remote(&sparse).as_os_str(), &guest.remote(&to)]).succeeded();
    assert_eq!(fs::read(&to).unwrap(), [0; 1 << 20]);
    // Flushing what cannot be flushed is no failure.
    let comm = guest.directory.file("comm", b"renamed");
    let words =
        ["--in-place".as_ref(), "--sync".as_ref(), comm.as_os_str(), &guest.remote("/proc/self/comm")];
    guest.cp(words).succeeded();
    // It makes nothing.
    let missing = guest.directory.path("missing");
    guest
        .cp(["--in-place".as_ref(), from.as_os_str(), &guest.remote(&missing)])
        .failed(255, &["missing", "No such file or directory"]);
    assert!(!missing.exists());
    guest.cp(["--in-place".as_ref(), from.as_os_str(), &guest.remote("/dev/null")]).succeeded();
}

#[test]
fn no_file_is_readable_by_others_before_it_is_complete() {
    let guest = Guest::start();
    let from = guest.directory.path("from");
    solid_file(&from, 2 << 30);
    fs::set_permissions(&from, fs::Permissions::from_mode(0o644)).unwrap();
    let other = Guest::start();
    for way in ways(&guest, &other) {
        let to = guest.directory.subdirectory("to");
        let mut command = guest.client([
            OsStr::new("cp"),
            &(way.sources)(&guest, from.as_os_str()),
            &(way.destinations)(to.as_os_str()),
        ]);
        let running = Running::start(&mut command);
        guest::until("the copy has begun", || names(&to).len() == 1);
        let temporary = to.join(&names(&to)[0]);
        assert_eq!(fs::metadata(temporary).unwrap().mode() & 0o7777, 0o600);
        assert!(!to.join("from").exists());
        running.signal(rustix::process::Signal::TERM);
        running.finish(b"");
        guest::until("nothing is left", || names(&to).is_empty());
        fs::remove_dir(to).unwrap();
    }
}
