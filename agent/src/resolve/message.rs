//! What is asked of a name server and what it says, RFC 1035 section 4: the addresses of one name.
//!
//! ```text
//!  0  2  id          12  …  question: name, type, class
//!  2  2  flags        …  …  answers: name, type, class, TTL, length, data
//!  4  8  how many questions, answers, authorities, further records
//! ```

use core::net::IpAddr;

use arrayvec::ArrayVec;

use super::Addresses;

/// Bytes of a message over UDP.
pub const MESSAGE_MAX: usize = 512;
const HEADER_LEN: usize = 12;
/// Bytes of a name in a message.
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;
/// Bytes of a question, with its header.
const QUERY_MAX: usize = HEADER_LEN + NAME_MAX + 4;
/// Types of records: an address of IPv4, and one of IPv6 (RFC 3596).
const TYPES: [u16; 2] = [1, 28];
const CLASS_IN: u16 = 1;
/// Flags: it is a reply; a resolver is to ask others; how it ended.
const REPLY: u16 = 1 << 15;
const RECURSION: u16 = 1 << 8;
const CODE: u16 = 0xF;
/// There is no such name.
const NO_SUCH_NAME: u16 = 3;
/// What the two highest bits of a length say where another place in the message stands for the rest of a name.
const POINTER: u8 = 0xC0;

/// The name of a host, as messages have it.
#[derive(Debug)]
pub struct Question {
    name: ArrayVec<u8, NAME_MAX>,
}

impl Question {
    /// The name `host`, with `domain` behind it where that is not empty; `None` where that is not a name.
    #[must_use]
    pub fn new(host: &[u8], domain: &[u8]) -> Option<Self> {
        let mut name = ArrayVec::new_const();
        for text in [host, domain] {
            let text = text.strip_suffix(b".").unwrap_or(text);
            for label in text.split(|&byte| byte == b'.').filter(|_| !text.is_empty()) {
                if !(1..=LABEL_MAX).contains(&label.len()) {
                    return None;
                }
                name.try_push(label.len() as u8).ok()?;
                name.try_extend_from_slice(label).ok()?;
            }
        }
        name.try_push(0).ok()?;
        Some(Self { name })
    }
}

/// What has come of asking for both kinds of address.
#[derive(Debug)]
pub struct Reply<'q> {
    question: &'q Question,
    /// Of the two messages, and whether each was answered.
    ids: [u16; 2],
    is_answered: [bool; 2],
    /// The server cannot tell; another one may.
    pub has_failed: bool,
    /// What was found.
    pub addresses: Addresses,
}

impl<'q> Reply<'q> {
    /// Nothing yet. The ids are to be unpredictable.
    #[must_use]
    pub fn new(question: &'q Question, [a, b, c, d]: [u8; 4]) -> Self {
        // Each question has an id of its own.
        let ids = [u16::from_be_bytes([a, b]) & !1, u16::from_be_bytes([c, d]) | 1];
        Self { question, ids, is_answered: [false; 2], has_failed: false, addresses: Addresses::new_const() }
    }

    /// The two messages to send.
    pub fn queries(&self) -> [ArrayVec<u8, QUERY_MAX>; 2] {
        core::array::from_fn(|at| {
            let mut query = ArrayVec::new_const();
            let numbers = [self.ids.get(at).copied().unwrap_or(0), RECURSION, 1, 0, 0, 0];
            let ends = [TYPES.get(at).copied().unwrap_or(0), CLASS_IN];
            query.extend(numbers.into_iter().flat_map(u16::to_be_bytes));
            query.extend(self.question.name.iter().copied());
            query.extend(ends.into_iter().flat_map(u16::to_be_bytes));
            query
        })
    }

    /// Both kinds were answered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_answered == [true; 2]
    }

    /// It can be gone by: one kind of address is as good as both, where the other never comes or cannot be told.
    #[must_use]
    pub fn is_told(&self) -> bool {
        !self.addresses.is_empty() || (self.is_complete() && !self.has_failed)
    }

    /// Takes a message that came. What is no answer to a question of ours is as if it had not come.
    pub fn take(&mut self, message: &[u8]) {
        let Some(id) = number(message, 0) else { return };
        for (at, wanted) in self.ids.into_iter().enumerate() {
            let kind = TYPES.get(at).copied().unwrap_or(0);
            let is_new = self.is_answered.get(at) == Some(&false);
            if id == wanted && is_new && self.read(message, kind).is_some() {
                self.is_answered.get_mut(at).into_iter().for_each(|place| *place = true);
            }
        }
    }

    fn read(&mut self, message: &[u8], kind: u16) -> Option<()> {
        let flags = number(message, 2)?;
        let code = flags & CODE;
        let behind = message.get(HEADER_LEN..)?.get(self.question.name.len()..)?;
        let asked = message.get(HEADER_LEN..)?.get(..self.question.name.len())?;
        let is_ours = number(message, 4)? == 1
            && asked.eq_ignore_ascii_case(&self.question.name)
            && number(behind, 0)? == kind;
        if flags & REPLY == 0 || !is_ours {
            return None;
        }
        self.has_failed |= code != 0 && code != NO_SUCH_NAME;
        let mut rest = behind.get(4..)?;
        for _ in 0..number(message, 6)? {
            // A reply that was cut short has what it has.
            let Some((record, data, next)) = record(rest) else { break };
            if record == kind
                && let Some(address) = address(data)
            {
                let _ = self.addresses.try_push(address);
            }
            rest = next;
        }
        Some(())
    }
}

