//! Tests of `stdio` on every kind of descriptor: it neither blocks nor changes what others see.

use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::net::UnixStream;

use rustix::fs::fcntl_getfl;
use rustix::pipe::pipe;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use super::*;

/// More than any pipe, pty or socket buffer of this size of test holds.
const PLENTY: usize = 8 << 20;

fn pty() -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    (master, slave)
}

/// Writes until it would block, and tells how much that was.
#[track_caller]
fn fill(sink: &mut Sink) -> usize {
    let mut total = 0;
    while total < PLENTY {
        match sink.write(&[b'x'; 10_000]) {
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never refused anything");
}

#[track_caller]
fn is_shared_description_untouched(fd: &impl AsFd) {
    assert!(!fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK));
}

#[track_caller]
fn would_block(result: io::Result<usize>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_pipe_is_read_without_blocking_until_its_end() {
    let (reader, writer) = pipe().unwrap();
    let mut source = Source::new(reader.as_fd()).unwrap();
    assert_eq!(source.0.manner, Manner::Own);
    let mut buffer = [0; 16];
    would_block(source.read(&mut buffer));
    is_shared_description_untouched(&reader);
    rustix::io::write(&writer, b"abc").unwrap();
    assert_eq!(source.read(&mut buffer).unwrap(), 3);
    drop(writer);
    assert_eq!(source.read(&mut buffer).unwrap(), 0);
}

#[test]
fn a_full_pipe_is_told_and_one_without_readers_too() {
    let (reader, writer) = pipe().unwrap();
    let mut sink = Sink::new(writer.as_fd()).unwrap();
    assert_eq!(sink.0.manner, Manner::Own);
    assert!(fill(&mut sink) >= ATOMIC_BYTES);
    is_shared_description_untouched(&writer);
    drop(reader);
    assert_eq!(sink.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    // A pipe that has no reader at the start cannot be opened anew; the first write has to tell.
    let mut late = Sink::new(writer.as_fd()).unwrap();
    assert_eq!(late.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_terminal_is_read_and_written_without_blocking() {
    let (master, slave) = pty();
    let mut source = Source::new(slave.as_fd()).unwrap();
    let mut sink = Sink::new(slave.as_fd()).unwrap();
    assert_eq!((source.0.manner, sink.0.manner), (Manner::Own, Manner::Own));
    let mut buffer = [0; 16];
    would_block(source.read(&mut buffer));
    rustix::io::write(&master, b"line\n").unwrap();
    assert_eq!(source.read(&mut buffer).unwrap(), 5);
    assert!(fill(&mut sink) > 0);
    is_shared_description_untouched(&slave);
}

#[test]
fn a_pty_master_is_not_opened_anew() {
    let (master, slave) = pty();
    let mut source = Source::new(master.as_fd()).unwrap();
    assert_eq!(source.0.manner, Manner::Asked);
    let mut buffer = [0; 16];
    would_block(source.read(&mut buffer));
    rustix::io::write(&slave, b"out").unwrap();
    assert_eq!(source.read(&mut buffer).unwrap(), 3);
}

#[test]
fn a_socket_is_used_without_blocking_and_without_a_signal() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut source = Source::new(ours.as_fd()).unwrap();
    let mut sink = Sink::new(ours.as_fd()).unwrap();
    assert_eq!((source.0.manner, sink.0.manner), (Manner::Socket, Manner::Socket));
    let mut buffer = [0; 16];
    would_block(source.read(&mut buffer));
    theirs.write_all(b"abc").unwrap();
    assert_eq!(source.read(&mut buffer).unwrap(), 3);
    assert!(fill(&mut sink) > 0);
    is_shared_description_untouched(&ours);
    drop(theirs);
    assert_eq!(sink.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_file_is_used_as_it_is_at_the_shared_offset() {
    let path = std::env::temp_dir().join(format!("vsock-shell-stdio-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(b"before ").unwrap();
    let mut sink = Sink::new(file.as_fd()).unwrap();
    assert_eq!(sink.0.manner, Manner::Ready);
    assert_eq!(sink.write(b"after").unwrap(), 5);
    file.rewind().unwrap();
    let mut source = Source::new(file.as_fd()).unwrap();
    let mut buffer = [0; 7];
    assert_eq!(source.read(&mut buffer).unwrap(), 7);
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "after");
    assert_eq!(source.read(&mut buffer).unwrap(), 0);
}

#[test]
fn null_is_at_its_end_and_takes_everything() {
    let mut source = Source::null().unwrap();
    assert_eq!(source.read(&mut [0; 16]).unwrap(), 0);
    let null = File::options().write(true).open("/dev/null").unwrap();
    let mut sink = Sink::new(null.as_fd()).unwrap();
    assert_eq!(sink.0.manner, Manner::Ready);
    assert_eq!(sink.write(&[0; 100_000]).unwrap(), 100_000);
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(Sink::new(full.as_fd()).unwrap().write(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn without_a_description_of_its_own_a_pipe_is_asked_first() {
    let (reader, writer) = pipe().unwrap();
    let mut source = Source(Access { fd: reader.try_clone().unwrap(), manner: Manner::Asked });
    let mut sink = Sink(Access { fd: writer.try_clone().unwrap(), manner: Manner::Asked });
    would_block(source.read(&mut [0; 4]));
    assert_eq!(sink.write(&[1; 10_000]).unwrap(), ATOMIC_BYTES);
    assert!(fill(&mut sink) >= 8 * ATOMIC_BYTES);
    assert_eq!(source.read(&mut [0; 4]).unwrap(), 4);
    drop(writer);
    is_shared_description_untouched(&reader);
}
