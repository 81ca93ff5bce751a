//! One thread: receive a batch, judge each datagram, send what the verdicts say.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, Leg};
use super::capture::Running;
use super::hold::{Held, Hold};
use super::listeners::Sockets;
use super::message::take_icmp_error;
use super::runtime::{Mine, Shared};
use super::send::{Outgoing, SendQueue, Sent};
use super::slots::{Piece, Slots};
use super::socket;
use super::wait::{Alarm, Poll};
use crate::core::path::MAX_CLAIMS;
use crate::core::policy::Policy;
use crate::core::relay::{FromClient, Turn, Verdict};
use crate::core::spp;
use crate::core::time::Time;
use crate::stats::{Counter, Counters, DropReason};

/// Batches taken from one socket before the others have their turn.
const BATCHES_A_TURN: usize = 4;
/// ICMP errors read in one turn: more than the packets a turn can send, or their queue fills the
/// receive buffer and packets are lost (seen on loopback, where the kernel limits no rate).
const ICMP_A_TURN: usize = 4096;
/// Receiving calls that may fail before the worker waits for the next turn.
const RECEIVE_TRIES: usize = 3;
/// The wait after them: an error that stays must not take the whole core.
const RECEIVE_PAUSE: Duration = Duration::from_millis(1);
/// How often held packets are looked at; they wait for 20 ms at most.
const LOOK_AT_HELD_EVERY: Duration = Duration::from_millis(1);
/// Between two pieces of expiry, small ones, while packets come; and how often to look whether none do.
const SWEEP_EVERY: Duration = Duration::from_millis(2);
pub(super) const LOOK_UP_EVERY: Duration = Duration::from_millis(20);
/// Pieces after a wait without packets, which nobody waits for.
const SWEEPS_WHEN_IDLE: usize = 8;
/// Pieces of expiry between two looks at what the kernel dropped: about a second.
const LOSSES_EVERY: usize = 500;

/// What the packets of one batch have in common.
#[derive(Clone, Copy)]
struct Moment<'a> {
    policy: &'a Policy,
    now: Time,
    captures: Option<&'a Running>,
}

