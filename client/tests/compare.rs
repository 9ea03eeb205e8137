//! Copies that look at what is on the other side first: `--resume` and `--checksum` where that is no file like the source, or
//! cannot be looked at.

mod guest;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use guest::Guest;
use guest::tree::{assert_same_trees, listing, set_time};

/// The operands of copies up and down of what is in a directory.
fn both_ways(guest: &Guest, from: &Path, to: &Path) -> [[OsString; 2]; 2] {
    let from = from.join(".");
    [[from.as_os_str().into(), guest.remote(to)], [guest.remote(&from), to.into()]]
}

#[test]
fn a_link_that_looks_like_the_file_is_replaced() {
    let guest = Guest::start();
    let from = guest.directory.subdirectory("from");
    fs::write(from.join("file"), "four").unwrap();
    set_time(&from.join("file"), 1);
    let to = guest.directory.path("to");
    for operands in both_ways(&guest, &from, &to) {
        fs::create_dir(&to).unwrap();
        symlink("four", to.join("file")).unwrap();
        set_time(&to.join("file"), 1);
        let options = ["-r", "--resume"].map(OsString::from);
        guest.cp(options.iter().chain(&operands).collect::<Vec<&OsString>>()).succeeded();
        assert_same_trees(&listing(&to, false), &listing(&from, false));
        fs::remove_dir_all(&to).unwrap();
    }
}
