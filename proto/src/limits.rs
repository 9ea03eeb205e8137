//! Every limit of the protocol and of its buffers, tied to each other by `const` assertions.
//!
//! Memory of one agent session, all of it zero at start and touched only when used:
//!
//! ```text
//!   ring       RING_LEN                                256 KiB
//! + pool       POOL_BLOCKS × BLOCK_STRIDE              12 MiB
//! + channels   CHANNEL_IDS × size_of::<Channel>()      about 200 KiB
//! ```
//!
//! The process of a job has `2 × KEPT_LEN` besides. A client sizes its pool and table by what it wants to open ([`pool_len`]).

/// Bytes of a preamble and of its answer (`PROTOCOL.md` §3).
pub const PREAMBLE_LEN: usize = 64;
/// Bytes of payload in a DATA record (`R-4.1`).
pub const RECORD_PAYLOAD_MAX: usize = 256 * 1024;
/// Bytes of payload in a record of a type we do not know and may skip (`R-4.1`).
pub const RECORD_SKIP_MAX: usize = 64 * 1024;
/// Bytes of a record's header, and of a frame's.
pub const HEADER_LEN: usize = 8;
/// Bytes of payload in a frame (§2).
pub const FRAME_PAYLOAD_MAX: usize = 64 * 1024;
/// Bytes of payload in any frame but DATA.
pub const CONTROL_PAYLOAD_MAX: usize = 512;
/// Bytes of text in REFUSED and EXIT.
pub const TEXT_MAX: usize = 256;
/// Bytes of the software's name and version in HELLO.
pub const SOFTWARE_MAX: usize = 64;
/// Channel ids are below this (`R-6.1`): half of them even, for the client's, half odd, for the agent's.
pub const CHANNEL_IDS: usize = 1024;
/// Channels that one side keeps open at once, whoever opened them.
pub const CHANNELS_MAX: usize = 512;
/// Flows of a channel (`R-6.2`).
pub const FLOWS: usize = 4;
/// Flows of a channel that one side receives.
pub const FLOWS_IN: usize = 2;
/// Credit of every flow when its channel opens, in bytes (`R-6.5`).
pub const INITIAL_CREDIT: usize = 4096;
/// The largest window of a flow, in bytes.
pub const WINDOW_MAX: usize = 512 * 1024;
/// Bytes of an agent's request (arguments and environment): what `request_max` of its HELLO says.
pub const REQUEST_MAX: usize = 1024 * 1024;

/// Bytes that are due an acknowledgement at the latest (`R-4.6`).
pub const ACK_EVERY: usize = 64 * 1024;
/// Bytes of the transmit ring of a program: what is sent and not acknowledged, and what is not sent.
pub const RING_LEN: usize = 256 * 1024;
/// The most that is framed and not sent (`R-6.14`); less on a slow transport.
pub const FRESH_MAX: usize = 64 * 1024;
/// The least that may be framed and not sent, on the slowest transport.
pub const FRESH_MIN: usize = 512;
/// What may be framed and not sent before anything was measured.
pub const FRESH_START: usize = 16 * 1024;

/// Bytes that a pool block holds.
pub const BLOCK_LEN: usize = 4096;
/// Bytes that a pool block takes: its content, and the number of the next.
pub const BLOCK_STRIDE: usize = BLOCK_LEN + 2;
/// Blocks that any flow we receive can always have: its initial window, and one that is partly read.
pub const BLOCKS_PER_FLOW: usize = INITIAL_CREDIT / BLOCK_LEN + 1;
/// Blocks of an agent's pool that windows may grow into.
pub const SURPLUS_BLOCKS: usize = 1024;
/// Blocks of an agent's pool: 12 MiB.
pub const POOL_BLOCKS: usize = pool_blocks(CHANNELS_MAX, SURPLUS_BLOCKS);
/// Bytes of an agent's pool.
pub const POOL_LEN: usize = pool_len(CHANNELS_MAX, SURPLUS_BLOCKS);

/// Sessions at once. Jobs do not count.
pub const SESSIONS_MAX: usize = 256;
/// Jobs at once, the ended ones that wait for somebody to read their status among them.
pub const JOBS_MAX: usize = 64;
/// Clients at once that a job tells of itself for longer than a moment.
pub const WATCHERS_MAX: usize = 8;
/// Bytes that are kept of each of the two outputs of a job.
pub const KEPT_LEN: usize = 1024 * 1024;

/// Bytes of an entry's name in a tree stream (§10).
pub const NAME_MAX: usize = 255;
/// Bytes of a path, and of a symbolic link's target.
pub const PATH_MAX: usize = 4095;
/// Bytes of an extended attribute's value.
pub const ATTRIBUTE_MAX: usize = 64 * 1024;
/// Directories inside each other in a tree stream.
pub const TREE_DEPTH_MAX: usize = 128;
/// Bytes of all patterns that a get leaves out, with their NULs.
pub const EXCLUDES_MAX: usize = 4096;

/// Bytes of payload in a serial record (§8).
pub const SERIAL_PAYLOAD_MAX: usize = 4096;

/// Bytes that a pool needs for `channels` open channels and `surplus` blocks for windows to grow into.
#[must_use]
pub const fn pool_len(channels: usize, surplus: usize) -> usize {
    pool_blocks(channels, surplus) * BLOCK_STRIDE
}

/// Blocks that a pool needs for `channels` open channels and `surplus` blocks for windows to grow into.
#[must_use]
pub const fn pool_blocks(channels: usize, surplus: usize) -> usize {
    channels * FLOWS_IN * BLOCKS_PER_FLOW + surplus
}

const _: () = assert!(INITIAL_CREDIT.is_multiple_of(BLOCK_LEN) && WINDOW_MAX.is_multiple_of(BLOCK_LEN));
const _: () = assert!(POOL_BLOCKS <= u16::MAX as usize, "blocks are numbered from 1 by u16");
const _: () =
    assert!(WINDOW_MAX / BLOCK_LEN < SURPLUS_BLOCKS / 4, "one flow alone reaches its largest window");
const _: () = assert!(CHANNELS_MAX <= CHANNEL_IDS && CHANNEL_IDS <= u16::MAX as usize);
const _: () = assert!(FRESH_MAX + 2 * HEADER_LEN <= RECORD_PAYLOAD_MAX);
const _: () =
    assert!(FRESH_MAX + ACK_EVERY < RING_LEN, "a peer that acknowledges as late as it may never stops us");
const _: () = assert!(RING_LEN.is_power_of_two() && KEPT_LEN.is_power_of_two());
const _: () = assert!(TEXT_MAX <= BLOCK_LEN, "a text waits in one block");
const _: () = assert!(TEXT_MAX + 8 <= CONTROL_PAYLOAD_MAX && SOFTWARE_MAX + 32 <= CONTROL_PAYLOAD_MAX);