/// The state of one worker thread. `at` is the place of a pair of sockets in `sockets`, which is
/// the number of its listener unless the sockets of several workers were taken over.
pub(super) struct Worker<'a> {
    sockets: &'a [Sockets],
    /// Per pair of sockets: to clients, and to next hops.
    queues: Vec<(SendQueue, SendQueue)>,
    public: Batch,
    internal: Batch,
    hold: Hold,
    shared: Arc<Shared>,
    mine: Arc<Mine>,
    alarm: Arc<Alarm>,
    policy: (u64, Arc<Policy>),
    next_sweep: Time,
    next_release: Time,
    sweeps: usize,
    /// Per pair of sockets: what they had lost when that was last counted.
    lost: Vec<u32>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(sockets: &'a [Sockets], shared: Arc<Shared>, mine: Arc<Mine>, alarm: Arc<Alarm>) -> Worker<'a> {
        Worker {
            sockets,
            queues: new_queues(sockets.len()),
            public: Batch::new(Leg::Public),
            internal: Batch::new(Leg::Internal),
            hold: Hold::new(),
            policy: shared.policy(),
            shared,
            mine,
            alarm,
            next_sweep: Time(0),
            next_release: Time(0),
            sweeps: 0,
            lost: sockets.iter().map(lost).collect(),
        }
    }

    /// Runs until its alarm rings for the last time.
    pub(super) fn run(mut self) {
        socket::block_signals();
        let pairs = self.sockets.iter().flat_map(|pair| [pair.public.as_raw_fd(), pair.internal.as_raw_fd()]);
        let mut poll = Poll::new(pairs.chain([self.alarm.as_raw_fd()]));
        loop {
            poll.wait(match self.hold.is_empty() {
                _ if self.shared.busy_poll => Some(Duration::ZERO),
                true => None,
                false => Some(LOOK_AT_HELD_EVERY),
            });
            if poll.ready(2 * self.sockets.len()).is_some() && self.alarm.take() {
                return;
            }
            // A defect costs this turn's packets, not the worker; the message is on stderr.
            if catch_unwind(AssertUnwindSafe(|| self.turn(&poll))).is_err() {
                self.mine.counters.panics.add(1);
                self.queues = new_queues(self.sockets.len());
                self.hold = Hold::new();
            }
        }
    }

    fn turn(&mut self, poll: &Poll) {
        if self.policy.0 != self.shared.policy_number() {
            self.policy = self.shared.policy();
        }
        let policy = Arc::clone(&self.policy.1);
        let now = self.shared.now();
        let mut is_idle = true;
        for at in 0..self.sockets.len() {
            if poll.ready(2 * at).is_some() {
                is_idle = false;
                self.serve_public(at, &policy, now);
            }
            if let Some(ready) = poll.ready(2 * at + 1) {
                is_idle = false;
                if ready.has_error {
                    self.read_icmp_errors(at);
                }
                self.serve_internal(at, &policy, now);
            }
        }
        if !self.hold.is_empty() && now >= self.next_release {
            self.release(&policy);
            // Not in every turn: under load there are many a millisecond, and each look costs.
            self.next_release = now.after(LOOK_AT_HELD_EVERY);
        }
        self.shared.tell(&self.mine.events);
        if now >= self.next_sweep {
            self.next_sweep = now.after(SWEEP_EVERY);
            let pieces = if is_idle && !self.shared.busy_poll { SWEEPS_WHEN_IDLE } else { 1 };
            (0..pieces).for_each(|_| self.sweep(now));
        }
    }

    fn serve_public(&mut self, at: usize, policy: &Policy, mut now: Time) {
        for batch in 0..BATCHES_A_TURN {
            if batch > 0 {
                now = self.shared.now();
            }
            let fd = self.sockets[at].public.as_raw_fd();
            let Some((count, is_full)) = receive(&mut self.public, fd, &self.mine) else { return };
            let captures = self.shared.captures.running();
            let moment = Moment { policy, now, captures: captures.as_deref() };
            for slot in 0..count {
                self.judge_public(at, slot, moment);
            }
            self.flush(at, Leg::Public);
            if !is_full {
                return;
            }
        }
    }

    fn judge_public(&mut self, at: usize, slot: usize, moment: Moment<'_>) {
        let Moment { policy, now, captures } = moment;
        let Some(received) = self.public.received(slot) else { return };
        let Mine { counters, events } = &*self.mine;
        counters.public_in_packets.add(1);
        counters.public_in_bytes.add(received.length as u64);
        let (payload, answer) = self.public.slots.received(slot, received.length);
        let (listener, local) = (self.sockets[at].listener, received.said.local);
        let datagram = FromClient { listener, source: received.source, local, payload };
        let shared = &self.shared;
        let verdict = shared.relay.handle_public(Turn { now, policy, counters, events }, datagram, answer);
        if let Some(running) = captures {
            shared.captures.show_public(running, (&shared.relay, policy), &datagram, &verdict, answer);
        }
        match verdict {
            Verdict::Forward(hops) => {
                let proxy = self.shared.relay.internal(listener).into();
                let header = spp::Header { client: received.source, proxy };
                let piece = self.public.slots.with_header(slot, received.length, &header);
                for hop in hops.iter() {
                    let (piece, flow) = (piece.clone(), flow(received.source));
                    self.queues[at].1.push(Outgoing { piece, to: *hop, from: None, flow });
                }
            }
            Verdict::Answer(length) => {
                let (piece, to) = (Piece::answer(slot, length), received.source.into());
                self.queues[at].0.push(Outgoing { piece, to, from: local, flow: flow(received.source) });
            }
            Verdict::Hold(from) => {
                let piece = Piece::whole(slot, spp::HEADER + received.length);
                let held = Held { from, pair: at, length: received.length, until: Hold::deadline(now) };
                keep(&mut self.hold, held, &self.public.slots, &piece, &self.mine);
            }
            Verdict::Drop(reason) => counters.drop(reason),
            Verdict::ToClient(_) | Verdict::Pass(_) | Verdict::Consumed => {}
        }
    }

    fn serve_internal(&mut self, at: usize, policy: &Policy, mut now: Time) {
        for batch in 0..BATCHES_A_TURN {
            if batch > 0 {
                now = self.shared.now();
            }
            let fd = self.sockets[at].internal.as_raw_fd();
            let Some((count, is_full)) = receive(&mut self.internal, fd, &self.mine) else { return };
            let captures = self.shared.captures.running();
            let moment = Moment { policy, now, captures: captures.as_deref() };
            for slot in 0..count {
                let Some(received) = self.internal.received(slot) else { continue };
                if received.said.segment.is_some_and(|size| size < received.length) {
                    self.mine.counters.gro_buffers.add(1);
                    self.mine.counters.gro_packets.add(received.segments().count() as u64);
                }
                for range in received.segments() {
                    let (datagram, piece) = self.internal.datagram(slot, range);
                    // Each by its own header: a buffer holds datagrams of different clients.
                    let verdict = self.judge_internal(at, received.source, datagram, moment);
                    self.carry_out(at, verdict, piece, now);
                }
            }
            // A payload may go out by another listener than the one whose socket it came to.
            for other in 0..self.sockets.len() {
                self.flush(other, Leg::Internal);
            }
            if !is_full {
                return;
            }
        }
    }

    /// The core's verdict about one datagram of the internal leg.
    fn judge_internal(&self, at: usize, source: SocketAddr, datagram: &[u8], moment: Moment<'_>) -> Verdict {
        let (Moment { policy, now, captures }, Mine { counters, events }) = (moment, &*self.mine);
        counters.internal_in_packets.add(1);
        counters.internal_in_bytes.add(datagram.len() as u64);
        let shared = &self.shared;
        let verdict = shared.relay.handle_internal(Turn { now, policy, counters, events }, source, datagram);
        if let Some(running) = captures {
            let came = (self.sockets[at].listener, source);
            shared.captures.show_internal(running, (&shared.relay, policy), came, datagram, &verdict);
        }
        verdict
    }

    /// Does what the verdict about a datagram of the internal leg says.
    fn carry_out(&mut self, at: usize, verdict: Verdict, piece: Piece, now: Time) {
        let counters = &self.mine.counters;
        match verdict {
            Verdict::ToClient(delivery) => {
                let (to, from) = (delivery.client, delivery.local);
                let out = self.pair_of(delivery.listener);
                self.make_room(out);
                let flow = flow(to.into());
                self.queues[out].0.push(Outgoing { piece: piece.behind_header(), to, from, flow });
            }
            Verdict::Forward(hops) => {
                self.make_room(at);
                let flow = flow_of_header(self.internal.slots.bytes(&piece));
                for hop in hops.iter() {
                    self.queues[at].1.push(Outgoing { piece: piece.clone(), to: *hop, from: None, flow });
                }
            }
            Verdict::Pass(to) => {
                self.make_room(at);
                let flow = flow_of_header(self.internal.slots.bytes(&piece));
                self.queues[at].1.push(Outgoing { piece, to, from: None, flow });
            }
            Verdict::Hold(from) => {
                let held = Held { from, pair: at, length: piece.len(), until: Hold::deadline(now) };
                keep(&mut self.hold, held, &self.internal.slots, &piece, &self.mine);
            }
            Verdict::Drop(reason) => counters.drop(reason),
            Verdict::Consumed | Verdict::Answer(_) => {}
        }
    }

    /// Has room for whatever one verdict about the internal leg sends: a batch of buffers may hold
    /// more datagrams than a queue.
    fn make_room(&mut self, at: usize) {
        let (public, internal) = &self.queues[at];
        if !public.has_room(MAX_CLAIMS) || !internal.has_room(MAX_CLAIMS) {
            self.flush(at, Leg::Internal);
        }
    }

    /// A pair of sockets of this worker for a listener.
    fn pair_of(&self, listener: usize) -> usize {
        let is_its = |pair: &Sockets| pair.listener == listener;
        self.sockets.iter().position(is_its).expect("every worker has a pair of each listener")
    }

    /// Sends the held packets whose path has a claim by now, and drops those that waited too long.
    fn release(&mut self, policy: &Policy) {
        let Mine { counters, events } = &*self.mine;
        let turn = Turn { now: self.shared.now(), policy, counters, events };
        let captures = self.shared.captures.running();
        for at in 0..self.hold.len() {
            let Some(held) = self.hold.at(at) else { continue };
            match self.shared.relay.release(turn, held.from, self.hold.payload(at, &held)) {
                Ok(hops) => {
                    let proxy = self.shared.relay.internal(self.sockets[held.pair].listener).into();
                    let piece = self.hold.piece(at, &held, proxy);
                    if let Some(running) = &captures {
                        let (to, datagram) =
                            ((self.sockets[held.pair].listener, held.from.key), self.hold.datagram(at, &held));
                        self.shared.captures.show_released(running, (&self.shared.relay, policy), to, datagram, &hops);
                    }
                    let flow = flow(held.from.key.client.into());
                    let (queue, fd) = (&mut self.queues[held.pair].1, self.sockets[held.pair].internal.as_raw_fd());
                    for hop in hops.iter() {
                        queue.push(Outgoing { piece: piece.clone(), to: *hop, from: None, flow });
                    }
                    let sent = queue.flush(fd, self.hold.slots(), |error| counters.drop(refusal(error)));
                    count(counters, &sent, (&counters.internal_out_packets, &counters.internal_out_bytes));
                }
                Err(DropReason::NoRoute) if turn.now < held.until => continue,
                Err(reason) => counters.drop(reason),
            }
            self.hold.free(at);
        }
    }

    /// Sends what waits at a pair of sockets and was received on this leg.
    fn flush(&mut self, at: usize, leg: Leg) {
        let (pair, queues, counters) = (&self.sockets[at], &mut self.queues[at], &self.mine.counters);
        let slots = if leg == Leg::Public { &self.public.slots } else { &self.internal.slots };
        let refused = |error: &io::Error| counters.drop(refusal(error));
        let sent = queues.0.flush(pair.public.as_raw_fd(), slots, refused);
        count(counters, &sent, (&counters.public_out_packets, &counters.public_out_bytes));
        let sent = queues.1.flush(pair.internal.as_raw_fd(), slots, refused);
        count(counters, &sent, (&counters.internal_out_packets, &counters.internal_out_bytes));
    }

    fn read_icmp_errors(&mut self, at: usize) {
        let fd = self.sockets[at].internal.as_raw_fd();
        for _ in 0..ICMP_A_TURN {
            let Some(error) = take_icmp_error(fd) else { return };
            self.mine.counters.icmp_errors.add(1);
            if error.is_unreachable {
                self.shared.relay.icmp_error(error.destination, self.shared.now());
            }
        }
    }

    fn sweep(&mut self, now: Time) {
        self.sweeps = self.sweeps.wrapping_add(1);
        self.shared.relay.sweep(self.sweeps, now);
        if self.sweeps.is_multiple_of(LOSSES_EVERY) {
            for (pair, before) in self.sockets.iter().zip(&mut self.lost) {
                let lost = lost(pair);
                self.mine.counters.kernel_drops.add(lost.wrapping_sub(*before).into());
                *before = lost;
            }
        }
    }
}

