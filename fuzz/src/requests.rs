//! Every request, as the agent reads it before it does anything.

use arrayvec::ArrayVec;
use vsock_shell_agent::account::Account;
use vsock_shell_agent::arena::Arena;
use vsock_shell_agent::command::{ExecRequest, Program};
use vsock_shell_agent::environ::{self, Login};
use vsock_shell_agent::modes;
use vsock_shell_agent::session::endpoint;
use vsock_shell_agent::session::request::{parse_file, parse_job};
use vsock_shell_agent::session::verb::Asked;
use vsock_shell_agent::sys::terminal::Modes;
use vsock_shell_proto::code::RefusalCode;
use vsock_shell_proto::fields::{Fields, flag, header, tag};
use vsock_shell_proto::job::JobRequest;

use crate::input::Input;

/// A request of any bytes, or of fields that are mostly right.
pub fn requests(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let request =
        if choice & 1 == 0 { input.rest().to_vec() } else { request((choice >> 1 & 7) % 5, &mut input) };
    let mut is_malformed = false;
    for field in Fields::new(&request) {
        match &field {
            Ok(field) => _ = (field.string(), field.number(), field.long(), field.is_optional()),
            Err(_) => is_malformed = true,
        }
    }
    let accepted = [exec(&request), file(&request, false), file(&request, true), job(&request)];
    let asked = [true, false].map(|is_fs| Asked::nothing().read(&request, is_fs).is_ok());
    let forwards = [true, false].map(|listens| endpoint::parse(&request, listens).is_ok());
    assert!(!is_malformed || accepted.iter().chain(&asked).chain(&forwards).all(|accepted| !accepted));
}

/// Whether it is one for exec; then all that is made of it is.
fn exec(request: &[u8]) -> bool {
    let Ok(parsed) = ExecRequest::parse(request) else { return false };
    let mut words = ArrayVec::<u8, 64>::new();
    parsed.describe(&mut words);
    if let Program::Arguments(arguments) = &parsed.program {
        assert!(arguments.clone().next().is_some(), "a program has a name");
    }
    assert!(parsed.environment.clone().all(|entry| entry.to_bytes().contains(&b'=')));
    let mut terminal = Modes { c_iflag: 0, c_oflag: 0, c_cflag: 0, c_lflag: 0, c_line: 0, c_cc: [0; 19] };
    modes::apply(&mut terminal, parsed.modes);
    let account = Account {
        uid: 0,
        gid: 0,
        name: b"root"[..].try_into().unwrap_or_default(),
        home: b"/"[..].try_into().unwrap_or_default(),
        shell: ArrayVec::new(),
    };
    let mut memory = vec![0; 4096];
    let login = Login { account: &account, shell: b"/bin/sh", path: b"/bin", term: parsed.term };
    if let Ok(array) = environ::build(&mut Arena::new(&mut memory), login, parsed.environment.clone()) {
        assert!(environ::value(&array, b"HOME=").is_some());
    }
    true
}

fn file(request: &[u8], is_get: bool) -> bool {
    match parse_file(request, is_get) {
        Ok(file) => {
            assert!(!file.path.is_empty() || file.flags & flag::MEMORY != 0);
            true
        }
        Err(code) => {
            assert!(matches!(code, RefusalCode::Malformed | RefusalCode::Unsupported));
            false
        }
    }
}

fn job(request: &[u8]) -> bool {
    let parsed = parse_job(request);
    if let Ok(parsed) = parsed {
        assert_eq!(JobRequest::parse(&parsed.encode()), Some(parsed));
    }
    parsed.is_ok()
}

const EXEC: [u8; 10] = [
    tag::ARG,
    tag::ENV,
    tag::SHELL,
    tag::CWD,
    tag::USER,
    tag::PTY,
    tag::TERM,
    tag::MODES,
    tag::DETACH,
    tag::PROGRAM,
];
const FILE: [u8; 5] = [tag::PATH, tag::NAME, tag::USER, tag::FLAGS, tag::EXCLUDE];
const VERB: [u8; 6] = [tag::VERB, tag::PATH, tag::ARG, tag::VALUE, tag::FLAGS, tag::USER];
const JOB: [u8; 1] = [tag::JOB];
const FORWARD: [u8; 6] = [tag::HOST, tag::PORT, tag::PATH, tag::CID, tag::USER, tag::FLAGS];

/// Fields of one kind, now and then one of another.
fn request(kind: u8, input: &mut Input<'_>) -> Vec<u8> {
    let tags: &[u8] = [&EXEC[..], &FILE, &VERB, &JOB, &FORWARD][usize::from(kind)];
    let mut out = Vec::new();
    while let Some(choice) = input.taken() {
        let tag = if choice > 240 { input.byte() } else { tags[usize::from(choice) % tags.len()] };
        let value = value(tag, input);
        out.extend(header(tag, value.len()).unwrap_or_default());
        out.extend(value);
    }
    out
}

fn value(tag: u8, input: &mut Input<'_>) -> Vec<u8> {
    const VERBS: [&[u8]; 12] = [
        b"mkdir\0",
        b"remove\0",
        b"rename\0",
        b"statfs\0",
        b"kill\0",
        b"mount\0",
        b"umount\0",
        b"load\0",
        b"clock\0",
        b"kmsg\0",
        b"info\0",
        b"poweroff\0",
    ];
    if input.once_in(16) {
        return input.piece().to_vec();
    }
    match tag {
        tag::PTY => input.bytes(8).to_vec(),
        tag::MODES => input.piece().to_vec(),
        tag::DETACH | tag::PROGRAM => vec![input.byte(), 0, 0, 0],
        tag::FLAGS => (u32::from(input.short()) | u32::from(input.byte() & 1) << 16).to_le_bytes().to_vec(),
        tag::PORT | tag::CID => {
            u32::from(input.short()).rotate_left(input.byte().into()).to_le_bytes().to_vec()
        }
        tag::VALUE => input.long().to_le_bytes().to_vec(),
        tag::JOB => {
            [&[input.byte(), 0, 0, 0, input.byte() % 6, 0, 0, 0], &input.number().to_le_bytes()[..]].concat()
        }
        tag::VERB => input.pick(&VERBS).to_vec(),
        tag::ENV => [&[b'A' + input.byte() % 3, b'='], input.piece(), b"\0"].concat(),
        _ => [input.piece(), b"\0"].concat(),
    }
}
