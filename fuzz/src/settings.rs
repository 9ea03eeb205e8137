//! What the guest itself tells the agent: the words of process 1, and the files of users and groups.

use arrayvec::ArrayVec;
use rustix::fs::Gid;
use rustix::io::Errno;
use vsock_shell_agent::account::{Account, GROUPS_MAX, Lines, Wanted, add_groups, find_account};
use vsock_shell_agent::args::ADDRESSES_MAX;
use vsock_shell_agent::init::settings::{Settings, Source};

use crate::input::{Input, ways};

/// A file and a command line, one behind the other.
pub fn settings(data: &[u8]) {
    let mut input = Input::new(data);
    let length = usize::from(input.short()) % (data.len() + 1);
    let mut texts = [input.bytes(length).to_vec(), input.rest().to_vec()];
    let mut settings = Settings::new();
    for (text, source) in texts.iter_mut().zip([Source::File, Source::Machine]) {
        let length = text.len();
        settings.read(text, source, &mut |word| assert!(word.len() <= length && !word.contains(&0)));
    }
    assert!(settings.listen.len() <= ADDRESSES_MAX && settings.verbosity < 3);
    assert!(settings.init.is_none_or(|init| init.to_bytes().starts_with(b"/")));
}

/// Reads bytes in pieces.
fn source(bytes: &[u8], piece: usize) -> impl FnMut(&mut [u8]) -> Result<usize, Errno> {
    let mut rest = bytes;
    move |room| {
        let (read, tail) = rest.split_at(piece.min(room.len()).min(rest.len()));
        room[..read.len()].copy_from_slice(read);
        rest = tail;
        Ok(read.len())
    }
}

/// A file of users, of groups, and somebody to look for.
pub fn accounts(data: &[u8]) {
    let mut input = Input::new(data);
    let chosen = input.byte();
    let room = usize::from(input.byte());
    let name = match input.byte() {
        length @ 0..16 => input.bytes(length.into()),
        _ => b"root",
    };
    let wanted = if chosen & 1 == 0 { Wanted::Name(name) } else { Wanted::Number(u32::from(chosen >> 1)) };
    let file = input.rest();
    let found = ways(file, chosen).map(|piece| {
        let mut buffer = vec![0; room];
        let account = find_account(&mut Lines::new(&mut buffer), &mut source(file, piece), wanted);
        let mut groups = ArrayVec::<Gid, GROUPS_MAX>::new();
        add_groups(&mut Lines::new(&mut buffer), &mut source(file, piece), name, &mut groups);
        (account, groups)
    });
    let [whole, bytes, pieces] = &found;
    assert!(whole == bytes && whole == pieces, "{found:?}");
    if let Some(account) = &whole.0 {
        check(account, wanted);
    }
}

fn check(account: &Account, wanted: Wanted<'_>) {
    match wanted {
        Wanted::Name(name) => assert_eq!(&account.name[..], name),
        Wanted::Number(number) => assert_eq!(account.uid, number),
    }
    assert!(account.uid != u32::MAX && account.gid != u32::MAX && !account.home.is_empty());
    let texts: [&[u8]; 3] = [&account.name, &account.home, &account.shell];
    assert!(texts.iter().all(|text| !text.contains(&0) && !text.contains(&b'\n')));
}
