//! Receiving many datagrams with one system call.
//!
//! On the internal leg the kernel may put datagrams of equal size that came together into one
//! buffer (UDP GRO). They have the same sender and may belong to different clients: whoever reads
//! a buffer reads each segment's own header.

use std::io;
use std::mem::zeroed;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::RawFd;

use super::message::{Control, Name, Said, read_control, read_name};
use super::slots::{Piece, Slots};

/// Datagrams, or buffers of them, per call. Precedent: 32 measured equal to 64, 2026-11; 64 leaves
/// room for bursts.
pub(super) const BATCH: usize = 64;
/// Asked for while little comes: preparing a place costs, also if it stays empty.
const SMALL_BATCH: usize = 8;
/// After so many calls in a row that brought no more than one, only one is asked for, which spares
/// the kernel a second look; and every so many calls it is tried whether more would come. Chosen.
const CALM: u32 = 16;

/// From whom a batch is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    /// Clients: one datagram a slot, with room for a header in front.
    Public,
    /// Transceivers and peers: each datagram brings its header.
    Internal,
}

/// One received buffer's place and addresses.
pub(super) struct Received {
    pub(super) source: SocketAddr,
    pub(super) said: Said,
    pub(super) length: usize,
}

impl Received {
    /// The datagrams in the buffer.
    pub(super) fn segments(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        segments(self.length, self.said.segment)
    }
}

/// Cuts a buffer of `length` bytes into the datagrams of `size` bytes that it was made of, of
/// which the last may be shorter. An empty datagram is one.
pub fn segments(length: usize, size: Option<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let size = size.filter(|size| *size > 0).unwrap_or(length.max(1));
    (0..length.div_ceil(size).max(1)).map(move |at| at * size..((at + 1) * size).min(length))
}

/// Buffers for one receiving call.
pub(super) struct Batch {
    pub(super) slots: Slots,
    leg: Leg,
    asked: usize,
    /// Calls in a row that brought no more than one buffer.
    calm: u32,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
}

impl Batch {
    pub(super) fn new(leg: Leg) -> Batch {
        // SAFETY: these are plain C structs for which all zeros is a value.
        let (name, vector, message) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Batch {
            slots: if leg == Leg::Public { Slots::new(BATCH) } else { Slots::large(BATCH) },
            leg,
            asked: SMALL_BATCH,
            calm: 0,
            names: vec![name; BATCH].into(),
            controls: vec![Control::EMPTY; BATCH].into(),
            vectors: vec![vector; BATCH].into(),
            messages: vec![message; BATCH].into(),
        }
    }

    /// Receives what is there, at most 64 buffers, without waiting. Says how many came, and whether
    /// to call again at once.
    pub(super) fn receive(&mut self, fd: RawFd) -> io::Result<(usize, bool)> {
        let asked = if self.calm >= CALM && !self.calm.is_multiple_of(CALM) { 1 } else { self.asked };
        for at in 0..asked {
            let space = if self.leg == Leg::Public { self.slots.behind_headroom(at) } else { self.slots.whole(at) };
            self.vectors[at] = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
            let header = &mut self.messages[at].msg_hdr;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = size_of::<Name>() as libc::socklen_t;
            header.msg_iov = &raw mut self.vectors[at];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[at].0.as_mut_ptr().cast();
            header.msg_controllen = size_of::<Control>() as _;
            header.msg_flags = 0;
        }
        // SAFETY: every header points into this batch's own arrays, which outlive the call and
        // are not moved (boxed); lengths are those of the arrays' elements.
        let count = unsafe {
            libc::recvmmsg(fd, self.messages.as_mut_ptr(), asked as _, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.calm = if count > 1 { 0 } else { self.calm.wrapping_add(1) };
        let is_full = count == asked && asked > 1;
        self.asked = if is_full { BATCH } else { (count * 2).clamp(SMALL_BATCH, BATCH) };
        Ok((count, is_full))
    }

    /// What the last call received at `at`; none if the kernel gave no internet address.
    pub(super) fn received(&self, at: usize) -> Option<Received> {
        let message = &self.messages[at];
        let has_control = message.msg_hdr.msg_controllen > 0;
        Some(Received {
            source: read_name(&self.names[at])?,
            // SAFETY: the last call of `receive` filled the control buffer and set its length.
            said: if has_control { unsafe { read_control(&message.msg_hdr) } } else { Said::default() },
            length: message.msg_len as usize,
        })
    }

    /// The bytes of a datagram that brought its header.
    pub(super) fn datagram(&self, at: usize, range: Range<usize>) -> (&[u8], Piece) {
        let piece = Piece::of(at, range);
        (self.slots.bytes(&piece), piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(length: usize, size: Option<usize>) -> Vec<(usize, usize)> {
        segments(length, size).map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn a_buffer_is_cut_into_what_it_was_made_of() {
        assert_eq!(cut(0, None), [(0, 0)]);
        assert_eq!(cut(100, None), [(0, 100)]);
        assert_eq!(cut(100, Some(100)), [(0, 100)]);
        assert_eq!(cut(100, Some(200)), [(0, 100)]);
        assert_eq!(cut(100, Some(40)), [(0, 40), (40, 80), (80, 100)]);
        assert_eq!(cut(80, Some(40)), [(0, 40), (40, 80)]);
        assert_eq!(cut(5, Some(0)), [(0, 5)]);
    }
}
