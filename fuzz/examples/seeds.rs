//! Writes inputs to begin with, a folder for each target: the test vectors of `docs/PROTOCOL.md`, texts as they are written,
//! and bytes for whatever takes bytes as choices.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use vsock_shell_fuzz::TARGETS;
use vsock_shell_proto::items::{
    FileEnd, ITEM_MAX, Meta, Timestamp, encode_end, encode_entry, encode_leave, meta_flag,
};
use vsock_shell_proto::serial::Port;

/// Seeds of choices for each target, and the bytes of the longest.
const CHOSEN: usize = 40;
const LONGEST: usize = 600;

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("cargo run --example seeds -- FOLDER");
        return Ok(());
    };
    let mut vectors = vectors()?;
    vectors.push(("tree-through-links".to_owned(), through_links()));
    vectors.push(("serial-answer".to_owned(), answer_of_port()));
    for (at, (target, _)) in TARGETS.into_iter().enumerate() {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        let texts = texts(target).iter().map(|text| text.to_vec());
        let carried = vectors.iter().flat_map(|(name, bytes)| carried(target, name, bytes));
        let chosen = (0..CHOSEN).map(|number| choices((at * CHOSEN + number) as u64));
        for (number, seed) in texts.chain(carried).chain(chosen).enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

/// Names and bytes of the vectors.
fn vectors() -> io::Result<Vec<(String, Vec<u8>)>> {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md"))?;
    let blocks = document.split("```vector ").skip(1);
    let vector = |block: &str| {
        let (name, rest) = block.split_once('\n')?;
        let lines = rest.split("```").next()?.lines().filter(|line| !line.starts_with('#'));
        let words = lines.flat_map(str::split_whitespace);
        let bytes = words.map(|word| u8::from_str_radix(word, 16).ok()).collect::<Option<_>>()?;
        Some((name.trim().to_owned(), bytes))
    };
    Ok(blocks.filter_map(vector).collect())
}

/// Of a transcript, what stands behind the preamble and its answer.
fn behind_preamble(bytes: &[u8], is_transcript: bool) -> &[u8] {
    if is_transcript { &bytes[64..] } else { bytes }
}

/// Bytes in pieces, each behind the action that takes one, and its length.
fn said_in_pieces(action: u8, bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(255).flat_map(|part| [&[action, part.len() as u8], part].concat()).collect()
}

/// A vector as inputs of a target.
fn carried(target: &str, name: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    let begins = |kinds: &[&str]| kinds.iter().any(|kind| name.starts_with(kind));
    let with = |heads: &[u8]| heads.iter().map(|&head| [&[head], bytes].concat()).collect();
    match target {
        "preamble" if begins(&["preamble", "answer"]) => with(&[0, 2, 3]),
        // A key as text, and both sides untouched.
        "proof" if name == "preamble-first" => vec![
            [&[0][..], &b"0f".repeat(32)].concat(),
            [1, 0, 7, 0, 3, 0].to_vec(),
            [1, 0, 7, 0, 4, 0].to_vec(),
            [2, 0, 0].to_vec(),
            [2, 1, 40, 1, 0].to_vec(),
            [2, 0, 1, 3, 1].to_vec(),
        ],
        "records" if begins(&["record"]) => with(&[0, 5]),
        "records" if begins(&["transcript"]) => vec![[&[9], &bytes[64..]].concat()],
        // Behind HELLO, and to either side.
        "frames" if begins(&["frame"]) => {
            let hello = [&[0x01, 0, 0, 0, 32, 0, 0, 0][..], &[0; 32]].concat();
            with(&[0, 1, 0x80])
                .into_iter()
                .map(|seed: Vec<u8>| [&seed[..1], &hello, &seed[1..]].concat())
                .collect()
        }
        "session_agent" | "session_client" if begins(&["transcript", "frame", "record"]) => {
            vec![said_in_pieces(0xF0, behind_preamble(bytes, begins(&["transcript"])))]
        }
        // Whole records, from either side.
        "trace" if begins(&["transcript", "record"]) => {
            let bytes = behind_preamble(bytes, begins(&["transcript"]));
            [2, 3].map(|action| [vec![0x20], said_in_pieces(action, bytes)].concat()).into()
        }
        "requests" if begins(&["request"]) => with(&[0]),
        "items" if begins(&["tree", "want"]) => with(&[0, 1, 2, 3]),
        "serial" if begins(&["serial"]) => with(&[0, 2]),
        // A tree to get, as the agent of a client sends it.
        "transfers" | "answers" if begins(&["tree"]) => {
            let length = (bytes.len() as u16).to_le_bytes();
            let heads: &[[u8; 2]] =
                if target == "transfers" { &[[0, 0], [2, 2]] } else { &[[5, 1], [14, 1]] };
            let script = |head: &[u8; 2]| {
                let start: &[u8] = if target == "transfers" { &[head[0], head[1], 1] } else { head };
                [start, &[0x27, 0, 0], &length, bytes].concat()
            };
            heads.iter().map(script).collect()
        }
        _ => Vec::new(),
    }
}

/// Texts that a target reads.
fn texts(target: &str) -> &'static [&'static [u8]] {
    match target {
        "canary" => &[],
        "arguments" => &[
            b"vsock:3:5000\0ls\0-l",
            b"-u\0a:b\0-d\0c:d\0unix:/run/x.sock\0--\0make",
            b"cp\0-rp\0--exclude\0*.o\0unix%/x:/a\0./b",
            b"mux:/a%20b:5000\0-e\0^]\0-t",
            b"fs\0ls\x003\0/etc",
            b"sys\0mount\0-o\0ro,noexec\0serial:/dev/x\0/a\0/b",
            b"root@tcp:[::1]:70\0--listen\0vsock:7\0jobs\0--json",
            b"kill\0-TERM\x003\x007",
            b"-dvvp7\0--listen=unix:/a\0--connect\0vsock:2:9\0--allow-cid=any\0--grace\x0060\0--root=/srv",
            b"\x01\x09\0exec,shell,put,get,fs-write,connect,listen,system,detach,system-write\0--deny=nothing",
            b"exec:socat - x\0--since\x002h\x002024-01-01T00:00:00Z",
        ],
        "settings" => &[
            b"\x30\0listen=vsock:7\nlog=debug\n# no\nhostname=\"my box\"\ninit=/a\nquiet vsock_shell.listen=unix:/a \
              vsock_shell.modules=a,b vsock_shell.console=ttyS0 vsock_shell.notify=vsock:2:9 ",
            b"\0\0\x01\x22\0io.systemd.credential:vsock_shell.connect=unix:/c\0vsock_shell.init=sbin ",
        ],
        "accounts" => &[
            b"\0\x40\xffroot:x:0:0:root:/root:/bin/bash\nalice:x:1000:1001::/home/alice:/bin/zsh\n",
            b"\x03\x20\x05alice\nwheel:x:10:bob,alice\naudio:x:11:alice\nx:x:1:1::/:/a",
        ],
        "config" => &[
            b"[targets.box]\naddress = \"unix:/run/box.sock\"\nuser = \"root\"\nreconnect = 30\nquiet = true\n",
            b"[targets.\"ci-*\"]\naddress = 'mux:~/{name}.sock:7'\nenv = { A = \"1\" }\nkey = '~/k'\n[targets.x]\n",
            b"targets.a = { address = 'exec:socat - x', port = 7, env = ['A=1', 'B=2'] }\ntargets.b.address = '3'\n",
            b"[targets.a]\nadress = 3\n",
        ],
        "guests" => &[
            b"\0\x02\x03\0\x04\0",
            b"\0\x04\x06\x00\x09\x00\x00\x00\x01\x00\x05\x02\x0c\0\x0d\0",
            b"\x33\x02\x16\0\x17\0\x20{\"vsock\":{\"uds_path\":\"/r/v.sock\"}}\x01\x08/run/x.s\0",
            b"\x24\x02\x11\0\x12\0\x60\x04\x07\0\x0a\0\x03\0\x08\0\x02\x06/a/b.s\x00\0",
        ],
        "globs" => &[
            b"\0\x03a*b\x03acba*b\0c/**/d\0[!a-c]?\\*\0",
            b"\0\x06a/**/b\x03a/bx/\0",
            b"\0\x07[]a-]*x\x02]xy\0",
        ],
        "shown" => &[
            b"\0a\x1b]0;x\x07\n\xff\xc2\x9b\xe2\x80\xae",
            b"\x02ext4 823296 2 mbcache,jbd2, Live 0x0000000000000000\n22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n",
            b"\x04",
            b"\x046,339,5140900,-;NET: Registered protocol family\n SUBSYSTEM=acpi\n4,1,2,c;a\\x1bb\n",
            b"\x05ls\r~.x\r~?~d~~\r~\x1a",
            b"\x03\x1a1 (a b) S 0 1 1 0 -1 4194560\x15Uid:\t0\t0\nVmRSS:\t 9 kB\x09/init\0-x\0x",
        ],
        // A hello, a request of every field, a text at the end.
        "trace" => &[
            b"\x20\x04\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0\0\0\x01\0\x60\xea\0\0\xff\xff\0\0\x04a\xf0\xf3b\
              \x09\x01\x03\x01\x02sh\0\x03\x03A=b\0\x06\x080000000\0\0\x20\x08\x01\0\0\0\x01\0\0\0\0\
              \x06\0\0\0\x01\x03no\xf1",
        ],
        "answers" => &[
            b"\x01\x01\x27\0\0\x47\0job=3\nstate=killed\nstatus=9\nseconds=7500\nterminal=1\nhold=0\ncommand=sh -c x\n",
            b"\x07\x01\x27\0\0\x20\0block_size=4096\nblocks=1000\ntype=1\n",
            b"\x0b\x01\x27\0\0\x0a\0time=12.5\n",
            b"\x13\x01\x08\x08\x0d\x04open",
        ],
        _ => &[],
    }
}

