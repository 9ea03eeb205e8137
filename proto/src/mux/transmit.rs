//! Frames made from state and written into the link's ring, as far as that has room.

use core::ops::DerefMut;

use super::{Closing, Mux};
use crate::channel::{Channel, FlowMarks, Marks};
use crate::frame::{ChannelId, Flow, FrameType, header};
use crate::limits::{CONTROL_PAYLOAD_MAX, FRAME_PAYLOAD_MAX, HEADER_LEN};
use crate::link::Link;

/// The ring has no room for the frame.
struct Full;

impl<P: DerefMut<Target = [u8]>, C: DerefMut<Target = [Channel]>> Mux<P, C> {
    /// Writes what is due. Work is bounded by the channels that have something due, and by the ring.
    pub(crate) fn flush<R: DerefMut<Target = [u8]>>(&mut self, link: &mut Link<R>) {
        // Session frames stand first; without room the rest waits behind them, and is tried again at the next call.
        self.starved = self.flush_all(link).is_err();
    }

    fn flush_all<R: DerefMut<Target = [u8]>>(&mut self, link: &mut Link<R>) -> Result<(), Full> {
        let closed = matches!(self.closing, Closing::Sent | Closing::Received);
        if closed || self.reservation.is_some() || link.is_ending() {
            return Ok(());
        }
        if self.hello_due {
            write(link, FrameType::Hello, 0, 0, &self.hello.encode())?;
            self.hello_due = false;
        }
        for word in 0..self.due.len() {
            while let Some(bits) = self.due.get(word).copied().filter(|&bits| bits != 0) {
                let id = ChannelId(word as u16 * 64 + bits.trailing_zeros() as u16);
                self.flush_channel(link, id)?;
                if let Some(bits) = self.due.get_mut(word) {
                    *bits &= *bits - 1;
                }
                self.settle(id);
            }
        }
        if let Closing::Due(code) = self.closing {
            write(link, FrameType::Close, 0, 0, &code.number().to_le_bytes())?;
            self.closing = Closing::Sent;
        }
        Ok(())
    }

    /// Writes what is due on one channel, in the only order in which a peer can take it.
    fn flush_channel<R: DerefMut<Target = [u8]>>(
        &mut self,
        link: &mut Link<R>,
        id: ChannelId,
    ) -> Result<(), Full> {
        let Some(channel) = self.channels.get_mut(usize::from(id.0)) else { return Ok(()) };
        if !channel.marks.has(Marks::OPEN) || channel.marks.has(Marks::RELEASED) {
            return Ok(());
        }
        let mut frame = |kind, flow: u8, payload: &[u8]| write(link, kind, id.0, flow, payload);
        if channel.marks.has(Marks::OPEN_DUE) {
            frame(FrameType::Open, 0, &[channel.kind, 0, 0, 0, 0, 0, 0, 0])?;
            channel.marks.take(Marks::OPEN_DUE);
        }
        if channel.marks.has(Marks::RESET_DUE) {
            frame(FrameType::Reset, 0, &(channel.value as u32).to_le_bytes())?;
            channel.marks.take(Marks::RESET_DUE);
            channel.marks.set(Marks::RELEASED);
            return Ok(());
        }
        for flow in Flow::ALL {
            let sends = channel.sends(flow);
            let state = channel.flow(flow);
            let number = flow as u8;
            if !sends && state.marks.has(FlowMarks::CREDIT_DUE) {
                frame(FrameType::Credit, number, &state.limit.to_le_bytes())?;
                state.marks.take(FlowMarks::CREDIT_DUE);
            }
            if !sends && state.marks.has(FlowMarks::STOP_DUE) {
                frame(FrameType::Stop, number, &[])?;
                state.marks.take(FlowMarks::STOP_DUE);
            }
        }
        if channel.marks.has(Marks::ACCEPTED_DUE) {
            frame(FrameType::Accepted, 0, &channel.value.to_le_bytes())?;
            channel.marks.take(Marks::ACCEPTED_DUE);
        }
        if channel.marks.has(Marks::REFUSED_DUE) {
            let text = self.pool.front(&channel.text);
            write_with_text(link, FrameType::Refused, id.0, &channel.value.to_le_bytes(), text)?;
            channel.marks.take(Marks::REFUSED_DUE);
            self.pool.clear(&mut channel.text);
        }
        let mut frame = |kind, flow: u8, payload: &[u8]| write(link, kind, id.0, flow, payload);
        if channel.marks.has(Marks::RESIZE_DUE) {
            frame(FrameType::Resize, 0, &channel.size.encode())?;
            channel.marks.take(Marks::RESIZE_DUE);
        }
        while channel.signals != 0 {
            let number = channel.signals.trailing_zeros() + 1;
            frame(FrameType::Signal, 0, &number.to_le_bytes())?;
            channel.signals &= channel.signals - 1;
        }
        if channel.marks.has(Marks::DETACH_DUE) {
            frame(FrameType::Detach, 0, &channel.detach.to_le_bytes())?;
            channel.marks.take(Marks::DETACH_DUE);
        }
        // An acceptor finishes nothing before it has accepted.
        let answered = channel.is_ours() || channel.marks.has(Marks::ANSWERED);
        for flow in Flow::ALL {
            let state = channel.flow(flow);
            if answered && state.marks.has(FlowMarks::FINISH_DUE) {
                frame(FrameType::Finish, flow as u8, &[])?;
                state.marks.take(FlowMarks::FINISH_DUE);
                state.marks.set(FlowMarks::FINISHED);
            }
        }
        if channel.marks.has(Marks::EXIT_DUE) {
            let text = self.pool.front(&channel.text);
            write_with_text(link, FrameType::Exit, id.0, &channel.outcome, text)?;
            channel.marks.take(Marks::EXIT_DUE);
            self.pool.clear(&mut channel.text);
        }
        if channel.marks.has(Marks::RELEASE_DUE) {
            write(link, FrameType::Release, id.0, 0, &[])?;
            channel.marks.take(Marks::RELEASE_DUE);
            channel.marks.set(Marks::RELEASED);
        }
        Ok(())
    }

