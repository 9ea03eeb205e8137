//! What a program does with a session, on either side: opens channels, sends and takes, stops, aborts, exits. It follows
//! its plans, and checks every byte and event against them.

use std::collections::BTreeMap;

use vsock_shell_proto::code::CloseCode;
use vsock_shell_proto::frame::{ChannelId, Flow, WindowSize};
use vsock_shell_proto::limits::TEXT_MAX;
use vsock_shell_proto::mux::Event;
use vsock_shell_proto::session::{Channel, Session};

use crate::plan::{Plan, Record};
use crate::random::{Random, byte, key};

pub type Side = Session<Vec<u8>, Vec<u8>, Vec<Channel>>;

/// What both applications share: chance, time, the plans, and how much has happened.
pub struct Shared {
    pub random: Random,
    pub now: u64,
    pub plans: Vec<Plan>,
    pub activity: u64,
    /// The longest request and stream of this run.
    pub most: u64,
    /// Sinks of this run that sleep, in percent.
    pub sleepy: u64,
    pub script: Option<Plan>,
}

/// A flow that we receive.
#[derive(Debug)]
struct Inlet {
    flow: Flow,
    taken: u64,
    ended: bool,
    stopped: bool,
    sleeps_until: u64,
}

/// A flow that we send.
#[derive(Debug)]
struct Outlet {
    flow: Flow,
    sent: u64,
    finished: bool,
    stopped: bool,
}

#[derive(Debug)]
struct Call {
    ours: bool,
    since: u64,
    /// Which plan; an acceptor reads it from the request.
    instance: Option<usize>,
    head: Vec<u8>,
    answered: bool,
    exited: bool,
    inlets: [Inlet; 2],
    outlets: [Outlet; 2],
    /// Signals and sizes that are still to be sent, or came before the request told the plan.
    signals: u64,
    resizes: u16,
    detach_sent: bool,
    detach_came: bool,
}

#[derive(Debug, Default)]
pub struct Application {
    calls: BTreeMap<ChannelId, Call>,
    /// Channels that it has yet to open.
    pub to_open: usize,
    hello: bool,
    /// It has closed its session, and only looks on.
    pub closed: bool,
}

impl Call {
    fn new(ours: bool, now: u64) -> Self {
        let inlet = |flow| Inlet { flow, taken: 0, ended: false, stopped: false, sleeps_until: 0 };
        let outlet = |flow| Outlet { flow, sent: 0, finished: false, stopped: false };
        let (received, sent) = if ours {
            ([Flow::Output, Flow::Error], [Flow::Request, Flow::Input])
        } else {
            ([Flow::Input, Flow::Request], [Flow::Output, Flow::Error])
        };
        Self {
            ours,
            since: now,
            instance: None,
            head: Vec::new(),
            answered: false,
            exited: false,
            inlets: received.map(inlet),
            outlets: sent.map(outlet),
            signals: 0,
            resizes: 0,
            detach_sent: false,
            detach_came: false,
        }
    }

    fn inlet(&mut self, flow: Flow) -> (usize, &mut Inlet) {
        self.inlets
            .iter_mut()
            .enumerate()
            .find(|(_, inlet)| inlet.flow == flow)
            .expect("a flow that we receive")
    }

    fn outlet(&mut self, flow: Flow) -> &mut Outlet {
        self.outlets.iter_mut().find(|outlet| outlet.flow == flow).expect("a flow that we send")
    }

