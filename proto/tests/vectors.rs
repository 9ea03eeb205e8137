//! The test vectors of `docs/PROTOCOL.md`: each decodes through the public interface, and is encoded to the byte.
#![allow(missing_docs)]

use vsock_shell_proto::code::{CloseCode, RefusalCode};
use vsock_shell_proto::fields::flag;
use vsock_shell_proto::fields::{self, DETACH_HOLD, Fields, tag};
use vsock_shell_proto::frame::{ChannelId, ChannelKind, Flow, Hello, Outcome, WindowSize};
use vsock_shell_proto::items::{
    FileEnd, ITEM_MAX, Item, ItemReader, Meta, Stream, Timestamp, VALUE_MAX, Want, content_header,
    encode_attribute, encode_end, encode_entry, encode_hole, encode_leave, encode_problem, encode_want,
    meta_flag,
};
use vsock_shell_proto::job::{JobRequest, Verb};
use vsock_shell_proto::limits::{CHANNEL_IDS, CHANNELS_MAX, RING_LEN, pool_len};
use vsock_shell_proto::link::End;
use vsock_shell_proto::mux::{Event, Side};
use vsock_shell_proto::preamble::{Answer, Dialer, Held, Kind, Preamble, SessionId, Status, admit};
use vsock_shell_proto::proof::{Challenge, Key, PROOF_LEN, Role, Said};
use vsock_shell_proto::serial::{self, Scanned, SerialHeader};
use vsock_shell_proto::session::{Channel, Memory, Session};
use vsock_shell_proto::time::Instant;

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");
const ID: SessionId = {
    let mut id = [0; 16];
    let mut at = 0;
    while at < 16 {
        id[at] = 0xA0 + at as u8;
        at += 1;
    }
    SessionId(id)
};
const NOW: Instant = Instant::from_micros(0);
const C2: ChannelId = ChannelId(2);

type Core = Session<Vec<u8>, Vec<u8>, Vec<Channel>>;

/// All vectors of the document, in its order.
fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```vector ") else { continue };
        let mut digits = String::new();
        for line in lines.by_ref().take_while(|line| *line != "```").filter(|line| !line.starts_with('#')) {
            digits.extend(line.split_whitespace());
        }
        assert!(digits.len().is_multiple_of(2), "{name}: half a byte");
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
        found.push((name.trim(), (0..digits.len()).step_by(2).map(byte).collect()));
    }
    found
}

fn vector(name: &str) -> Vec<u8> {
    let mut all = vectors().into_iter().filter(|(found, _)| *found == name);
    let (_, bytes) = all.next().unwrap_or_else(|| panic!("the document has no vector {name}"));
    assert!(all.next().is_none(), "two vectors {name}");
    bytes
}

fn core(side: Side) -> Core {
    core_with(side, 64)
}

/// A core whose windows can grow by `surplus` blocks.
fn core_with(side: Side, surplus: usize) -> Core {
    let memory = Memory {
        ring: vec![0; RING_LEN],
        pool: vec![0; pool_len(8, surplus)],
        channels: vec![Channel::FREE; CHANNEL_IDS],
        channels_max: 8,
    };
    assert_eq!(CHANNELS_MAX, 512);
    let hello = Hello::new("demo 1", 512, 1 << 20, 60_000);
    let mut core = Session::new(side, memory, hello, None);
    core.attach(0, NOW).expect("a new session begins at 0");
    core
}

/// Takes `input`, in pieces of `piece` bytes; what events say. All data is taken.
fn receive(core: &mut Core, input: &[u8], piece: usize) -> Vec<String> {
    let mut events = Vec::new();
    for mut piece in input.chunks(piece) {
        loop {
            let (taken, event) = core.handle_received(piece, NOW);
            piece = &piece[taken..];
            let Some(event) = event else { break };
            events.push(format!("{event:?}"));
            if let Event::Data { channel, flow, bytes } = event {
                core.deliver(channel, flow, bytes, bytes.len());
            }
        }
    }
    events
}

fn data_record(stream: &[u8]) -> Vec<u8> {
    [&[1, 0, 0, 0][..], &(stream.len() as u32).to_le_bytes(), stream].concat()
}

fn transmit(core: &mut Core) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(parts) = core.poll_transmit(NOW) {
        let bytes = [parts.head, parts.first, parts.second].concat();
        core.handle_transmitted(bytes.len(), NOW);
        out.extend(bytes);
    }
    out
}

/// An agent on which the client opened channel 2.
fn agent() -> Core {
    opened(core(Side::Agent))
}

