//! Whatever one session does, another one goes on with its work.
//!
//! Compared is how long some commands take in a session that is open, beside a hostile neighbour and beside a well-behaved one
//! that moves data as fast as it can. Not beside an idle machine: each session has processes of its own, between which the kernel
//! divides the processors, and whoever may have a session may use them. What must not be is that a hostile one, with one session
//! at a time, does more harm than that. Runs of the two alternate, and their medians count, so that other load on the machine meets both.

mod guest;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use guest::frames::{frame, hello, request};
use guest::{Guest, Over, Running, TARGET, payload, until};
use vsock_shell::client::Client;
use vsock_shell::command::Program;
use vsock_shell::target::Target;

/// Commands in a run.
const COMMANDS: usize = 60;
/// Runs of each kind.
const RUNS: usize = 5;
/// How often a neighbour may be found too harmful before that is believed: what is so is so each time.
const TRIES: usize = 3;
/// Records are sent in pieces of so many bytes.
const PIECE: usize = 64 * 1024;

/// What a hostile neighbour says behind HELLO.
struct Neighbour {
    name: &'static str,
    /// Said once.
    first: Vec<u8>,
    /// Then this, again and again.
    flood: Vec<u8>,
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0], &(payload.len() as u32).to_le_bytes()[..], payload].concat()
}

fn repeated(bytes: &[u8]) -> Vec<u8> {
    bytes.repeat(PIECE / bytes.len())
}

/// Those that keep to the protocol as far as the agent goes on with them.
fn tireless() -> Vec<Neighbour> {
    let optional = frame(0x80 | 0x30, 0, 0, b"");
    let one_by_one: Vec<u8> = optional.iter().flat_map(|&byte| record(1, &[byte])).collect();
    let sleep = request(0, 1, b"\x01\x06\0\0sleep\0\x01\x05\0\x001000\0");
    let terminal = request(0, 1, b"\x01\x06\0\0sleep\0\x01\x05\0\x001000\0\x06\x08\0\0\x18\0\x50\0\0\0\0\0");
    let signal = frame(0x17, 0, 0, &18_u32.to_le_bytes());
    let resize = |rows: u8| frame(0x18, 0, 0, &[rows, 0, 80, 0, 0, 0, 0, 0]);
    let said = |name, first, flood| Neighbour { name, first, flood };
    vec![
        said("records of one byte", vec![], repeated(&one_by_one)),
        said("tiny frames that mean nothing", vec![], record(1, &repeated(&optional))),
        said("signs of life", vec![], repeated(&record(3, &[7; 8]))),
        said("records that mean nothing", vec![], repeated(&record(9, &[]))),
        said("signals", record(1, &sleep), record(1, &repeated(&signal))),
        said(
            "sizes of a terminal",
            record(1, &terminal),
            record(1, &repeated(&[resize(20), resize(30)].concat())),
        ),
    ]
}

/// Floods a session, which goes on; `said` counts the pieces.
fn flood(guest: &Guest, neighbour: &Neighbour, is_over: &AtomicBool, said: &AtomicUsize) {
    let mut stream = guest.session(next_id());
    stream.write_all(&[&record(1, &hello())[..], &neighbour.first].concat()).unwrap();
    std::thread::scope(|scope| {
        // What is answered is read, or the flood would stop.
        let mut answers = stream.try_clone().unwrap();
        answers.set_read_timeout(None).unwrap();
        scope.spawn(move || _ = std::io::copy(&mut answers, &mut std::io::sink()));
        while !is_over.load(Ordering::Relaxed) {
            stream.write_all(&neighbour.flood).unwrap();
            said.fetch_add(1, Ordering::Relaxed);
        }
        _ = stream.shutdown(Shutdown::Both);
    });
}

fn next_id() -> u64 {
    static ID: AtomicUsize = AtomicUsize::new(0x2000_0000);
    ID.fetch_add(1, Ordering::Relaxed) as u64
}