/// The first record: its type, its data, and what follows.
fn record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        let (&length, tail) = rest.split_first()?;
        rest = tail;
        if length & POINTER == POINTER {
            rest = rest.get(1..)?;
            break;
        }
        if length == 0 {
            break;
        }
        rest = rest.get(usize::from(length)..)?;
    }
    let length = usize::from(number(rest, 8)?);
    let (data, next) = rest.get(10..)?.split_at_checked(length)?;
    Some((number(rest, 0)?, data, next))
}

/// An address of 4 or of 16 bytes.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(octets.into()));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(octets.into()))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&two| u16::from_be_bytes(two))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question::new(b"www", b"example.org.").unwrap()
    }

    /// An answer to a query: its bytes with these flags, and records behind.
    fn answer(query: &[u8], flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut answer = query.to_vec();
        answer[2..4].copy_from_slice(&flags.to_be_bytes());
        answer[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            answer.extend_from_slice(&[0xC0, 12]);
            answer.extend_from_slice(&kind.to_be_bytes());
            answer.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
            answer.extend_from_slice(data);
        }
        answer
    }

    #[test]
    fn rfc_1035_a_name_is_labels_behind_their_lengths() {
        assert_eq!(&question().name[..], b"\x03www\x07example\x03org\0");
        assert_eq!(&Question::new(b"a.b.", b"").unwrap().name[..], b"\x01a\x01b\0");
        for none in [&b"a..b"[..], b".a", &[b'x'; 64], &b"long.".repeat(60)] {
            assert!(Question::new(none, b"").is_none());
        }
    }

    #[test]
    fn both_kinds_are_asked_for_and_taken_from_a_chain_of_aliases() {
        let question = question();
        let mut reply = Reply::new(&question, [1, 1, 2, 2]);
        let [four, six] = reply.queries();
        assert_eq!(&four[..12], [1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!((&four[29..], &six[29..]), (&[0, 1, 0, 1][..], &[0, 28, 0, 1][..]));
        let alias = (5, &b"\x05other\xC0\x10"[..]);
        reply.take(&answer(&four, 0x8180, &[alias, (1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2])]));
        assert!(!reply.is_complete());
        reply.take(&answer(&six, 0x8180, &[alias]));
        assert!(reply.is_complete());
        let expected: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(&reply.addresses[..], expected);
    }

    #[test]
    fn what_is_not_an_answer_to_the_question_counts_for_nothing() {
        let question = question();
        let record: [(u16, &[u8]); 1] = [(1, &[192, 0, 2, 1])];
        let fresh = || Reply::new(&question, [1, 1, 2, 2]);
        let query = &fresh().queries()[0][..];
        let right = answer(query, 0x8180, &record);
        for at in [0, 2, 5, 13, 20, 30, 32] {
            let mut wrong = right.clone();
            wrong[at] ^= 0x81;
            let mut reply = fresh();
            reply.take(&wrong);
            assert!(at == 32 || reply.addresses.is_empty(), "byte {at}");
        }
        for (flags, is_answer, is_failure) in
            [(0x8182, true, true), (0x8183, true, false), (0x8185, true, true), (0x0100, false, false)]
        {
            let mut reply = fresh();
            reply.take(&answer(query, flags, &[]));
            assert_eq!((reply.is_answered[0], reply.has_failed), (is_answer, is_failure));
        }
        // Not twice.
        let mut reply = fresh();
        reply.take(&right);
        reply.take(&right);
        assert_eq!(reply.addresses.len(), 1);
    }

    #[test]
    fn one_kind_that_cannot_be_told_does_not_take_the_other_one_away() {
        let question = question();
        let record: [(u16, &[u8]); 1] = [(1, &[192, 0, 2, 1])];
        for (records, is_told) in [(&record[..], true), (&[], false)] {
            let mut reply = Reply::new(&question, [1, 1, 2, 2]);
            let [four, six] = reply.queries();
            reply.take(&answer(&six, 0x8182, &[]));
            assert!(!reply.is_complete() && !reply.is_told(), "the other one is waited for");
            reply.take(&answer(&four, 0x8180, records));
            assert!(reply.is_complete());
            assert_eq!(reply.is_told(), is_told);
        }
    }

    #[test]
    fn an_answer_that_was_cut_has_what_it_has() {
        let question = question();
        let whole = {
            let reply = Reply::new(&question, [1, 1, 2, 2]);
            answer(&reply.queries()[0], 0x8380, &[(1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2])])
        };
        for length in 0..=whole.len() {
            let mut reply = Reply::new(&question, [1, 1, 2, 2]);
            reply.take(&whole[..length]);
            let records = length.saturating_sub(33) / 16;
            assert_eq!(reply.addresses.len(), records, "{length} bytes");
        }
    }
}
