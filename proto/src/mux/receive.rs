//! Frames taken apart: what the peer may say when, and what it means for our driver.

use core::ops::DerefMut;

use arrayvec::ArrayVec;

use super::{Closing, Event, Mux};
use crate::channel::{Channel, FlowMarks, Marks};
use crate::code::{CloseCode, RefusalCode};
use crate::frame::{ChannelId, ChannelKind, Flow, FrameType, Header, Hello, Outcome, WindowSize, is_signal};
use crate::limits::{CHANNEL_IDS, CONTROL_PAYLOAD_MAX, HEADER_LEN};
use crate::mux::Side;
use crate::wire::{array, beginning, put, u32_at, u64_at};

/// The payload of a control frame and zeros behind it, so that nobody has to ask whether a field is there.
type Payload = [u8; CONTROL_PAYLOAD_MAX];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Header,
    Data { channel: ChannelId, flow: Flow, left: u32, wanted: bool },
    Control { header: Header },
    Skip { left: u32 },
}

/// How far into a frame we are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Receiver {
    state: State,
    /// A header, or the payload of a control frame, as far as it came.
    partial: ArrayVec<u8, CONTROL_PAYLOAD_MAX>,
}

impl Receiver {
    pub(crate) const fn new() -> Self {
        Self { state: State::Header, partial: ArrayVec::new_const() }
    }

    /// Moves bytes from `input` to `partial` until that has `length`; whether it has, and how many were moved.
    fn gather(&mut self, input: &[u8], length: usize) -> (bool, usize) {
        let missing = length.saturating_sub(self.partial.len());
        let part = input.get(..missing).unwrap_or(input);
        let fits = self.partial.try_extend_from_slice(part);
        debug_assert!(fits.is_ok(), "lengths were checked with the header");
        (self.partial.len() >= length, part.len())
    }
}

