//! Sending many datagrams with few system calls and few passes through the kernel.
//!
//! Datagrams of equal size to one destination leave together (`groups`): on the internal leg all
//! clients' datagrams have one destination.

use std::io;
use std::mem::zeroed;
use std::net::IpAddr;
use std::os::fd::RawFd;

use super::groups::{Datagram, Groups, QUEUE};
use super::message::{Control, Name, write_control, write_name};
use super::slots::{Piece, Slots};
use crate::core::address::Endpoint;

/// A datagram on its way.
pub(super) struct Outgoing {
    pub(super) piece: Piece,
    pub(super) to: Endpoint,
    /// The address to send from, on a wildcard socket.
    pub(super) from: Option<IpAddr>,
    /// Any number that the datagrams of one flow share.
    pub(super) flow: u32,
}

/// What became of a queue.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Calls of the kernel's UDP stack that carried more than one datagram, and their datagrams.
    pub(super) groups: u64,
    pub(super) grouped: u64,
    /// Groups that the kernel refused; their datagrams went one by one.
    pub(super) refused_groups: u64,
}

/// Datagrams that wait for one socket until their batch has been judged.
pub(super) struct SendQueue {
    waiting: Vec<Outgoing>,
    groups: Groups,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
}

impl SendQueue {
    pub(super) fn new() -> SendQueue {
        // SAFETY: these are plain C structs for which all zeros is a value.
        let (name, vector, message) = unsafe { (zeroed(), zeroed(), zeroed()) };
        SendQueue {
            waiting: Vec::with_capacity(QUEUE),
            groups: Groups::default(),
            names: vec![name; QUEUE].into(),
            controls: vec![Control::EMPTY; QUEUE].into(),
            vectors: vec![vector; QUEUE].into(),
            messages: vec![message; QUEUE].into(),
        }
    }