fn lean_agent() -> Core {
    opened(core_with(Side::Agent, 0))
}

fn opened(mut core: Core) -> Core {
    let stream = [vector("frame-hello"), vector("frame-open")].concat();
    assert_eq!(receive(&mut core, &data_record(&stream), 1).len(), 2);
    core
}

/// A client that opened channel 2.
fn client() -> Core {
    let mut core = core(Side::Client);
    assert_eq!(core.open(ChannelKind::Exec), Ok(ChannelId(0)));
    assert_eq!(receive(&mut core, &data_record(&vector("frame-hello")), 1), ["Hello"]);
    assert_eq!(core.open(ChannelKind::Exec), Ok(C2));
    core
}

/// `core` takes the frame as `event`, whole and byte by byte.
fn decodes(name: &str, core: impl Fn() -> Core, event: &str) {
    let record = data_record(&vector(name));
    for piece in [1, record.len()] {
        assert_eq!(receive(&mut core(), &record, piece), [event], "{name}");
    }
}

/// The last that `core` sends is the frame.
fn encodes(name: &str, mut core: Core, verb: impl Fn(&mut Core)) {
    verb(&mut core);
    let sent = transmit(&mut core);
    let frame = vector(name);
    assert!(sent.ends_with(&frame), "{name}: {frame:02X?} is not the end of {sent:02X?}");
}

fn accepted_client() -> Core {
    let mut core = client();
    receive(&mut core, &data_record(&vector("frame-accepted")), 99);
    core
}

/// An opener whose flows have both finished.
fn finished_client() -> Core {
    let mut core = accepted_client();
    let finish = |flow| [0x14, flow, 2, 0, 0, 0, 0, 0];
    receive(&mut core, &data_record(&[finish(1), finish(2)].concat()), 99);
    core
}

fn preamble_first() {
    let want = Dialer::new(ID).next_preamble(0, core::array::from_fn(|at| 0x10 + at as u8));
    let bytes: [u8; 64] = vector("preamble-first").try_into().expect("64 bytes");
    assert_eq!((Preamble::parse(&bytes).as_ref(), want.encode()), (Ok(&want), bytes));
}

fn preamble_again() {
    let mut dialer = Dialer::new(ID);
    let first = dialer.next_preamble(0, [0; 16]);
    dialer.handle_answer(&admit(&first, None).encode()).expect("created");
    let want = dialer.next_preamble(0x01_2345_6789, [0; 16]);
    assert_eq!((want.kind, want.must_exist, want.attempt), (Kind::Session, true, 2));
    let bytes: [u8; 64] = vector("preamble-again").try_into().expect("64 bytes");
    assert_eq!((Preamble::parse(&bytes).as_ref(), want.encode()), (Ok(&want), bytes));
}

fn answer(name: &str, attempts: usize, held: Option<Held>, must_exist: bool, status: Status) {
    let mut preamble = Dialer::new(ID).next_preamble(0, [0; 16]);
    (preamble.attempt, preamble.must_exist) = (attempts as u64, must_exist);
    let want = admit(&preamble, held);
    assert_eq!(want.status, status);
    let bytes: [u8; 64] = vector(name).try_into().expect("64 bytes");
    assert_eq!((Answer::parse(&bytes).as_ref(), want.encode()), (Ok(&want), bytes), "{name}");
}

fn keyed_preamble() -> Preamble {
    let mut preamble = Dialer::new(ID).next_preamble(0, core::array::from_fn(|at| 0x10 + at as u8));
    preamble.wants_proof = true;
    preamble
}

fn preamble_proof() {
    let (want, bytes) = (keyed_preamble(), vector("preamble-proof").try_into().expect("64 bytes"));
    assert_eq!((Preamble::parse(&bytes).as_ref(), want.encode()), (Ok(&want), bytes));
}

fn challenge() {
    let from = |first| core::array::from_fn(|at| first + at as u8);
    let want = Challenge { version: 1, nonce: from(0x20), boot_id: from(0x40), machine_id: from(0x50) };
    let bytes = vector("challenge").try_into().expect("64 bytes");
    assert_eq!((Challenge::parse(&bytes, &keyed_preamble()).as_ref(), want.encode()), (Some(&want), bytes));
}