    fn record<'s>(&self, plans: &'s mut [Plan]) -> Option<&'s mut Record> {
        let plan = plans.get_mut(self.instance?)?;
        Some(if self.ours { &mut plan.opened } else { &mut plan.accepted })
    }

    /// The sink of a flow takes bytes from the front of `bytes`; says how many.
    fn take(&mut self, flow: Flow, bytes: &[u8], shared: &mut Shared) -> usize {
        let instance = self.instance;
        let (at, inlet) = self.inlet(flow);
        if shared.now < inlet.sleeps_until || inlet.stopped || bytes.is_empty() {
            return 0;
        }
        if shared.random.below(400) < shared.sleepy {
            inlet.sleeps_until = shared.now + shared.random.length(2_000_000);
            return 0;
        }
        let mut length = match shared.random.below(4) {
            0 => shared.random.between(1, 7).min(bytes.len() as u64) as usize,
            1 => shared.random.between(1, bytes.len() as u64) as usize,
            _ => bytes.len(),
        };
        let start = inlet.taken;
        if flow == Flow::Request && start < 8 {
            length = length.min(8 - start as usize);
            inlet.taken += length as u64;
            self.head.extend_from_slice(&bytes[..length]);
            if let Ok(head) = self.head.as_slice().try_into() {
                self.instance = Some(u64::from_le_bytes(head) as usize);
            }
        } else {
            let Some(instance) = instance else { return 0 };
            inlet.taken += length as u64;
            let source = if flow == Flow::Output && shared.plans[instance].echo { Flow::Input } else { flow };
            let key = key(instance, source as u8);
            for (offset, &found) in (start..).zip(&bytes[..length]) {
                assert_eq!(found, byte(key, offset), "{flow:?} of instance {instance} at offset {offset}");
            }
        }
        let taken = self.inlets[at].taken;
        if let Some(record) = self.record(&mut shared.plans) {
            record.taken[at] = taken;
        }
        shared.activity += 1;
        length
    }

    /// Bytes that an outlet has to send in all, as far as that is known now; and whether more may follow.
    fn supply(&self, id: ChannelId, flow: Flow, plan: &Plan, side: &Side) -> (u64, bool) {
        match flow {
            Flow::Request => (plan.request, false),
            Flow::Input => (plan.input, plan.keeps_input_open),
            Flow::Output if plan.echo => (self.inlets[0].taken, !side.is_drained(id, Flow::Input)),
            Flow::Output => (plan.output[0], false),
            Flow::Error => (plan.output[1], false),
        }
    }

    /// When something happens here without anything from outside.
    fn wakes_at(&self, id: ChannelId, side: &Side, shared: &Shared) -> Option<u64> {
        let sinks = self.inlets.iter().filter(|inlet| !side.parked(id, inlet.flow).is_empty());
        let sinks = sinks.map(|inlet| inlet.sleeps_until).filter(|&at| at > shared.now);
        let plan = self.instance.and_then(|instance| shared.plans.get(instance));
        let leave = plan.and_then(|plan| if self.ours { plan.opener_leaves } else { plan.acceptor_leaves });
        sinks.chain(leave.map(|leave| self.since + leave.after)).min()
    }
}

