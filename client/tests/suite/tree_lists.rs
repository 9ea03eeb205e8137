//! Files that are asked for in a list, as `--resume` and `--checksum` do: what is told beside an answer is no answer, and
//! each file arrives under its own name.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::guest::fake::{Asked, Fake, items};
use crate::guest::stream::{FILE, bytes, end, entry, file, folder, leave, meta, problem};
use crate::guest::tree::set_attribute;
use crate::guest::{self, Directory, Finished, Guest, Running, client, names};
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::items::{Meta, Timestamp, meta_flag};

/// The bits of FLAGS in a request.
fn flags_of(request: &[u8]) -> u32 {
    let mut at = 0;
    loop {
        let length = u32::from_le_bytes([request[at + 1], request[at + 2], request[at + 3], 0]) as usize;
        if request[at] == 0x12 {
            return u32::from_le_bytes(request[at + 4..at + 4 + length].try_into().unwrap());
        }
        at += 4 + length;
    }
}

/// Files of the fake guest; no two are alike.
fn content(number: usize) -> Vec<u8> {
    format!("content of {number}").into_bytes()
}

fn name(number: usize) -> String {
    format!("file-{number}")
}

const FILES: usize = 6;
const TIME: Timestamp = Timestamp { seconds: 1_000_000_000, nanoseconds: 0 };

/// A fake guest with a directory of files, which answers a list with what `answer` makes of each that is wanted.
fn listing(wanted: &'static [usize], answer: fn(usize) -> Vec<Vec<u8>>) -> Fake {
    Fake::start(move |asked: Asked| {
        if flags_of(&asked.request) & flag::LIST != 0 {
            return items(wanted.iter().flat_map(|number| answer(*number)).collect::<Vec<_>>());
        }
        assert_ne!(flags_of(&asked.request) & flag::META, 0, "nothing is read but by a list");
        let seen = |number| {
            let meta = Meta { size: content(number).len() as u64, modified: TIME, ..meta(FILE, 0) };
            entry(&meta, name(number).as_bytes(), b"")
        };
        let files = (0..FILES).map(seen);
        // Of the directory there is something to tell as well.
        let told = [problem(0, b"", b"an attribute cannot be read")];
        items([folder(b"")].into_iter().chain(files).chain(told).chain([leave()]).collect::<Vec<_>>())
    })
}

/// Downloads that directory.
#[track_caller]
fn downloaded(fake: &Fake, options: &[&str]) -> (Finished, std::path::PathBuf) {
    let to = fake.directory.path("to");
    let options = ["cp", "-r"].iter().chain(options).map(OsString::from);
    let words = options.chain([fake.remote("/from/."), to.clone().into()]);
    (Running::start(&mut client(words)).finish(b""), to)
}

const COMPARING: [&[&str]; 4] =
    [&["-p", "--resume"], &["-p", "--checksum"], &["--resume"], &["--resume", "--checksum"]];

#[test]
fn what_is_told_beside_an_answer_is_none() {
    /// What the answers are made of, and how many lines are told for all of them.
    type Case = (fn(usize) -> Vec<Vec<u8>>, usize);
    let cases: [Case; 4] = [
        // Behind each, as the agent has it; before each; several around it.
        (|number| vec![file(b"", &content(number)), problem(0, b"x", b"an attribute cannot be read")], FILES),
        (
            |number| vec![problem(0, b"x", b"its attributes cannot be listed"), file(b"", &content(number))],
            FILES,
        ),
        (
            |number| {
                let told = || problem(0, b"x", b"changed while it was read");
                vec![told(), told(), file(b"", &content(number)), told()]
            },
            3 * FILES,
        ),
        // Of every other one only.
        (
            |number| {
                let told = (number % 2 == 0).then(|| problem(0, b"x", b"an attribute cannot be read"));
                told.into_iter().chain([file(b"", &content(number))]).collect()
            },
            FILES / 2,
        ),
    ];
    for options in COMPARING {
        for (number, (answer, lines)) in cases.into_iter().enumerate() {
            let fake = listing(&[0, 1, 2, 3, 4, 5], answer);
            let (finished, to) = downloaded(&fake, options);
            let said: Vec<_> = finished.stderr().lines().collect();
            assert_eq!((finished.status(), said.len()), (255, lines + 1), "{number} {options:?}: {said:?}");
            assert_eq!(names(&to).len(), FILES);
            for number in 0..FILES {
                assert_eq!(fs::read(to.join(name(number))).unwrap(), content(number), "{options:?}");
            }
        }
    }
}

#[test]
fn an_answer_that_is_a_problem_stands_for_its_own_file_and_no_other() {
    fn open(number: usize) -> Vec<u8> {
        let meta = Meta { size: content(number).len() as u64, ..meta(FILE, meta_flag::OPEN) };
        entry(&meta, b"", b"")
    }
    // One that cannot be opened, one that cannot be read to its end, and each with something beside it.
    let answer = |number| {
        let beside = problem(0, b"x", b"an attribute cannot be read");
        match number {
            1 => vec![problem(13, b"file-1", b"open"), beside],
            3 => {
                vec![beside, open(3), bytes(&content(3)[..4]), problem(5, b"file-3", b"read")]
            }
            // What is garbled is discarded.
            4 => {
                vec![open(4), bytes(&content(4)), end(b"other", content(4).len() as u64), beside]
            }
            _ => vec![file(b"", &content(number)), beside],
        }
    };
    for options in [&["-p", "--checksum"][..], &["--checksum"]] {
        let fake = listing(&[0, 1, 2, 3, 4, 5], answer);
        let (finished, to) = downloaded(&fake, options);
        let said: Vec<_> = finished.stderr().lines().collect();
        // One beside each, one of the directory, and the three.
        assert_eq!((finished.status(), said.len()), (255, FILES + 1 + 3), "{said:?}");
        for told in ["/file-1: cannot open: Permission denied", "/file-3: cannot read: Input/output error"] {
            assert!(said.iter().any(|line| line.ends_with(told)), "{told}: {said:?}");
        }
        assert!(said.iter().any(|line| line.contains("/file-4: the file arrived garbled")), "{said:?}");
        assert_eq!(names(&to), ["file-0", "file-2", "file-5"]);
        for number in [0, 2, 5] {
            assert_eq!(fs::read(to.join(name(number))).unwrap(), content(number));
        }
    }
}