/// What a pair of sockets has lost since it was bound.
fn lost(pair: &Sockets) -> u32 {
    socket::lost(&pair.public).wrapping_add(socket::lost(&pair.internal))
}

/// How many buffers came, if any, and whether there may be more. An error is that of an earlier
/// send (ICMP) and is reported once: the next call receives.
fn receive(batch: &mut Batch, fd: RawFd, mine: &Mine) -> Option<(usize, bool)> {
    for _ in 0..RECEIVE_TRIES {
        match batch.receive(fd) {
            Ok((0, _)) => return None,
            Ok((count, is_full)) => {
                mine.counters.batch(count);
                mine.counters.receive_buffers.add(count as u64);
                return Some((count, is_full));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => mine.counters.receive_errors.add(1),
        }
    }
    std::thread::sleep(RECEIVE_PAUSE);
    None
}

fn keep(hold: &mut Hold, held: Held, slots: &Slots, piece: &Piece, mine: &Mine) {
    if !hold.keep(held, slots, piece) {
        mine.counters.drop(DropReason::NoRoute);
    }
}

fn count(counters: &Counters, sent: &Sent, (packets, bytes): (&Counter, &Counter)) {
    packets.add(sent.packets);
    bytes.add(sent.bytes);
    if sent.groups > 0 || sent.refused_groups > 0 {
        counters.gso_sends.add(sent.groups);
        counters.gso_packets.add(sent.grouped);
        counters.gso_refused.add(sent.refused_groups);
    }
}

/// A number that the datagrams of one client share.
fn flow(client: SocketAddr) -> u32 {
    let low = match client.ip() {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(ip) => u128::from(ip) as u32 ^ (u128::from(ip) >> 64) as u32,
    };
    ((low ^ u32::from(client.port()) << 8).wrapping_mul(0x9E37_79B9)) >> 16
}

/// The same for what brings its header.
fn flow_of_header(datagram: &[u8]) -> u32 {
    spp::unpack(datagram).map_or(0, |(header, _)| flow(header.client))
}

fn new_queues(pairs: usize) -> Vec<(SendQueue, SendQueue)> {
    (0..pairs).map(|_| (SendQueue::new(), SendQueue::new())).collect()
}

fn refusal(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropReason::SendBufferFull,
        Some(libc::EMSGSIZE) => DropReason::SendTooBig,
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::EADDRNOTAVAIL) => {
            DropReason::SendUnreachable
        }
        _ => DropReason::SendFailed,
    }
}