impl Application {
    pub fn new(to_open: usize) -> Self {
        Self { to_open, ..Self::default() }
    }

    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.to_open == 0
    }

    pub fn wakes_at(&self, side: &Side, shared: &Shared) -> Option<u64> {
        self.calls.iter().filter_map(|(&id, call)| call.wakes_at(id, side, shared)).min()
    }

    pub fn handle(&mut self, event: Event<'_>, side: &mut Side, shared: &mut Shared) {
        shared.activity += 1;
        match event {
            Event::Hello => {
                assert!(!self.hello, "two HELLO");
                self.hello = true;
            }
            Event::Opened { channel, .. } => {
                let before = self.calls.insert(channel, Call::new(false, shared.now));
                assert!(before.is_none(), "{channel:?} was opened twice");
            }
            Event::Closed { .. } => {
                self.calls.clear();
                self.closed = true;
            }
            Event::Data { channel, flow, bytes } => {
                let call = self.calls.get_mut(&channel).expect("data of a channel that is ours");
                assert!(!call.inlet(flow).1.ended && !call.inlet(flow).1.stopped, "data after the end");
                let parked = !side.parked(channel, flow).is_empty();
                let taken = if parked { 0 } else { call.take(flow, bytes, shared) };
                side.deliver(channel, flow, bytes, taken);
            }
            Event::Finished { channel, flow } => {
                let call = self.calls.get_mut(&channel).expect("FINISH of a channel that is ours");
                let (at, inlet) = call.inlet(flow);
                assert!(!inlet.ended, "two FINISH");
                inlet.ended = true;
                if let Some(record) = call.record(&mut shared.plans) {
                    record.ended[at] = true;
                }
            }
            Event::Stopped { channel, flow } => {
                self.calls.get_mut(&channel).expect("STOP of a channel that is ours").outlet(flow).stopped =
                    true;
            }
            Event::Credit { channel, .. } => assert!(self.calls.contains_key(&channel)),
            Event::Signal { channel, number } => {
                let call = self.calls.get_mut(&channel).expect("a signal of a channel that is ours");
                assert!(!call.ours && call.signals & 1 << (number - 1) == 0, "signal {number} twice");
                call.signals |= 1 << (number - 1);
            }
            Event::Resized { channel, size } => {
                let call = self.calls.get_mut(&channel).expect("a size of a channel that is ours");
                assert!(size.rows > call.resizes && size.height == !size.rows, "sizes go back");
                call.resizes = size.rows;
            }
            Event::Detach { channel, value } => {
                let call = self.calls.get_mut(&channel).expect("DETACH of a channel that is ours");
                assert!(!std::mem::replace(&mut call.detach_came, true), "DETACH twice");
                if call.ours {
                    assert!(call.detach_sent && Some(value as usize) == call.instance);
                } else if call.answered {
                    side.detach_channel(channel, value);
                }
            }
            Event::Accepted { channel, value } => {
                let call = self.calls.get_mut(&channel).expect("an answer to a channel that is ours");
                assert!(call.ours && !call.answered && Some(value as usize) == call.instance);
                call.answered = true;
            }
            Event::Refused { channel, code, errno } => {
                let call = self.calls.remove(&channel).expect("an answer to a channel that is ours");
                let plan = &mut shared.plans[call.instance.expect("we opened it")];
                plan.opened.refused = true;
                if plan.refusal != Some((code, errno)) {
                    // As many as the peer takes are open, whoever opened them: it says so before it reads a plan.
                    assert_eq!(code, vsock_shell_proto::code::RefusalCode::TooMany);
                    assert_eq!(side.text(), b"");
                } else {
                    let text = plan.text();
                    assert_eq!(side.text(), &text[..text.len().min(TEXT_MAX)]);
                }
            }
            Event::Exited { channel, outcome } => {
                let call = self.calls.get_mut(&channel).expect("EXIT of a channel that is ours");
                assert!(call.answered && !call.exited);
                assert!(call.inlets.iter().all(|inlet| inlet.ended || inlet.stopped), "EXIT before FINISH");
                call.exited = true;
                let plan = &mut shared.plans[call.instance.expect("we opened it")];
                let text = plan.text();
                assert_eq!((outcome, side.text()), (plan.outcome, &text[..text.len().min(TEXT_MAX)]));
                plan.opened.exited = true;
            }
            Event::Reset { channel, .. } => {
                let call = self.calls.remove(&channel).expect("RESET of a channel that is ours");
                if let Some(record) = call.record(&mut shared.plans) {
                    record.cut_short = true;
                    record.reset = true;
                }
            }
        }
    }

    /// Opens channels, offers what is parked to the sinks, fills the ring from the sources, and does what is due.
    pub fn drive(&mut self, side: &mut Side, shared: &mut Shared) {
        if self.closed {
            return;
        }
        for _ in 0..3 {
            if self.to_open > 0 && shared.random.chance(50) {
                self.open(side, shared);
            }
        }
        let mut gone = Vec::new();
        for (&id, call) in &mut self.calls {
            call.drain(id, side, shared);
            let plan = call.instance.map(|instance| shared.plans[instance].clone());
            if let Some(plan) = plan {
                call.fill(id, &plan, side, shared);
                let over = if call.ours {
                    call.drive_opener(id, &plan, side, shared)
                } else {
                    call.drive_acceptor(id, &plan, side, shared)
                };
                if over {
                    gone.push(id);
                    shared.activity += 1;
                }
            }
        }
        for id in gone {
            self.calls.remove(&id);
        }
    }

    fn open(&mut self, side: &mut Side, shared: &mut Shared) {
        let plan = match &shared.script {
            Some(plan) => plan.clone(),
            None => Plan::random(&mut shared.random, shared.most),
        };
        if let Ok(id) = side.open(plan.kind) {
            let mut call = Call::new(true, shared.now);
            call.instance = Some(shared.plans.len());
            call.signals = plan.signals;
            shared.plans.push(plan);
            assert!(self.calls.insert(id, call).is_none());
            self.to_open -= 1;
            shared.activity += 1;
        }
    }
}

impl Call {
    fn drain(&mut self, id: ChannelId, side: &mut Side, shared: &mut Shared) {
        for at in [0, 1] {
            let flow = self.inlets[at].flow;
            loop {
                let parked = side.parked(id, flow).to_vec();
                let taken = self.take(flow, &parked, shared);
                if taken == 0 {
                    break;
                }
                side.consume(id, flow, taken);
            }
            let Some(plan) = self.instance.map(|instance| &shared.plans[instance]) else { continue };
            let stops_at = match flow {
                Flow::Input => plan.acceptor_stops_at,
                Flow::Output => plan.opener_stops_at[0],
                Flow::Error => plan.opener_stops_at[1],
                Flow::Request => None,
            };
            let inlet = &mut self.inlets[at];
            if !inlet.stopped && stops_at.is_some_and(|stop| inlet.taken >= stop) {
                inlet.stopped = true;
                side.stop(id, flow);
                shared.activity += 1;
            }
        }
    }

