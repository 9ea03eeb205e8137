//! Copies from an agent that says anything, and to one that tells any problems: nothing is made or changed outside of where
//! the copy goes, and what a person is told is fit for a terminal.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;
use vsock_shell::client::Client;
use vsock_shell::error::Error;
use vsock_shell::invocation::CopyOptions;
use vsock_shell::signals::Signals;
use vsock_shell::transfer::{Destination, Report};

use crate::guest::{folder, with_client};
use crate::input::Input;
use crate::shown::assert_plain;

/// How it is copied, and then what the agent says.
pub fn transfers(data: &[u8]) {
    let mut input = Input::new(data);
    let (choice, options) = (input.byte(), options(input.byte()));
    let place = Place::new();
    if choice & 2 != 0 {
        place.furnish();
    }
    let script = input.rest();
    let said = Said::begin();
    let outcome = with_client(script, |client| {
        if choice & 1 == 0 {
            get(client, &place, choice, &options)
        } else {
            put(client, &place, choice, &options)
        }
    });
    assert_plain(&said.end());
    if let Err(error) = outcome {
        assert_plain(&error.to_string());
    }
    place.check();
}

/// Not those that let a guest make devices.
fn options(choice: u8) -> CopyOptions {
    let has = |bit: u8| choice & 1 << bit != 0;
    CopyOptions {
        is_recursive: !has(0),
        is_preserving: has(1),
        is_synced: false,
        is_resumed: has(2),
        is_checked: has(3),
        deletes: has(4),
        trusts: false,
        is_in_place: has(5),
        excludes: if has(6) { vec!["b*".into()] } else { Vec::new() },
    }
}

fn get(client: &mut Client, place: &Place, choice: u8, options: &CopyOptions) -> Result<(), Error> {
    let to = place.inside.join(if choice & 4 == 0 { "copy" } else { "." });
    let mut report = Report::new(true);
    let got = client.get(OsStr::new("/tree"), &to, options, &mut Signals::new([]), &mut report);
    _ = (report.is_fine(), report.to_value());
    got
}

fn put(client: &mut Client, place: &Place, choice: u8, options: &CopyOptions) -> Result<(), Error> {
    let to = Destination { path: "/tree".into(), name: None, is_directory: choice & 4 != 0 };
    let mut report = Report::new(true);
    let source = if choice & 8 == 0 { place.outside.clone() } else { place.outside.join("file") };
    let put = client.put(&source, &to, options, &mut Signals::new([]), &mut report);
    _ = (report.is_fine(), report.to_value());
    put
}

/// A folder that a guest may fill, and one beside it that it may not touch.
struct Place {
    inside: PathBuf,
    outside: PathBuf,
}

impl Place {
    fn new() -> Self {
        let (inside, outside) = (folder().join("inside"), folder().join("outside"));
        if !outside.exists() {
            fs::create_dir_all(outside.join("a"))
                .and_then(|()| fs::write(outside.join("file"), "kept"))
                .expect("the folder for temporary files can be written");
        }
        empty(&inside);
        fs::create_dir(&inside).expect("it was removed");
        Self { inside, outside }
    }

    /// What a copy may come upon.
    fn furnish(&self) {
        let made = fs::create_dir_all(self.inside.join("copy/a"))
            .and_then(|()| fs::write(self.inside.join("copy/b"), "old"))
            .and_then(|()| std::os::unix::fs::symlink("../../outside", self.inside.join("copy/c")));
        made.expect("the folder is empty");
    }

    fn check(&self) {
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).expect("it is there");
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&self.outside), ["a", "file"]);
        assert!(names(&self.outside.join("a")).is_empty());
        assert!(
            names(&folder())
                .iter()
                .all(|name| ["inside", "key", "outside", "socket"].iter().any(|known| name == known))
        );
        let file = self.outside.join("file");
        assert_eq!(fs::read(&file).expect("it is there"), b"kept");
        let found = fs::metadata(&file).expect("it is there");
        assert_eq!((found.mode() & 0o7000, found.nlink()), (0, 1));
    }
}

/// Removes what a copy has made, with whatever modes.
fn empty(folder: &Path) {
    for _ in 0..200 {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => open_up(folder),
            _ => return,
        }
    }
    panic!("what was made cannot be removed");
}

fn open_up(folder: &Path) {
    _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// What is said on standard error meanwhile, which is the fuzzer's otherwise.
struct Said {
    kept: OwnedFd,
    memory: File,
}

impl Said {
    fn begin() -> Self {
        static HOOK: Once = Once::new();
        let fresh = |name| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC);
        let kept = rustix::io::dup(rustix::stdio::stderr()).expect("there are descriptors");
        let memory = File::from(fresh("said").expect("there is memory"));
        HOOK.call_once(|| {
            // A panic is told where somebody reads it.
            let own = rustix::io::dup(rustix::stdio::stderr()).expect("there are descriptors");
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                _ = rustix::stdio::dup2_stderr(&own);
                usual(panic);
            }));
        });
        _ = rustix::stdio::dup2_stderr(&memory);
        Self { kept, memory }
    }

    fn end(mut self) -> String {
        _ = rustix::stdio::dup2_stderr(&self.kept);
        let mut said = Vec::new();
        let read = self.memory.rewind().and_then(|()| self.memory.read_to_end(&mut said));
        read.expect("memory can be read");
        String::from_utf8(said).expect("what is told is text")
    }
}
