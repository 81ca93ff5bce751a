//! One thread: receive a batch, judge each datagram, send what the verdicts say.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{BATCH, Batch, Headroom, Outgoing, Piece, SendQueue, Sent, take_icmp_error};
use super::capture::Running;
use super::hold::{Held, Hold};
use super::listeners::Sockets;
use super::runtime::{Mine, Shared};
use super::socket;
use crate::core::policy::Policy;
use crate::core::relay::{FromClient, Turn, Verdict};
use crate::core::spp;
use crate::core::time::Time;
use crate::stats::DropReason;

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
/// Between two pieces of expiry.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// The state of one worker thread. `at` is the place of a pair of sockets in `sockets`, which is
/// the number of its listener unless the sockets of several workers were taken over.
pub(super) struct Worker<'a> {
    sockets: &'a [Sockets],
    /// Per pair of sockets: to clients, and to next hops.
    queues: Vec<(SendQueue, SendQueue)>,
    batch: Batch,
    hold: Hold,
    shared: Arc<Shared>,
    mine: Arc<Mine>,
    wake: Arc<OwnedFd>,
    next_sweep: Instant,
    next_release: Instant,
    sweeps: usize,
}

impl<'a> Worker<'a> {
    pub(super) fn new(sockets: &'a [Sockets], shared: Arc<Shared>, mine: Arc<Mine>, wake: Arc<OwnedFd>) -> Worker<'a> {
        Worker {
            sockets,
            queues: new_queues(sockets.len()),
            batch: Batch::new(),
            hold: Hold::new(),
            shared,
            mine,
            wake,
            next_sweep: Instant::now(),
            next_release: Instant::now(),
            sweeps: 0,
        }
    }

    /// Runs until woken.
    pub(super) fn run(mut self) {
        socket::block_signals();
        let pollfd = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut descriptors = vec![pollfd(self.wake.as_raw_fd())];
        for pair in self.sockets {
            descriptors.push(pollfd(pair.public.as_raw_fd()));
            descriptors.push(pollfd(pair.internal.as_raw_fd()));
        }
        loop {
            let wait = if self.hold.is_empty() { SWEEP_EVERY } else { LOOK_AT_HELD_EVERY };
            socket::poll(&mut descriptors, wait.as_millis() as libc::c_int);
            if descriptors[0].revents != 0 {
                return;
            }
            // A defect costs this turn's packets, not the worker; the message is on stderr.
            if catch_unwind(AssertUnwindSafe(|| self.turn(&descriptors[1..]))).is_err() {
                self.mine.counters.panics.add(1);
                self.queues = new_queues(self.sockets.len());
                self.hold = Hold::new();
            }
        }
    }

    fn turn(&mut self, descriptors: &[libc::pollfd]) {
        let policy = self.shared.policy();
        for (at, ready) in descriptors.chunks_exact(2).enumerate() {
            if ready[0].revents != 0 {
                self.serve_public(at, &policy);
            }
            if ready[1].revents & libc::POLLERR != 0 {
                self.read_icmp_errors(at);
            }
            if ready[1].revents != 0 {
                self.serve_internal(at, &policy);
            }
        }
        if !self.hold.is_empty() && Instant::now() >= self.next_release {
            self.release(&policy);
            // Not in every turn: under load there are many a millisecond, and each look costs.
            self.next_release = Instant::now() + LOOK_AT_HELD_EVERY;
        }
        self.shared.tell(&self.mine.events);
        self.sweep();
    }

    fn serve_public(&mut self, at: usize, policy: &Policy) {
        for _ in 0..BATCHES_A_TURN {
            let fd = self.sockets[at].public.as_raw_fd();
            let Some(count) = self.receive(fd, Headroom::Header) else { return };
            let now = self.shared.now();
            let captures = self.shared.captures.running();
            for slot in 0..count {
                self.judge_public(at, slot, policy, now, captures.as_deref());
            }
            self.flush(at);
            if count < BATCH {
                return;
            }
        }
    }

    /// How many datagrams came, if any. An error is that of an earlier send (ICMP) and is
    /// reported once: the next call receives.
    fn receive(&mut self, fd: RawFd, headroom: Headroom) -> Option<usize> {
        for _ in 0..RECEIVE_TRIES {
            match self.batch.receive(fd, headroom) {
                Ok(count) => return (count > 0).then_some(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.mine.counters.receive_errors.add(1),
            }
        }
        std::thread::sleep(RECEIVE_PAUSE);
        None
    }

    fn judge_public(&mut self, at: usize, slot: usize, policy: &Policy, now: Time, captures: Option<&Running>) {
        let Some(received) = self.batch.received(slot) else { return };
        let Mine { counters, events } = &*self.mine;
        counters.public_in_packets.add(1);
        counters.public_in_bytes.add(received.length as u64);
        let (payload, answer) = self.batch.payload(slot, received.length);
        let listener = self.sockets[at].listener;
        let datagram = FromClient { listener, source: received.source, local: received.local, payload };
        let shared = &self.shared;
        let verdict = shared.relay.handle_public(Turn { now, policy, counters, events }, datagram, answer);
        if let Some(running) = captures {
            shared.captures.show_public(running, (&shared.relay, policy), &datagram, &verdict, answer);
        }
        match verdict {
            Verdict::Forward(hops) => {
                let proxy = self.shared.relay.internal(listener).into();
                let header = spp::Header { client: received.source, proxy };
                for hop in hops.iter() {
                    let piece = self.batch.slots.with_header(slot, received.length, &header);
                    self.queues[at].1.push(Outgoing { piece, to: *hop, from: None });
                }
            }
            Verdict::Answer(length) => {
                let to = received.source.into();
                self.queues[at].0.push(Outgoing { piece: Piece::answer(slot, length), to, from: received.local });
            }
            Verdict::Hold(from) => {
                self.keep(slot, Held { from, pair: at, length: received.length, until: Hold::deadline(now) });
            }
            Verdict::Drop(reason) => counters.drop(reason),
            Verdict::ToClient(_) | Verdict::Pass(_) | Verdict::Consumed => {}
        }
    }

    fn serve_internal(&mut self, at: usize, policy: &Policy) {
        for _ in 0..BATCHES_A_TURN {
            let fd = self.sockets[at].internal.as_raw_fd();
            let Some(count) = self.receive(fd, Headroom::None) else { return };
            let now = self.shared.now();
            let captures = self.shared.captures.running();
            for slot in 0..count {
                self.judge_internal(at, slot, policy, now, captures.as_deref());
            }
            // A payload may go out by another listener than the one whose socket it came to.
            for other in 0..self.sockets.len() {
                self.flush(other);
            }
            if count < BATCH {
                return;
            }
        }
    }

    fn judge_internal(&mut self, at: usize, slot: usize, policy: &Policy, now: Time, captures: Option<&Running>) {
        let Some(received) = self.batch.received(slot) else { return };
        let (Mine { counters, events }, length) = (&*self.mine, received.length);
        counters.internal_in_packets.add(1);
        counters.internal_in_bytes.add(length as u64);
        let (datagram, _) = self.batch.payload(slot, length);
        let shared = &self.shared;
        let verdict = shared.relay.handle_internal(Turn { now, policy, counters, events }, received.source, datagram);
        if let Some(running) = captures {
            let came = (self.sockets[at].listener, received.source);
            shared.captures.show_internal(running, (&shared.relay, policy), came, datagram, &verdict);
        }
        match verdict {
            Verdict::ToClient(delivery) => {
                let piece = Piece::behind_header(slot, length);
                let out = self.pair_of(delivery.listener);
                self.queues[out].0.push(Outgoing { piece, to: delivery.client, from: delivery.local });
            }
            Verdict::Forward(hops) => {
                for hop in hops.iter() {
                    self.queues[at].1.push(Outgoing { piece: Piece::whole(slot, length), to: *hop, from: None });
                }
            }
            Verdict::Pass(proxy) => {
                self.queues[at].1.push(Outgoing { piece: Piece::whole(slot, length), to: proxy, from: None });
            }
            Verdict::Hold(from) => {
                self.keep(slot, Held { from, pair: at, length, until: Hold::deadline(now) });
            }
            Verdict::Drop(reason) => counters.drop(reason),
            Verdict::Consumed | Verdict::Answer(_) => {}
        }
    }

    /// A pair of sockets of this worker for a listener.
    fn pair_of(&self, listener: usize) -> usize {
        let is_its = |pair: &Sockets| pair.listener == listener;
        self.sockets.iter().position(is_its).expect("every worker has a pair of each listener")
    }

    fn keep(&mut self, slot: usize, held: Held) {
        if !self.hold.keep(held, &self.batch.slots, slot) {
            self.mine.counters.drop(DropReason::NoRoute);
        }
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
                    for hop in hops.iter() {
                        let piece = self.hold.piece(at, &held, proxy);
                        self.queues[held.pair].1.push(Outgoing { piece, to: *hop, from: None });
                    }
                    if let Some(running) = &captures {
                        let (to, datagram) =
                            ((self.sockets[held.pair].listener, held.from.key), self.hold.datagram(at, &held));
                        self.shared.captures.show_released(running, (&self.shared.relay, policy), to, datagram, &hops);
                    }
                    // One at a time: the queue's room is that of a batch.
                    let (queue, fd) = (&mut self.queues[held.pair].1, self.sockets[held.pair].internal.as_raw_fd());
                    let sent = queue.flush(fd, self.hold.slots(), |error| counters.drop(refusal(error)));
                    counters.internal_out_packets.add(sent.packets);
                    counters.internal_out_bytes.add(sent.bytes);
                }
                Err(DropReason::NoRoute) if turn.now < held.until => continue,
                Err(reason) => counters.drop(reason),
            }
            self.hold.free(at);
        }
    }

    fn flush(&mut self, at: usize) {
        let (listener, queues, counters) = (&self.sockets[at], &mut self.queues[at], &self.mine.counters);
        let refused = |error: &io::Error| counters.drop(refusal(error));
        let Sent { packets, bytes } = queues.0.flush(listener.public.as_raw_fd(), &self.batch.slots, refused);
        counters.public_out_packets.add(packets);
        counters.public_out_bytes.add(bytes);
        let Sent { packets, bytes } = queues.1.flush(listener.internal.as_raw_fd(), &self.batch.slots, refused);
        counters.internal_out_packets.add(packets);
        counters.internal_out_bytes.add(bytes);
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

    fn sweep(&mut self) {
        let now = Instant::now();
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_EVERY;
            self.sweeps = self.sweeps.wrapping_add(1);
            self.shared.relay.sweep(self.sweeps, self.shared.now());
        }
    }
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