    fn fill(&mut self, id: ChannelId, plan: &Plan, side: &mut Side, shared: &mut Shared) {
        let instance = self.instance.unwrap_or_default();
        for at in [0, 1] {
            let flow = self.outlets[at].flow;
            let (length, more) = self.supply(id, flow, plan, side);
            let answered = self.ours || self.answered;
            let outlet = &mut self.outlets[at];
            let source = if flow == Flow::Output && plan.echo { Flow::Input } else { flow };
            let key = key(instance, source as u8);
            let value = |offset: u64| match (flow, offset) {
                (Flow::Request, 0..8) => (instance as u64).to_le_bytes()[offset as usize],
                _ => byte(key, offset),
            };
            let max = match shared.random.below(3) {
                0 => shared.random.between(1, 9),
                1 => shared.random.between(1, 2000),
                _ => u64::MAX,
            };
            let left = (length - outlet.sent).min(max) as usize;
            if left > 0 && !outlet.stopped {
                let sent = if shared.random.chance(50) {
                    let bytes: Vec<u8> = (outlet.sent..).take(left.min(70_000)).map(value).collect();
                    side.send(id, flow, &bytes)
                } else if let Some(places) = side.reserve(id, flow, left) {
                    let filled = shared.random.between(1, places.length() as u64) as usize;
                    let places = places.first.iter_mut().chain(places.second);
                    places.zip(outlet.sent..).take(filled).for_each(|(place, offset)| *place = value(offset));
                    side.commit(filled);
                    filled
                } else {
                    0
                };
                outlet.sent += sent as u64;
                shared.activity += u64::from(sent > 0);
            }
            if answered && !outlet.finished && !more && outlet.sent == length && !outlet.stopped {
                outlet.finished = true;
                side.finish(id, flow);
                shared.activity += 1;
            }
        }
    }

    /// Says whether the channel is gone.
    fn drive_opener(&mut self, id: ChannelId, plan: &Plan, side: &mut Side, shared: &mut Shared) -> bool {
        if self.resizes < plan.resizes && shared.random.chance(30) {
            self.resizes += 1;
            let size = WindowSize { rows: self.resizes, height: !self.resizes, ..WindowSize::default() };
            side.resize(id, size);
            shared.activity += 1;
        }
        if let Some(instance) = self.instance.filter(|_| !self.detach_sent && shared.random.chance(5)) {
            self.detach_sent = true;
            side.detach_channel(id, instance as u32);
            shared.activity += 1;
        }
        if self.signals != 0 && shared.random.chance(30) {
            side.signal(id, self.signals.trailing_zeros() + 1);
            self.signals &= self.signals - 1;
            shared.activity += 1;
        }
        if let Some(leave) = plan.opener_leaves.filter(|leave| shared.now >= self.since + leave.after) {
            match leave.reset {
                Some(code) => side.reset(id, code),
                None => side.release(id),
            }
            if let Some(record) = self.record(&mut shared.plans) {
                record.cut_short = true;
            }
            return true;
        }
        let drained = self.inlets.iter().all(|inlet| side.is_drained(id, inlet.flow));
        let over = self.exited && (plan.hasty || drained);
        if over {
            side.release(id);
        }
        over
    }

    /// Says whether the channel is gone.
    fn drive_acceptor(&mut self, id: ChannelId, plan: &Plan, side: &mut Side, shared: &mut Shared) -> bool {
        if let Some(leave) = plan.acceptor_leaves.filter(|leave| shared.now >= self.since + leave.after) {
            side.reset(id, leave.reset.unwrap_or(CloseCode::Cancelled));
            if let Some(record) = self.record(&mut shared.plans) {
                record.cut_short = true;
            }
            return true;
        }
        let requested = self.inlets[1].ended && side.is_drained(id, Flow::Request);
        if !self.answered && (requested || plan.accepts_early) {
            if let Some((code, errno)) = plan.refusal {
                side.refuse(id, code, errno, &plan.text());
                return true;
            }
            side.accept(id, self.instance.unwrap_or_default() as u64);
            self.answered = true;
            shared.activity += 1;
        }
        let sent = self.outlets.iter().all(|outlet| {
            let (length, more) = self.supply(id, outlet.flow, plan, side);
            outlet.stopped || (!more && outlet.sent == length)
        });
        let input = &self.inlets[0];
        let fed = input.stopped || (input.ended && side.is_drained(id, Flow::Input)) || !plan.waits_for_input;
        let told = self.signals == plan.signals && self.resizes == plan.resizes;
        let over = self.answered && requested && sent && fed && told;
        if over {
            let (signals, resized) = (self.signals, self.resizes);
            let ended = [0, 1].map(|at| self.inlets[at].ended);
            if let Some(record) = self.record(&mut shared.plans) {
                (record.signals, record.resized, record.ended) = (signals, resized, ended);
            }
            side.exit(id, plan.outcome, &plan.text());
        }
        over
    }
}
