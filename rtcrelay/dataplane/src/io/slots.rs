//! Buffers for datagrams, allocated once, from which they are also sent.

use std::ops::Range;

use crate::core::{spp, stun};

/// Bytes of a slot for one datagram: header, the largest datagram and one byte more to notice
/// larger ones, answer.
const SLOT: usize = 2048;
const ANSWER_AT: usize = SLOT - 64;
const _: () = assert!(stun::MAX_RESPONSE <= SLOT - ANSWER_AT && spp::HEADER * 2 + 1501 <= ANSWER_AT);
/// Bytes of a slot for datagrams that the kernel has put together.
const LARGE_SLOT: usize = 65_536;
/// Between two slots: without it the first bytes of all would share a few lines of the processor's
/// cache.
const STAGGER: usize = 64;

/// Buffers for datagrams.
pub(super) struct Slots {
    bytes: Box<[u8]>,
    size: usize,
}

impl Slots {
    /// Slots for one datagram each, with headroom for a header and room for an answer.
    pub(super) fn new(count: usize) -> Slots {
        Slots::of(count, SLOT)
    }

    /// Slots for datagrams that the kernel has put together. Pages are taken when they are used.
    pub(super) fn large(count: usize) -> Slots {
        Slots::of(count, LARGE_SLOT)
    }

    fn of(count: usize, size: usize) -> Slots {
        Slots { bytes: vec![0; count * (size + STAGGER)].into(), size }
    }

    fn slot(&self, at: usize) -> &[u8] {
        &self.bytes[at * (self.size + STAGGER)..][..self.size]
    }

    fn slot_mut(&mut self, at: usize) -> &mut [u8] {
        &mut self.bytes[at * (self.size + STAGGER)..][..self.size]
    }

    /// Where a client's datagram is received: behind room for a header.
    pub(super) fn behind_headroom(&mut self, at: usize) -> &mut [u8] {
        &mut self.slot_mut(at)[spp::HEADER..ANSWER_AT]
    }

    /// Where datagrams with their headers are received.
    pub(super) fn whole(&mut self, at: usize) -> &mut [u8] {
        self.slot_mut(at)
    }

    /// A client's datagram, and the room for an answer.
    pub(super) fn received(&mut self, at: usize, length: usize) -> (&[u8], &mut [u8; stun::MAX_RESPONSE]) {
        let (front, back) = self.slot_mut(at).split_at_mut(ANSWER_AT);
        let answer = back.first_chunk_mut().expect("the slot has room for an answer");
        (&front[spp::HEADER..][..length], answer)
    }

    /// The bytes of a piece.
    pub(super) fn bytes(&self, piece: &Piece) -> &[u8] {
        &self.slot(piece.slot)[piece.range.clone()]
    }

    /// Copies bytes of other slots to the front of a slot.
    pub(super) fn copy(&mut self, at: usize, from: &Slots, piece: &Piece) {
        let bytes = from.bytes(piece);
        self.slot_mut(at)[..bytes.len()].copy_from_slice(bytes);
    }

    /// Writes the SPP header in front of what a client sent; returns the piece to send.
    pub(super) fn with_header(&mut self, at: usize, length: usize, header: &spp::Header) -> Piece {
        self.slot_mut(at)[..spp::HEADER].copy_from_slice(&spp::pack(header));
        Piece { slot: at, range: 0..spp::HEADER + length }
    }
}

/// Bytes of a slot.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    slot: usize,
    range: Range<usize>,
}

impl Piece {
    /// Bytes as they were received.
    pub(super) fn of(slot: usize, range: Range<usize>) -> Piece {
        Piece { slot, range }
    }

    /// All that is in front of this many bytes.
    pub(super) fn whole(slot: usize, length: usize) -> Piece {
        Piece { slot, range: 0..length }
    }

    /// The answer that was written.
    pub(super) fn answer(slot: usize, length: usize) -> Piece {
        Piece { slot, range: ANSWER_AT..ANSWER_AT + length }
    }

    /// What is behind the SPP header.
    pub(super) fn behind_header(&self) -> Piece {
        Piece { slot: self.slot, range: self.range.start + spp::HEADER..self.range.end }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }
}