impl<P: DerefMut<Target = [u8]>, C: DerefMut<Target = [Channel]>> Mux<P, C> {
    /// Takes bytes of the peer's stream from the front of `input`: how many, and what they mean. Without an event all
    /// were taken. Work is bounded by the length of `input`.
    #[inline(never)]
    pub(crate) fn handle_received<'i>(
        &mut self,
        input: &'i [u8],
    ) -> Result<(usize, Option<Event<'i>>), CloseCode> {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            if let State::Control { header } = self.receiver.state {
                let (complete, part) = self.receiver.gather(rest, header.length as usize);
                taken += part;
                if complete {
                    self.receiver.state = State::Header;
                    let mut payload = [0; CONTROL_PAYLOAD_MAX];
                    put(&mut payload, 0, &self.receiver.partial);
                    self.receiver.partial.clear();
                    if let Some(event) = self.handle_control(header, &payload)? {
                        return Ok((taken, Some(event)));
                    }
                    continue;
                }
            }
            if rest.is_empty() {
                return Ok((taken, None));
            }
            match self.receiver.state {
                State::Header => {
                    let (complete, part) = self.receiver.gather(rest, HEADER_LEN);
                    taken += part;
                    if complete {
                        let header = Header::parse(array(&self.receiver.partial, 0))?;
                        self.receiver.partial.clear();
                        self.receiver.state = self.begin(header)?;
                    }
                }
                State::Data { channel, flow, left, wanted } => {
                    let bytes = rest.get(..left as usize).unwrap_or(rest);
                    let left = left - bytes.len() as u32;
                    self.receiver.state = match left {
                        0 => State::Header,
                        _ => State::Data { channel, flow, left, wanted },
                    };
                    taken += bytes.len();
                    if wanted && self.wants(channel, flow) {
                        return Ok((taken, Some(Event::Data { channel, flow, bytes })));
                    }
                }
                State::Skip { left } => {
                    let part = rest.len().min(left as usize);
                    taken += part;
                    let left = left - part as u32;
                    self.receiver.state = if left == 0 { State::Header } else { State::Skip { left } };
                }
                // Its payload is not complete, and all of the input was taken.
                State::Control { .. } => return Ok((taken, None)),
            }
        }
    }

    /// What follows a header.
    #[inline(never)]
    fn begin(&mut self, header: Header) -> Result<State, CloseCode> {
        let hello = header.kind == Some(FrameType::Hello);
        if hello == self.peer.is_some() {
            return Err(CloseCode::Hello);
        }
        match header.kind {
            None if header.length == 0 => Ok(State::Header),
            None => Ok(State::Skip { left: header.length }),
            Some(FrameType::Data) => self.begin_data(header),
            Some(_) => Ok(State::Control { header }),
        }
    }

    /// Counts the whole frame at its header, so that a peer that promises more than its credit is found at once.
    fn begin_data(&mut self, header: Header) -> Result<State, CloseCode> {
        if self.is_closed() {
            return Ok(State::Skip { left: header.length });
        }
        let id = ChannelId(header.channel);
        let channel = self.talking_channel(id).ok_or(CloseCode::ChannelState)?;
        let flow =
            Flow::from_number(header.flow).filter(|&flow| !channel.sends(flow)).ok_or(CloseCode::Flow)?;
        let early = channel.is_ours() && !channel.marks.has(Marks::ANSWERED.and(Marks::LEFT));
        let wanted = !channel.marks.has(Marks::LEFT);
        let state = channel.flow(flow);
        if state.marks.has(FlowMarks::FINISHED) {
            return Err(CloseCode::Flow);
        }
        if early {
            return Err(CloseCode::ChannelState);
        }
        let length = u64::from(header.length);
        if length > state.limit - state.offset {
            return Err(CloseCode::CreditExceeded);
        }
        state.offset += length;
        Ok(State::Data { channel: id, flow, left: header.length, wanted })
    }

    /// What comes is dropped: one of us has closed.
    fn is_closed(&self) -> bool {
        matches!(self.closing, Closing::Sent | Closing::Received)
    }

    /// A channel on which the peer may say something (`R-6.13`).
    fn peers_channel(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.any_channel(id).filter(|channel| !channel.marks.has(Marks::PEER_RELEASED.and(Marks::OPEN_DUE)))
    }

    /// A channel on which the peer may say something else than RELEASE: not after its REFUSED or EXIT (`R-6.12`).
    fn talking_channel(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.peers_channel(id).filter(|channel| !channel.marks.has(Marks::OVER))
    }

    #[inline(never)]
    fn handle_control(
        &mut self,
        header: Header,
        payload: &Payload,
    ) -> Result<Option<Event<'static>>, CloseCode> {
        let id = ChannelId(header.channel);
        match header.kind {
            Some(FrameType::Hello) => {
                self.peer = Some(Hello::parse(payload.get(..header.length as usize).unwrap_or_default())?);
                return Ok(Some(Event::Hello));
            }
            // Answered also by a side that closed at the same time: each waits for the other's BYE.
            Some(FrameType::Close) if self.closing != Closing::Received => {
                self.closing = Closing::Received;
                return Ok(Some(Event::Closed { code: CloseCode::from_number(u32_at(payload, 0)) }));
            }
            _ if self.is_closed() => return Ok(None),
            Some(FrameType::Open) => {
                return self.handle_open(id, ChannelKind::from_number(array::<1>(payload, 0)[0]));
            }
            Some(FrameType::Reset) => {
                return self.handle_reset(id, CloseCode::from_number(u32_at(payload, 0)));
            }
            Some(FrameType::Release) => return self.handle_release(id),
            _ => {}
        }
        let channel = self.talking_channel(id).ok_or(CloseCode::ChannelState)?;
        let ours = channel.is_ours();
        let early = ours && !channel.marks.has(Marks::ANSWERED);
        match header.kind {
            Some(FrameType::Accepted | FrameType::Refused | FrameType::Exit) => {
                if ours {
                    self.handle_answer(id, header, payload)
                } else {
                    Err(CloseCode::ChannelState)
                }
            }
            Some(FrameType::Signal) => {
                let number = u32_at(payload, 0);
                if !is_signal(number) {
                    return Err(CloseCode::Value);
                }
                Ok(self.channel(id).filter(|_| !ours).map(|_| Event::Signal { channel: id, number }))
            }
            Some(FrameType::Resize) => {
                let size = WindowSize::parse(payload);
                Ok(self.channel(id).filter(|_| !ours).map(|_| Event::Resized { channel: id, size }))
            }
            // Not before the answer.
            Some(FrameType::Detach) if early => Err(CloseCode::ChannelState),
            Some(FrameType::Detach) => {
                Ok(self.channel(id).map(|_| Event::Detach { channel: id, value: u32_at(payload, 0) }))
            }
            _ => self.handle_flow(id, header, payload),
        }
    }

    #[inline(never)]
    fn handle_open(&mut self, id: ChannelId, kind: ChannelKind) -> Result<Option<Event<'static>>, CloseCode> {
        let peers = match self.side {
            Side::Client => id.0 % 2 == 1,
            Side::Agent => id.0.is_multiple_of(2),
        };
        let full = self.open >= self.open_max;
        let announced = (self.hello.channels as usize).saturating_mul(2).min(CHANNEL_IDS);
        let place = self
            .channels
            .get_mut(usize::from(id.0))
            .filter(|place| peers && usize::from(id.0) < announced && !place.marks.has(Marks::OPEN));
        *place.ok_or(CloseCode::ChannelId)? = Channel::new(kind, false);
        self.open += 1;
        if full {
            self.refuse(id, RefusalCode::TooMany, 0, b"");
            return Ok(None);
        }
        Ok(Some(Event::Opened { channel: id, kind }))
    }

    /// ACCEPTED, REFUSED or EXIT on a channel that we opened.
    fn handle_answer(
        &mut self,
        id: ChannelId,
        header: Header,
        payload: &Payload,
    ) -> Result<Option<Event<'static>>, CloseCode> {
        let channel = self.talking_channel(id).ok_or(CloseCode::ChannelState)?;
        let left = channel.marks.has(Marks::LEFT);
        let answered = channel.marks.has(Marks::ANSWERED);
        let finished = [Flow::Output, Flow::Error]
            .iter()
            .all(|&flow| channel.flow_ref(flow).marks.has(FlowMarks::FINISHED));
        let event = match header.kind {
            Some(FrameType::Exit) if answered && finished => {
                channel.marks.set(Marks::OVER);
                Event::Exited { channel: id, outcome: Outcome::parse(payload)? }
            }
            Some(FrameType::Accepted) if !answered => {
                channel.marks.set(Marks::ANSWERED);
                Event::Accepted { channel: id, value: u64_at(payload, 0) }
            }
            Some(FrameType::Refused) if !answered => {
                channel.marks.set(Marks::ANSWERED.and(Marks::OVER));
                let code = RefusalCode::from_number(u32_at(payload, 0));
                Event::Refused { channel: id, code, errno: u32_at(payload, 4) }
            }
            _ => return Err(CloseCode::ChannelState),
        };
        if left {
            return Ok(None);
        }
        self.text = beginning(payload.get(8..header.length as usize).unwrap_or_default());
        if let Event::Refused { .. } = event {
            self.release(id);
        }
        Ok(Some(event))
    }

    fn handle_flow(
        &mut self,
        id: ChannelId,
        header: Header,
        payload: &Payload,
    ) -> Result<Option<Event<'static>>, CloseCode> {
        let channel = self.talking_channel(id).ok_or(CloseCode::ChannelState)?;
        let flow = Flow::from_number(header.flow).ok_or(CloseCode::Flow)?;
        let sends = channel.sends(flow);
        let left = channel.marks.has(Marks::LEFT);
        let early = channel.is_ours() && !channel.marks.has(Marks::ANSWERED);
        let state = channel.flow(flow);
        let mut finished = false;
        let event = match header.kind {
            Some(FrameType::Finish) if !sends && !state.marks.has(FlowMarks::FINISHED) => {
                if early && !left {
                    return Err(CloseCode::ChannelState);
                }
                state.marks.set(FlowMarks::FINISHED);
                state.marks.take(FlowMarks::CREDIT_DUE);
                // What may still have come will not.
                state.limit = state.offset;
                finished = !left && !state.marks.has(FlowMarks::STOPPED);
                Some(Event::Finished { channel: id, flow }).filter(|_| finished)
            }
            Some(FrameType::Stop) if sends => {
                let known = state.marks.has(FlowMarks::STOPPED);
                state.marks.set(FlowMarks::STOPPED);
                if !state.marks.has(FlowMarks::FINISHED) && !left {
                    state.marks.set(FlowMarks::FINISH_DUE);
                    self.mark_due(id);
                }
                Some(Event::Stopped { channel: id, flow }).filter(|_| !known)
            }
            Some(FrameType::Credit) if sends => {
                let limit = u64_at(payload, 0);
                if limit < state.limit {
                    return Err(CloseCode::CreditRange);
                }
                state.limit = limit;
                Some(Event::Credit { channel: id, flow })
            }
            _ => return Err(CloseCode::Flow),
        };
        if finished {
            self.consumed(id, flow, 0);
        }
        Ok(event.filter(|_| !left))
    }

    fn handle_reset(&mut self, id: ChannelId, code: CloseCode) -> Result<Option<Event<'static>>, CloseCode> {
        let channel = self.talking_channel(id).ok_or(CloseCode::ChannelState)?;
        let left = channel.marks.has(Marks::LEFT);
        channel.marks.set(Marks::PEER_RELEASED);
        if !left {
            channel.marks.set(Marks::RELEASE_DUE);
            self.leave(id);
        }
        self.settle(id);
        Ok((!left).then_some(Event::Reset { channel: id, code }))
    }

    fn handle_release(&mut self, id: ChannelId) -> Result<Option<Event<'static>>, CloseCode> {
        let channel = self.peers_channel(id).ok_or(CloseCode::ChannelState)?;
        let left = channel.marks.has(Marks::LEFT);
        if channel.is_ours() && !channel.marks.has(Marks::OVER) && !left {
            return Err(CloseCode::ChannelState);
        }
        channel.marks.set(Marks::PEER_RELEASED);
        let abandoned = !channel.is_ours() && !left;
        if abandoned {
            channel.marks.set(Marks::RELEASE_DUE);
            self.leave(id);
        }
        self.settle(id);
        Ok(abandoned.then_some(Event::Reset { channel: id, code: CloseCode::Cancelled }))
    }
}
