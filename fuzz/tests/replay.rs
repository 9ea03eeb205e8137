//! Gives every target what was found before: its corpus, and what once broke something.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use vsock_shell_fuzz::TARGETS;
use vsock_shell_fuzz::canary::canary;

fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// In one test: some of the bodies take standard error, or a folder, for themselves.
#[test]
fn what_was_found_before_breaks_nothing() {
    for (name, body) in TARGETS {
        let corpus = files(&own("corpus").join(name));
        assert!(!corpus.is_empty(), "{name} has no corpus");
        let found = files(&own("regressions").join(name));
        for file in corpus.iter().chain(&found) {
            println!("{}", file.display());
            body(&fs::read(file).unwrap());
        }
        body(b"");
    }
    _ = fs::remove_dir_all(std::env::temp_dir().join(format!("vsock-shell-fuzz-{}", std::process::id())));
}

#[test]
fn every_target_is_in_the_table_and_in_the_manifest() {
    let mut names: Vec<String> = files(&own("fuzz_targets"))
        .iter()
        .map(|file| file.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "canary")
        .collect();
    names.sort();
    assert!(names.iter().eq(TARGETS.iter().map(|(name, _)| name)), "{names:?}");
    let manifest = fs::read_to_string(own("Cargo.toml")).unwrap();
    assert!(names.iter().all(|name| manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\""))));
    for folder in ["corpus", "regressions"] {
        for entry in fs::read_dir(own(folder)).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            assert!(
                names.iter().any(|name| entry.file_name() == name.as_str()),
                "{:?} is of no target",
                entry.path()
            );
        }
    }
}

#[test]
#[should_panic(expected = "range end index")]
fn the_canary_has_its_bug() {
    canary(b"vsh\x09");
}