#[test]
fn files_that_are_there_are_not_shifted_by_what_is_told() {
    let answer = |number| {
        vec![
            problem(0, b"x", b"an attribute cannot be read"),
            file(b"", &content(number)),
            problem(0, b"x", b"changed while it was read"),
        ]
    };
    let fake = listing(&[0, 3, 5], answer);
    let to = fake.directory.subdirectory("to");
    for number in [1, 2, 4] {
        let path = to.join(name(number));
        fs::write(&path, content(number)).unwrap();
        let there = fs::File::options().write(true).open(&path).unwrap();
        there.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    }
    let inode = |number| fs::metadata(to.join(name(number))).unwrap().ino();
    let before = [1, 2, 4].map(inode);
    let (finished, _) = downloaded(&fake, &["-p", "--resume"]);
    assert_eq!((finished.status(), finished.stderr().lines().count()), (255, 2 * 3 + 1), "{finished:?}");
    assert_eq!([1, 2, 4].map(inode), before);
    for number in 0..FILES {
        assert_eq!(fs::read(to.join(name(number))).unwrap(), content(number));
    }
}

#[test]
fn r_10_12_fewer_answers_than_were_wanted_or_more_end_the_copy() {
    for (wanted, told) in [(&[0, 1, 2, 3, 4][..], "garbled"), (&[0, 1, 2, 3, 4, 5, 0], "garbled")] {
        let fake = listing(wanted, |number| vec![file(b"", &content(number))]);
        let (finished, to) = downloaded(&fake, &["--resume"]);
        assert_eq!(finished.status(), 255, "{finished:?}");
        assert!(finished.stderr().contains(told), "{finished:?}");
        for name in names(&to) {
            let number = name.to_str().unwrap().strip_prefix("file-").unwrap().parse().unwrap();
            assert_eq!(fs::read(to.join(&name)).unwrap(), content(number));
        }
    }
}

/// Gives a file attributes with more bytes of names than an agent takes; whether the file system does.
fn set_too_many_attributes(path: &Path) -> bool {
    let mut names = (0..40).map(|number| format!("user.{number:0240}"));
    names.all(|name| rustix::fs::lsetxattr(path, name, b"", rustix::fs::XattrFlags::empty()).is_ok())
}

#[test]
fn attributes_that_the_agent_cannot_read_cost_nothing_else() {
    let guest = Guest::start();
    let directory = Directory::in_memory();
    let from = directory.subdirectory("from");
    let mut told = 0;
    for number in 0..FILES {
        let path = directory.file(Path::new("from").join(name(number)), &content(number));
        if number % 2 == 1 {
            set_attribute(&path, "user.colour", b"blue");
            continue;
        }
        // Where the file system does not take so many nothing is told.
        told += usize::from(set_too_many_attributes(&path));
    }
    for options in [&["-p"][..]].iter().chain(&COMPARING[..2]) {
        let to = directory.path("to");
        // From nothing, and once more where the files of odd numbers are missing.
        for is_again in [false, true] {
            if is_again {
                (0..FILES)
                    .filter(|number| number % 2 == 1)
                    .for_each(|number| fs::remove_file(to.join(name(number))).unwrap());
            }
            let words = ["-r"].iter().chain(*options).map(OsString::from);
            let words = words.chain([guest.remote(from.join(".")), to.clone().into()]);
            let finished = guest.cp(words);
            let said: Vec<_> = finished.stderr().lines().collect();
            assert!(said.iter().all(|line| line.ends_with(": its attributes cannot be listed")), "{said:?}");
            if !is_again {
                assert_eq!((finished.status() == 0, said.len()), (told == 0, told), "{options:?}: {said:?}");
            }
            assert_eq!(names(&to).len(), FILES);
            for number in 0..FILES {
                assert_eq!(fs::read(to.join(name(number))).unwrap(), content(number), "{options:?}");
                let colour = guest::tree::attributes(&to.join(name(number))).remove(&b"user.colour"[..]);
                assert_eq!(colour.is_some(), number % 2 == 1, "{number} {options:?}");
            }
        }
        fs::remove_dir_all(&to).unwrap();
    }
    // The directory's own, which is told and costs nothing else.
    if set_too_many_attributes(&from) {
        for options in COMPARING[..2].iter() {
            let to = directory.path("to");
            let words = ["-r"].iter().chain(*options).map(OsString::from);
            let finished = guest.cp(words.chain([guest.remote(from.join(".")), to.clone().into()]));
            let said: Vec<_> = finished.stderr().lines().collect();
            assert_eq!((finished.status(), said.len()), (255, told + 1), "{said:?}");
            assert!((0..FILES).all(|number| fs::read(to.join(name(number))).unwrap() == content(number)));
            fs::remove_dir_all(&to).unwrap();
        }
    }
    assert_eq!(guest.run([OsStr::new(guest::TARGET), OsStr::new("echo fine")]).succeeded(), "fine\n");
}