    /// Bytes of bulk that one frame of `flow` may carry now.
    pub(crate) fn writable<R: DerefMut<Target = [u8]>>(
        &self,
        link: &Link<R>,
        id: ChannelId,
        flow: Flow,
    ) -> usize {
        let closed = self.reservation.is_some() || self.is_closing() || link.is_ending();
        let Some(channel) = self.channel_ref(id).filter(|channel| !closed && channel.sends(flow)) else {
            return 0;
        };
        // The opener's frames stand behind its OPEN, the acceptor's behind its ACCEPTED.
        if channel.marks.has(Marks::OPEN_DUE.and(Marks::ACCEPTED_DUE))
            || !(channel.is_ours() || channel.marks.has(Marks::ANSWERED))
        {
            return 0;
        }
        channel.flow_ref(flow).writable().min(self.room(link)).min(FRAME_PAYLOAD_MAX)
    }

    /// Bytes of bulk for which there is room, whatever the credit of a flow.
    pub(crate) fn room<R: DerefMut<Target = [u8]>>(&self, link: &Link<R>) -> usize {
        // No frame but DATA needs more than this: with as much the next flush goes on.
        if self.starved && link.free() < HEADER_LEN + CONTROL_PAYLOAD_MAX {
            return 0;
        }
        link.room().saturating_sub(HEADER_LEN)
    }

    /// The frame of the reservation is filled with `length` bytes.
    pub(crate) fn commit<R: DerefMut<Target = [u8]>>(&mut self, link: &mut Link<R>, length: usize) {
        let Some(reserved) = self.reservation.take() else {
            debug_assert!(length == 0, "nothing was reserved");
            return;
        };
        debug_assert!(length <= reserved.length, "more was filled than reserved");
        let length = length.min(reserved.length);
        if let Some(channel) = self.channel(reserved.channel).filter(|_| length > 0) {
            channel.flow(reserved.flow).offset += length as u64;
            link.write_at(0, &header(FrameType::Data, reserved.channel.0, reserved.flow as u8, length));
            link.advance(HEADER_LEN + length);
        }
    }
}

fn write<R: DerefMut<Target = [u8]>>(
    link: &mut Link<R>,
    kind: FrameType,
    channel: u16,
    flow: u8,
    payload: &[u8],
) -> Result<(), Full> {
    write_parts(link, &header(kind, channel, flow, payload.len()), payload, &[])
}

fn write_with_text<R: DerefMut<Target = [u8]>>(
    link: &mut Link<R>,
    kind: FrameType,
    channel: u16,
    payload: &[u8],
    text: &[u8],
) -> Result<(), Full> {
    write_parts(link, &header(kind, channel, 0, payload.len() + text.len()), payload, text)
}

fn write_parts<R: DerefMut<Target = [u8]>>(
    link: &mut Link<R>,
    header: &[u8],
    payload: &[u8],
    text: &[u8],
) -> Result<(), Full> {
    if link.free() < header.len() + payload.len() + text.len() {
        return Err(Full);
    }
    link.write(header);
    link.write(payload);
    link.write(text);
    Ok(())
}