/// A tree whose directories have the names of links: one that may be there, and one of its own.
fn through_links() -> Vec<u8> {
    const NOTHING: FileEnd = FileEnd { digest: 0x2D06_8005_38D3_94C2, size: 0 };
    let mut out = vec![0; ITEM_MAX];
    let mut tree = Vec::new();
    let mut add = |write: &dyn Fn(&mut [u8]) -> usize| {
        let length = write(&mut out);
        tree.extend_from_slice(&out[..length]);
    };
    let file = Meta::file(0o644, 0, Timestamp::NONE);
    let folder = Meta { mode: 0o040_755, ..file };
    let link = Meta { mode: 0o120_777, flags: 0, ..file };
    let hard = Meta { flags: meta_flag::LINK, ..file };
    add(&|out| encode_entry(out, &folder, b"", b""));
    add(&|out| encode_entry(out, &link, b"l", b"../../outside"));
    for name in [b"c", b"l"] {
        add(&|out| encode_entry(out, &folder, name, b""));
        add(&|out| encode_entry(out, &file, b"file", b""));
        add(&|out| encode_end(out, &NOTHING));
        add(&|out| encode_entry(out, &hard, b"hard", b"c/file"));
        add(&|out| encode_leave(out, &folder));
    }
    add(&|out| encode_leave(out, &folder));
    tree
}

/// What an agent says on a port to the client whose connection has the number 0, up to the end.
fn answer_of_port() -> Vec<u8> {
    let mut port = Port::agent();
    port.take_over(0);
    // What comes first is longer than an input, and only ends what was said before.
    port.handle_transmitted(usize::MAX);
    let mut said = Vec::new();
    for text in [&b"hello"[..], &[7; 300]] {
        port.send(&[text], usize::MAX);
        said.extend_from_slice(port.transmit());
        port.handle_transmitted(usize::MAX);
    }
    port.finish();
    said.extend_from_slice(port.transmit());
    said
}

/// Bytes that are as good as drawn.
fn choices(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    let length = draw() as usize % LONGEST;
    (0..length).map(|_| draw() as u8).collect()
}