    /// Whether `more` datagrams still fit.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.waiting.len() + more <= QUEUE
    }

    /// Adds a datagram; there is room for it.
    pub(super) fn push(&mut self, outgoing: Outgoing) {
        debug_assert!(self.has_room(1));
        self.waiting.push(outgoing);
    }

    /// Sends everything. A datagram the kernel refuses is reported and the rest goes on; no
    /// error stops a worker.
    pub(super) fn flush(&mut self, fd: RawFd, slots: &Slots, mut refused: impl FnMut(&io::Error)) -> Sent {
        let mut sent = Sent::default();
        if self.waiting.is_empty() {
            return sent;
        }
        if let [Outgoing { piece, to, from: None, .. }] = &self.waiting[..] {
            match send_one(fd, slots.bytes(piece), *to) {
                Ok(bytes) => (sent.packets, sent.bytes) = (1, bytes as u64),
                Err(error) => refused(&error),
            }
            self.waiting.clear();
            return sent;
        }
        let waiting = &self.waiting;
        self.groups.form(waiting.len(), |at| {
            let Outgoing { piece, to, from, flow } = &waiting[at];
            Datagram { length: piece.len(), to: *to, from: *from, flow: *flow }
        });
        let count = self.prepare(slots);
        let mut at = 0;
        while at < count {
            let error = match self.send(fd, at..count, &mut sent) {
                Ok(done) => {
                    at += done;
                    continue;
                }
                Err(error) => error,
            };
            let group = self.groups.all()[at];
            if group.count > 1 && !is_about_this_call(&error) {
                self.groups.learn(group.size, error.raw_os_error());
                sent.refused_groups += 1;
                self.send_apart(fd, at, slots, &mut sent, &mut refused);
            } else {
                (0..group.count).for_each(|_| refused(&error));
            }
            at += 1;
        }
        self.waiting.clear();
        sent
    }

    /// Fills in a message for each group; returns how many there are.
    fn prepare(&mut self, slots: &Slots) -> usize {
        let mut vector = 0;
        for at in 0..self.groups.all().len() {
            let (group, start) = (self.groups.all()[at], vector);
            for one in self.groups.members(&group) {
                self.vectors[vector] = vector_of(slots.bytes(&self.waiting[one].piece));
                vector += 1;
            }
            let segment = (group.count > 1).then_some(group.size);
            self.address(at, usize::from(group.first), start..vector, segment);
        }
        self.groups.all().len()
    }

    /// Fills in message `at` for the vectors of datagrams like `waiting[like]`.
    fn address(&mut self, at: usize, like: usize, vectors: std::ops::Range<usize>, segment: Option<u16>) {
        let outgoing = &self.waiting[like];
        let name_length = write_name(outgoing.to.into(), &mut self.names[at]);
        let control_length = match (outgoing.from, segment) {
            (None, None) => 0,
            (from, segment) => write_control(&mut self.controls[at], from, segment),
        };
        let header = &mut self.messages[at].msg_hdr;
        header.msg_name = (&raw mut self.names[at]).cast();
        header.msg_namelen = name_length;
        header.msg_iov = &raw mut self.vectors[vectors.start];
        header.msg_iovlen = vectors.len() as _;
        header.msg_control =
            if control_length > 0 { self.controls[at].0.as_mut_ptr().cast() } else { std::ptr::null_mut() };
        header.msg_controllen = control_length as _;
    }

    /// Sends messages from the first on; returns how many went, or why the first did not.
    fn send(&mut self, fd: RawFd, messages: std::ops::Range<usize>, sent: &mut Sent) -> io::Result<usize> {
        let first = messages.start;
        let left = &mut self.messages[messages];
        // SAFETY: these messages were prepared and point into this queue's own boxed arrays and
        // into the slots that the caller of `flush` lends, all of which outlive the call.
        let mut send = || unsafe { libc::sendmmsg(fd, left.as_mut_ptr(), left.len() as _, libc::MSG_DONTWAIT as _) };
        let done = tried(|| send() as isize)?;
        for message in &self.messages[first..first + done] {
            let count = message.msg_hdr.msg_iovlen as u64;
            sent.packets += count;
            sent.bytes += u64::from(message.msg_len);
            if count > 1 {
                sent.groups += 1;
                sent.grouped += count;
            }
        }
        Ok(done)
    }

    /// Sends the datagrams of a refused group one by one, with the room of its message.
    fn send_apart(
        &mut self,
        fd: RawFd,
        at: usize,
        slots: &Slots,
        sent: &mut Sent,
        refused: &mut impl FnMut(&io::Error),
    ) {
        let start = self.groups.all()[..at].iter().map(|group| usize::from(group.count)).sum::<usize>();
        let group = self.groups.all()[at];
        let mut next = Some(usize::from(group.first));
        while let Some(one) = next {
            next = self.groups.after(one);
            self.vectors[start] = vector_of(slots.bytes(&self.waiting[one].piece));
            self.address(at, one, start..start + 1, None);
            if let Err(error) = self.send(fd, at..at + 1, sent) {
                refused(&error);
            }
        }
    }
}

/// Sends one datagram, with less around it; returns its bytes.
fn send_one(fd: RawFd, datagram: &[u8], to: Endpoint) -> io::Result<usize> {
    // SAFETY: all zeros is a value.
    let mut name: Name = unsafe { zeroed() };
    let length = write_name(to.into(), &mut name);
    let (start, bytes) = (datagram.as_ptr().cast(), datagram.len());
    // SAFETY: the pointers and lengths describe `datagram` and `name`.
    tried(|| unsafe { libc::sendto(fd, start, bytes, libc::MSG_DONTWAIT, (&raw const name).cast(), length) })
}

/// The result of a sending call. The error of an earlier datagram (ICMP, too large) is reported
/// once on the next call, whatever that sends (IP_RECVERR): it is made again before it is believed.
fn tried(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    let mut tried = 0;
    loop {
        if let Ok(done) = usize::try_from(call()) {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted && (tried == 2 || is_about_this_call(&error)) {
            return Err(error);
        }
        tried += 1;
    }
}

/// The kernel only reads what it sends.
fn vector_of(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Whether the error can only be about the datagram that was to be sent now.
fn is_about_this_call(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}