fn proof(name: &str, role: Role) {
    let key = Key::new(core::array::from_fn(|at| at as u8));
    let preamble = vector("preamble-proof").try_into().expect("64 bytes");
    let challenge = vector("challenge").try_into().expect("64 bytes");
    let said = Said { preamble: &preamble, challenge: &challenge };
    let want: [u8; PROOF_LEN] = vector(name).try_into().expect("32 bytes");
    assert_eq!(key.prove(role, &said), want, "{name}");
    assert!(key.is_proved(role, &said, &want), "{name}");
    let other = if role == Role::Client { Role::Agent } else { Role::Client };
    assert!(!key.is_proved(other, &said, &want), "{name} is of one role");
    for bit in 0..8 * PROOF_LEN {
        let mut wrong = want;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(!key.is_proved(role, &said, &wrong), "{name}, bit {bit}");
    }
}

fn record_data() {
    let mut sender = client();
    transmit(&mut sender);
    sender.finish(C2, Flow::Input);
    sender.finish(C2, Flow::Request);
    assert_eq!(transmit(&mut sender), vector("record-data"));
    let finished = |flow| format!("Finished {{ channel: ChannelId(2), flow: {flow} }}");
    assert_eq!(receive(&mut agent(), &vector("record-data"), 3), [finished("Input"), finished("Request")]);
}

fn record_ack() {
    // 67 bytes: HELLO, OPEN, and 5 bytes of DATA.
    let mut sender = core(Side::Client);
    sender.open(ChannelKind::Exec).expect("the first channel");
    assert_eq!(sender.send(ChannelId(0), Flow::Request, b"12345"), 5);
    let sent = transmit(&mut sender);
    assert_eq!(sent.len(), 8 + 75);
    receive(&mut sender, &vector("record-ack"), 1);
    assert_eq!(sender.link().resend_range(), (67, 75));
    let mut receiver = core(Side::Agent);
    transmit(&mut receiver);
    let first = [data_record(&sent[8..75]), vec![3, 0, 0, 0, 8, 0, 0, 0], vec![0; 8]].concat();
    receive(&mut receiver, &first, 7);
    assert!(transmit(&mut receiver).starts_with(&vector("record-ack")));
}