/// Begins sessions one after the other, each of which ends by a rule that it breaks.
fn begin_and_break(guest: &Guest, is_over: &AtomicBool, said: &AtomicUsize) {
    while !is_over.load(Ordering::Relaxed) {
        _ = guest.session(next_id()).write_all(&payload(200));
        said.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens connections and says nothing.
fn say_nothing(guest: &Guest, is_over: &AtomicBool, said: &AtomicUsize) {
    while !is_over.load(Ordering::Relaxed) {
        drop(UnixStream::connect(guest.socket()).unwrap());
        said.fetch_add(1, Ordering::Relaxed);
    }
}

/// Begins more requests than it ends, in sessions that it leaves.
fn leave_requests(guest: &Guest, is_over: &AtomicBool, said: &AtomicUsize) {
    let unfinished = |channel| {
        let begun = frame(0x13, 3, channel, &[1, 0xFF, 0x0F, 0, b'x']);
        [frame(0x10, 0, channel, &[1, 0, 0, 0, 0, 0, 0, 0]), begun].concat()
    };
    let all = (0..200).step_by(2).flat_map(unfinished);
    let words = record(1, &hello().into_iter().chain(all).collect::<Vec<_>>());
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = guest.session(next_id());
        _ = stream.write_all(&words).and_then(|()| stream.shutdown(Shutdown::Write));
        // Sessions that end beside each other would be more than one neighbour.
        _ = stream.read_to_end(&mut Vec::new());
        said.fetch_add(1, Ordering::Relaxed);
    }
}

/// The well-behaved one: downloads, and reads all of it.
fn download(guest: &Guest, is_over: &AtomicBool, said: &AtomicUsize) {
    let mut client = Running::start(&mut guest.client([TARGET, "exec cat /dev/zero"]));
    let mut stdout = client.0.stdout.take().unwrap();
    let mut piece = vec![0; PIECE];
    while !is_over.load(Ordering::Relaxed) {
        stdout.read_exact(&mut piece).unwrap();
        said.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long the commands take.
fn work(client: &mut Client) -> Duration {
    let begun = Instant::now();
    for _ in 0..COMMANDS {
        let output = client.command(Program::Argv(vec!["true".into()])).output(Vec::new()).unwrap();
        assert!(output.status.is_success());
    }
    begun.elapsed()
}

type Act<'a> = &'a (dyn Fn(&AtomicBool, &AtomicUsize) + Sync);

/// The same beside a neighbour who does this.
fn work_beside(client: &mut Client, act: Act<'_>) -> Duration {
    let (is_over, said) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| act(&is_over, &said));
        let _over = Over(&is_over);
        until("the neighbour is at it", || said.load(Ordering::Relaxed) > 2);
        let before = said.load(Ordering::Relaxed);
        let time = work(client);
        until("the neighbour is still at it", || said.load(Ordering::Relaxed) > before);
        time
    })
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times[times.len() / 2]
}

#[track_caller]
fn assert_harms_nobody(guest: &Guest, client: &mut Client, name: &str, act: Act<'_>) {
    for number in 1.. {
        let pairs: Vec<_> = (0..RUNS)
            .map(|_| {
                let good = work_beside(client, &|is_over, said| download(guest, is_over, said));
                (good, work_beside(client, act))
            })
            .collect();
        let (good, hostile) =
            (median(pairs.iter().map(|pair| pair.0)), median(pairs.iter().map(|pair| pair.1)));
        eprintln!("{name}: {hostile:.1?}, beside a good neighbour {good:.1?}");
        if hostile < 2 * good {
            return;
        }
        assert!(number < TRIES, "{name}: {hostile:?} instead of {good:?}");
    }
}

#[test]
fn no_neighbour_makes_a_session_twice_as_slow() {
    let guest = Guest::start();
    let target = Target::parse(guest.target().as_ref(), 5000).unwrap();
    let mut client = Client::connect(&target, guest::DEADLINE).unwrap();
    eprintln!("alone: {:.1?}", median((0..RUNS).map(|_| work(&mut client))));
    for neighbour in tireless() {
        assert_harms_nobody(&guest, &mut client, neighbour.name, &|is_over, said| {
            flood(&guest, &neighbour, is_over, said);
        });
    }
    assert_harms_nobody(&guest, &mut client, "sessions that end at once", &|is_over, said| {
        begin_and_break(&guest, is_over, said);
    });
    assert_harms_nobody(&guest, &mut client, "requests that are left", &|is_over, said| {
        leave_requests(&guest, is_over, said);
    });
    assert_harms_nobody(&guest, &mut client, "connections that say nothing", &|is_over, said| {
        say_nothing(&guest, is_over, said);
    });
}
