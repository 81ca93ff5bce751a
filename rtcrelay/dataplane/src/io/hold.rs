//! The packets that wait, for at most 20 ms, for the answer to their path's question.

use std::net::SocketAddr;

use super::slots::{Piece, Slots};
use crate::core::questions::HOLD;
use crate::core::relay::From;
use crate::core::spp;
use crate::core::time::Time;

/// Packets that wait in one worker at most: two megabytes, and 20 ms of 50,000 packets a second, as
/// come when a load balancer moves 10,000 calls to this relay.
const CAPACITY: usize = 1024;

/// One packet that waits.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) from: From,
    /// The pair of sockets it came to.
    pub(super) pair: usize,
    /// Received bytes.
    pub(super) length: usize,
    pub(super) until: Time,
}

/// The packets that wait.
pub(super) struct Hold {
    slots: Slots,
    held: Box<[Option<Held>]>,
    free: Vec<usize>,
}

impl Hold {
    pub(super) fn new() -> Hold {
        Hold { slots: Slots::new(CAPACITY), held: vec![None; CAPACITY].into(), free: (0..CAPACITY).rev().collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == CAPACITY
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Copies a packet, with the room for a header in front or with its header; false if there is
    /// no room.
    pub(super) fn keep(&mut self, held: Held, from: &Slots, piece: &Piece) -> bool {
        let Some(free) = self.free.pop() else { return false };
        self.slots.copy(free, from, piece);
        self.held[free] = Some(held);
        true
    }

    /// When a packet that comes now has waited long enough.
    pub(super) fn deadline(now: Time) -> Time {
        now.after(HOLD)
    }

    /// The packet in slot `at`.
    pub(super) fn at(&self, at: usize) -> Option<Held> {
        self.held[at]
    }

    /// Slots to look at.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The payload of a packet.
    pub(super) fn payload(&self, at: usize, held: &Held) -> &[u8] {
        let header = if held.from.is_peer { 0 } else { spp::HEADER };
        &self.slots.bytes(&Piece::whole(at, header + held.length))[spp::HEADER..]
    }

    /// Ends a packet's wait.
    pub(super) fn free(&mut self, at: usize) {
        if self.held[at].take().is_some() {
            self.free.push(at);
        }
    }

    /// A packet as `piece` made it: SPP header and payload.
    pub(super) fn datagram(&self, at: usize, held: &Held) -> &[u8] {
        let header = if held.from.is_peer { 0 } else { spp::HEADER };
        self.slots.bytes(&Piece::whole(at, header + held.length))
    }

    /// The bytes to send to a next hop: with the header that the packet brought, or a new one.
    pub(super) fn piece(&mut self, at: usize, held: &Held, proxy: SocketAddr) -> Piece {
        if held.from.is_peer {
            return Piece::whole(at, held.length);
        }
        self.slots.with_header(at, held.length, &spp::Header { client: held.from.key.client.into(), proxy })
    }
}