fn record_ping() {
    let mut core = agent();
    transmit(&mut core);
    let due = core.poll_timeout().expect("an acknowledgement is owed");
    core.handle_timeout(due);
    assert_eq!(transmit(&mut core), vector("record-ping"));
    let mut core = self::core(Side::Client);
    transmit(&mut core);
    receive(&mut core, &vector("record-ping"), 1);
    assert_eq!(transmit(&mut core), [4, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
}

fn record_pong() {
    let mut core = core(Side::Client);
    transmit(&mut core);
    let mut ping = vector("record-pong");
    ping[0] = 3;
    receive(&mut core, &ping, 5);
    assert_eq!(transmit(&mut core), vector("record-pong"));
    let due = core.poll_timeout().expect("owed");
    assert_eq!((receive(&mut core, &vector("record-pong"), 5).len(), core.end()), (0, None));
    assert_eq!(core.poll_timeout(), Some(due), "a PONG of another token answers nothing");
}

fn record_bye() {
    let mut core = agent();
    transmit(&mut core);
    core.abort(CloseCode::ChannelState);
    assert_eq!(transmit(&mut core), vector("record-bye"));
    let mut core = client();
    receive(&mut core, &vector("record-bye"), 1);
    assert_eq!(core.end(), Some(End::Peer(CloseCode::ChannelState)));
}

fn frame_hello() {
    for side in [Side::Client, Side::Agent] {
        encodes("frame-hello", core(side), |_| {});
        decodes("frame-hello", || core(side), "Hello");
    }
    assert_eq!(agent().peer(), Some(&Hello::new("demo 1", 512, 1 << 20, 60_000)));
}

fn frame_close() {
    encodes("frame-close", client(), |core| core.close(CloseCode::Normal));
    decodes("frame-close", agent, "Closed { code: Normal }");
}

fn frame_open() {
    encodes("frame-open", client(), |_| {});
    let opened = agent().open_count();
    assert_eq!(opened, 1);
}

fn frame_accepted() {
    encodes("frame-accepted", agent(), |core| core.accept(C2, 4242));
    decodes("frame-accepted", client, "Accepted { channel: ChannelId(2), value: 4242 }");
}

fn frame_refused() {
    let mut core = agent();
    core.refuse(C2, RefusalCode::System, 13, b"open");
    assert!(transmit(&mut core).ends_with(&[vector("frame-refused"), vector("frame-release")].concat()));
    decodes("frame-refused", client, "Refused { channel: ChannelId(2), code: System, errno: 13 }");
    let mut core = client();
    receive(&mut core, &data_record(&vector("frame-refused")), 3);
    assert_eq!(core.text(), b"open");
}

fn frame_data() {
    encodes("frame-data", client(), |core| assert_eq!(core.send(C2, Flow::Input, b"hello"), 5));
    let record = data_record(&vector("frame-data"));
    let event = "Data { channel: ChannelId(2), flow: Input, bytes: [104, 101, 108, 108, 111] }";
    assert_eq!(receive(&mut agent(), &record, 99), [event]);
}

fn frame_finish() {
    encodes("frame-finish", client(), |core| core.finish(C2, Flow::Request));
    decodes("frame-finish", agent, "Finished { channel: ChannelId(2), flow: Request }");
}

fn frame_stop() {
    encodes("frame-stop", agent(), |core| core.stop(C2, Flow::Input));
    decodes("frame-stop", client, "Stopped { channel: ChannelId(2), flow: Input }");
}

fn frame_credit() {
    decodes("frame-credit", client, "Credit { channel: ChannelId(2), flow: Input }");
    let mut core = client();
    receive(&mut core, &data_record(&vector("frame-credit")), 99);
    assert_eq!(core.writable(C2, Flow::Input), 8192);
    // All of the initial window consumed, and none to grow into.
    let mut core = lean_agent();
    let data = [&[0x13, 0, 2, 0, 0, 0x10, 0, 0][..], &[1; 4096]].concat();
    receive(&mut core, &data_record(&data), usize::MAX);
    assert!(transmit(&mut core).ends_with(&vector("frame-credit")));
}

fn frame_signal() {
    encodes("frame-signal", client(), |core| core.signal(C2, 15));
    decodes("frame-signal", agent, "Signal { channel: ChannelId(2), number: 15 }");
}

const SIZE: WindowSize = WindowSize { rows: 50, columns: 132, width: 1056, height: 800 };

fn frame_resize() {
    encodes("frame-resize", client(), |core| core.resize(C2, SIZE));
    decodes("frame-resize", agent, &format!("Resized {{ channel: ChannelId(2), size: {SIZE:?} }}"));
}

fn frame_exit(name: &str, outcome: Outcome, text: &[u8]) {
    let mut core = agent();
    core.accept(C2, 1);
    core.exit(C2, outcome, text);
    assert!(transmit(&mut core).ends_with(&[vector(name), vector("frame-release")].concat()));
    decodes(name, finished_client, &format!("Exited {{ channel: ChannelId(2), outcome: {outcome:?} }}"));
    let mut core = finished_client();
    receive(&mut core, &data_record(&vector(name)), 99);
    assert_eq!(core.text(), text);
}

fn frame_reset() {
    encodes("frame-reset", agent(), |core| core.reset(C2, CloseCode::Cancelled));
    decodes("frame-reset", agent, "Reset { channel: ChannelId(2), code: Cancelled }");
    decodes("frame-reset", client, "Reset { channel: ChannelId(2), code: Cancelled }");
}

fn frame_release() {
    encodes("frame-release", accepted_client(), |core| core.release(C2));
    decodes("frame-release", agent, "Reset { channel: ChannelId(2), code: Cancelled }");
}

fn frame_detach() {
    encodes("frame-detach", client(), |core| core.detach_channel(C2, DETACH_HOLD));
    decodes("frame-detach", agent, "Detach { channel: ChannelId(2), value: 1 }");
}

fn request_job() {
    let want = JobRequest { job: 3, verb: Verb::Signal, flags: 0, signal: 15 };
    let request = vector("request-job");
    let fields: Vec<_> = Fields::new(&request).map(|field| field.expect("well formed")).collect();
    assert_eq!((fields.len(), fields[0].tag), (1, tag::JOB));
    assert_eq!(JobRequest::parse(fields[0].value.try_into().expect("12 bytes")), Some(want));
    let header = fields::header(tag::JOB, want.encode().len()).expect("a short value");
    assert_eq!([&header[..], &want.encode()].concat(), request);
}

fn request_exec() {
    let size = WindowSize { rows: 24, columns: 80, width: 0, height: 0 }.encode();
    let want: [(u8, &[u8]); 8] = [
        (tag::ARG, b"ls\0"),
        (tag::ARG, b"-l\0"),
        (tag::ENV, b"A=b\0"),
        (tag::CWD, b"/tmp\0"),
        (tag::USER, b"0\0"),
        (tag::PTY, &size),
        (tag::TERM, b"vt100\0"),
        (0xC0, b"?"),
    ];
    let request = vector("request-exec");
    let have: Vec<_> = Fields::new(&request).map(|field| field.expect("well formed")).collect();
    assert_eq!(have.iter().map(|field| (field.tag, field.value)).collect::<Vec<_>>(), want);
    assert!(have[7].is_optional() && !have[6].is_optional());
    let header = |(tag, value): (u8, &[u8])| {
        [&fields::header(tag, value.len()).expect("a short value")[..], value].concat()
    };
    assert_eq!(want.map(header).concat(), request);
}

/// An item written by `write`.
fn item(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut out = vec![0; ITEM_MAX];
    let length = write(&mut out);
    out.truncate(length);
    out
}

fn tree_stream() {
    let directory = Meta {
        mode: 0o040_755,
        flags: meta_flag::OPEN | meta_flag::OWNER | meta_flag::IDENTITY,
        size: 4096,
        modified: Timestamp { seconds: 1_700_000_000, nanoseconds: 500_000_000 },
        owner: 1000,
        group: 100,
        links: 2,
        device: 0xFE01,
        inode: 131,
        blocks: 8,
        offset: 0,
    };
    let file = Meta::file(0o644, 4101, directory.modified);
    let symlink = Meta { mode: 0o120_777, size: 4, flags: 0, modified: Timestamp::NONE, ..file };
    let left = Meta { flags: meta_flag::OWNER, ..directory };
    let end = FileEnd { digest: xxhash_rust::xxh3::xxh3_64(b"hello"), size: 4101 };
    let stream = vector("tree-stream");
    let parts = [
        item(|out| encode_entry(out, &directory, b"", b"")),
        item(|out| {
            let read = |place: &mut [u8]| {
                place[0] = b'b';
                Ok::<_, ()>(1)
            };
            encode_attribute(out, b"user.a", read).expect("it is read")
        }),
        item(|out| encode_entry(out, &file, b"f", b"")),
        content_header(5).to_vec(),
        b"hello".to_vec(),
        item(|out| encode_hole(out, 4096)),
        item(|out| encode_end(out, &end)),
        item(|out| encode_entry(out, &symlink, b"l", b"to/f")),
        item(|out| encode_problem(out, 13, b"g", b"open")),
        item(|out| encode_leave(out, &left)),
    ];
    assert_eq!(parts.concat(), stream);
    let mut reader = ItemReader::new(Stream::Tree);
    let mut memory = vec![0; VALUE_MAX];
    let mut rest = &stream[..];
    let (name, target) = (c"l", c"to/f");
    for want in [
        Item::Entry { meta: directory, name: c"", target: c"" },
        Item::Attribute { name: c"user.a", value: b"b" },
        Item::Entry { meta: file, name: c"f", target: c"" },
        Item::Content(b"hello"),
        Item::Hole(4096),
        Item::End(end),
        Item::Entry { meta: symlink, name, target },
        Item::Problem { errno: 13, path: c"g", text: b"open", ends_file: false },
        Item::Leave(left),
    ] {
        let (taken, item) = reader.read(&mut memory, rest).expect("well formed");
        rest = &rest[taken..];
        assert_eq!(item, Some(want));
    }
    assert!(rest.is_empty() && reader.is_ended());
}

fn want() {
    let want = Want {
        length: 65_536,
        digest: 0x0123_4567_89AB_CDEF,
        flags: flag::NO_FOLLOW | flag::PARTIAL,
        path: c"d/f",
    };
    let bytes = vector("want");
    assert_eq!(item(|out| encode_want(out, &want)), bytes);
    let mut memory = vec![0; VALUE_MAX];
    let read = ItemReader::new(Stream::Wants).read(&mut memory, &bytes);
    assert_eq!(read, Ok((bytes.len(), Some(Item::Want(want)))));
}

fn serial_record(name: &str, start: bool, payload: &[u8]) {
    let header = SerialHeader { connection: 0x1122_3344, start, end: !start };
    let record = vector(name);
    assert_eq!(serial::scan(&record), Scanned::Record(record.len(), header, payload));
    let mut out = [0; 64];
    let length = serial::encode(header, payload, &mut out).expect("it fits");
    assert_eq!(&out[..length], record);
}

/// The whole of `exec true`, each side against the other's bytes.
fn transcripts() {
    let (client_bytes, agent_bytes) = (vector("transcript-client"), vector("transcript-agent"));
    let (preamble, from_client) = client_bytes.split_first_chunk::<64>().expect("a preamble");
    let (answer, from_agent) = agent_bytes.split_first_chunk::<64>().expect("an answer");
    let mut dialer = Dialer::new(ID);
    let nonce = core::array::from_fn(|at| 0x10 + at as u8);
    assert_eq!(dialer.next_preamble(0, nonce).encode(), *preamble);
    assert_eq!(admit(&Preamble::parse(preamble).expect("a preamble"), None).encode(), *answer);
    assert_eq!(dialer.handle_answer(answer), Ok(0));

    let (mut client, mut agent) = (core(Side::Client), core(Side::Agent));
    let channel = client.open(ChannelKind::Exec).expect("the first channel");
    assert_eq!(client.send(channel, Flow::Request, b"\x01\x05\0\0true\0"), 9);
    client.finish(channel, Flow::Request);
    client.finish(channel, Flow::Input);
    let first = transmit(&mut client);
    assert_eq!(receive(&mut agent, &first, 5).first().map(String::as_str), Some("Hello"));
    agent.accept(channel, 77);
    agent.exit(channel, Outcome::Exited(0), b"");
    let second = transmit(&mut agent);
    let events = receive(&mut client, &second, 5);
    assert_eq!(events.last().expect("events"), "Exited { channel: ChannelId(0), outcome: Exited(0) }");
    client.release(channel);
    client.close(CloseCode::Normal);
    let third = transmit(&mut client);
    assert_eq!(receive(&mut agent, &third, 5), ["Closed { code: Normal }"]);
    let fourth = transmit(&mut agent);
    receive(&mut client, &fourth, 5);
    assert_eq!((client.open_count(), agent.open_count()), (0, 0));
    assert_eq!(
        (client.end(), agent.end()),
        (Some(End::Peer(CloseCode::Normal)), Some(End::Own(CloseCode::Normal)))
    );
    assert_eq!([first, third].concat(), from_client);
    assert_eq!([second, fourth].concat(), from_agent);
}

const CHECKS: &[(&str, fn())] = &[
    ("preamble-first", preamble_first),
    ("preamble-again", preamble_again),
    ("answer-created", || answer("answer-created", 1, None, false, Status::Created)),
    ("answer-resumed", || {
        let held = Held { attempt: 1, resend: (0, 0), received: 300 };
        answer("answer-resumed", 2, Some(held), true, Status::Resumed);
    }),
    ("answer-gone", || answer("answer-gone", 2, None, true, Status::Gone)),
    ("preamble-proof", preamble_proof),
    ("challenge", challenge),
    ("proof-client", || proof("proof-client", Role::Client)),
    ("proof-agent", || proof("proof-agent", Role::Agent)),
    ("record-data", record_data),
    ("record-ack", record_ack),
    ("record-ping", record_ping),
    ("record-pong", record_pong),
    ("record-bye", record_bye),
    ("frame-hello", frame_hello),
    ("frame-close", frame_close),
    ("frame-open", frame_open),
    ("frame-accepted", frame_accepted),
    ("frame-refused", frame_refused),
    ("frame-data", frame_data),
    ("frame-finish", frame_finish),
    ("frame-stop", frame_stop),
    ("frame-credit", frame_credit),
    ("frame-signal", frame_signal),
    ("frame-resize", frame_resize),
    ("frame-exit-exited", || frame_exit("frame-exit-exited", Outcome::Exited(3), b"")),
    ("frame-exit-killed", || {
        frame_exit("frame-exit-killed", Outcome::Killed { signal: 11, core_dumped: true }, b"");
    }),
    ("frame-exit-failed", || frame_exit("frame-exit-failed", Outcome::Failed(28), b"write")),
    ("frame-exit-detached", || frame_exit("frame-exit-detached", Outcome::Detached(3), b"")),
    ("frame-reset", frame_reset),
    ("frame-release", frame_release),
    ("frame-detach", frame_detach),
    ("request-job", request_job),
    ("request-exec", request_exec),
    ("tree-stream", tree_stream),
    ("want", want),
    ("serial-start", || serial_record("serial-start", true, b"ping")),
    ("serial-end", || serial_record("serial-end", false, b"")),
    ("transcript-client", transcripts),
    ("transcript-agent", transcripts),
];

#[test]
fn every_vector_of_the_document_decodes_and_encodes_to_the_byte() {
    for (_, check) in CHECKS {
        check();
    }
}

#[test]
fn every_vector_is_checked_and_every_check_has_its_vector() {
    let document: Vec<_> = vectors().into_iter().map(|(name, _)| name).collect();
    let checks: Vec<_> = CHECKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(document, checks);
}
