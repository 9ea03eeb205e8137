//! Command lines of both programs, and what their words are made of.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use vsock_shell::args;
use vsock_shell::operand::{Operand, split_pair};
use vsock_shell::system::log::Since;
use vsock_shell::target::{Address, Listen, Target};
use vsock_shell_agent::args::{Options, parse, parse_address, parse_peer};

use crate::shown::assert_plain;

/// Words, each with a NUL behind it.
pub fn arguments(data: &[u8]) {
    let words: Vec<&[u8]> = data.split(|&byte| byte == 0).collect();
    if let Err(error) = args::parse(words.iter().map(|word| OsString::from_vec(word.to_vec()))) {
        assert_plain(&error.to_string());
    }
    agent(&words);
    for word in words {
        client_word(OsStr::from_bytes(word));
    }
}

fn agent(words: &[&[u8]]) {
    let words: Vec<CString> =
        words.iter().map(|word| CString::new(*word).expect("it was cut at NULs")).collect();
    let mut arguments = words.iter().map(CString::as_c_str);
    let mut options = Options::NONE;
    // Whoever is lenient goes on behind a mistake.
    while parse(&mut arguments, &mut options).is_err() {}
    for word in &words {
        _ = (parse_peer(word), parse_address(word, 5000));
    }
}

fn client_word(word: &OsStr) {
    match Target::parse(word, 5000) {
        Ok(target) => assert_is_typed_as_shown(&target.address),
        Err(error) => assert_plain(&error.to_string()),
    }
    if let Err(error) = Listen::parse(word, 5000) {
        assert_plain(&error.to_string());
    }
    if let Err(error) = Operand::parse(word, 5000) {
        assert_plain(&error.to_string());
    }
    if let Ok((first, second)) = split_pair(word) {
        assert!(!first.is_empty() && !second.is_empty());
        assert!(first.len() + second.len() < word.len());
    }
    _ = word.to_str().map(Since::parse);
}

/// An address is shown as it can be typed, where nothing in it had to be escaped.
pub(crate) fn assert_is_typed_as_shown(address: &Address) {
    let shown = address.to_string();
    assert_plain(&shown);
    let is_as_it_is = shown.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'@'));
    if is_as_it_is && !matches!(address, Address::Listen(_)) {
        let again = Target::parse(OsStr::new(&shown), 5000).map(|target| target.address);
        assert_eq!(again.as_ref(), Ok(address), "{shown}");
    }
}
