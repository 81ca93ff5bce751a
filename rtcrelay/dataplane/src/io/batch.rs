//! Receiving and sending many datagrams with one system call.
//!
//! A `Batch` owns the buffers, allocated once. A slot has headroom for the SPP header in front of
//! what was received and room for an answer behind it, so that a datagram is forwarded from where
//! it was received, without a copy. A `SendQueue` names pieces of slots; the pointers the kernel
//! wants are made when it is flushed and live only during the call.

use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::RawFd;

use crate::core::address::Endpoint;
use crate::core::path::MAX_CLAIMS;
use crate::core::{spp, stun};

/// Datagrams per call. Precedent: 32 measured equal to 64, 2026-11; 64 leaves room for bursts.
pub(super) const BATCH: usize = 64;
/// Bytes of a slot: header, the largest datagram and one byte more to notice larger ones, answer.
const SLOT: usize = 2048;
const ANSWER_AT: usize = SLOT - 64;
const _: () = assert!(stun::MAX_RESPONSE <= SLOT - ANSWER_AT && spp::HEADER * 2 + 1501 <= ANSWER_AT);
/// Room for one in_pktinfo or in6_pktinfo.
const CONTROL: usize = 64;

/// Where in a slot the received bytes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headroom {
    /// From a client: room for a header in front.
    Header,
    /// From the internal leg: it brings its header.
    None,
}

impl Headroom {
    fn bytes(self) -> usize {
        match self {
            Headroom::Header => spp::HEADER,
            Headroom::None => 0,
        }
    }
}

/// Control messages must be aligned like their header (cmsg(3)).
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// One received datagram's place and addresses.
pub(super) struct Received {
    pub(super) source: SocketAddr,
    /// The address it was sent to, where the socket reports it.
    pub(super) local: Option<IpAddr>,
    pub(super) length: usize,
}

/// Buffers for datagrams.
pub(super) struct Slots(Box<[[u8; SLOT]]>);

impl Slots {
    pub(super) fn new(count: usize) -> Slots {
        Slots(vec![[0; SLOT]; count].into())
    }

    /// The payload behind a header or the room for one.
    pub(super) fn payload(&self, at: usize, length: usize) -> &[u8] {
        &self.0[at][spp::HEADER..][..length]
    }

    /// A header and the payload behind it.
    pub(super) fn datagram(&self, at: usize, length: usize) -> &[u8] {
        &self.0[at][..length]
    }

    /// Copies a datagram and the room in front of it into a slot.
    pub(super) fn copy(&mut self, at: usize, from: &Slots, other: usize) {
        self.0[at].copy_from_slice(&from.0[other]);
    }

    /// Writes the SPP header in front of what a client sent; returns the piece to send.
    pub(super) fn with_header(&mut self, at: usize, length: usize, header: &spp::Header) -> Piece {
        self.0[at][..spp::HEADER].copy_from_slice(&spp::pack(header));
        Piece { slot: at, range: 0..spp::HEADER + length }
    }
}

/// Buffers for one receiving call.
pub(super) struct Batch {
    pub(super) slots: Slots,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
    headroom: Headroom,
}

impl Batch {
    pub(super) fn new() -> Batch {
        // SAFETY: these are plain C structs for which all zeros is a value.
        let (name, vector, message) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Batch {
            slots: Slots::new(BATCH),
            names: vec![name; BATCH].into(),
            controls: vec![Control([0; CONTROL]); BATCH].into(),
            vectors: vec![vector; BATCH].into(),
            messages: vec![message; BATCH].into(),
            headroom: Headroom::None,
        }
    }

    /// Receives what is there, at most 64 datagrams, without waiting.
    pub(super) fn receive(&mut self, fd: RawFd, headroom: Headroom) -> io::Result<usize> {
        self.headroom = headroom;
        for at in 0..BATCH {
            let space = &mut self.slots.0[at][headroom.bytes()..ANSWER_AT];
            self.vectors[at] = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
            let header = &mut self.messages[at].msg_hdr;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut self.vectors[at];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[at].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        // SAFETY: every header points into this batch's own arrays, which outlive the call and
        // are not moved (boxed); lengths are those of the arrays' elements.
        let count = unsafe {
            libc::recvmmsg(fd, self.messages.as_mut_ptr(), BATCH as _, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
        };
        if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
    }

    /// What the last call received at `at`; none if the kernel gave no internet address.
    pub(super) fn received(&self, at: usize) -> Option<Received> {
        let message = &self.messages[at];
        Some(Received {
            source: read_name(&self.names[at])?,
            // SAFETY: the last call of `receive` filled the control buffer and set its length.
            local: unsafe { packet_info(&message.msg_hdr) },
            length: message.msg_len as usize,
        })
    }

    /// The received bytes, and the room for an answer.
    pub(super) fn payload(&mut self, at: usize, length: usize) -> (&[u8], &mut [u8; stun::MAX_RESPONSE]) {
        let (front, back) = self.slots.0[at].split_at_mut(ANSWER_AT);
        let answer = back.first_chunk_mut().expect("the slot has room for an answer");
        (&front[self.headroom.bytes()..][..length], answer)
    }
}

/// Bytes of a slot.
pub(super) struct Piece {
    slot: usize,
    range: Range<usize>,
}

impl Piece {
    /// All that was received with its own header.
    pub(super) fn whole(slot: usize, length: usize) -> Piece {
        Piece { slot, range: 0..length }
    }

    /// What is behind the SPP header.
    pub(super) fn behind_header(slot: usize, length: usize) -> Piece {
        Piece { slot, range: spp::HEADER..length }
    }

    /// The answer that was written.
    pub(super) fn answer(slot: usize, length: usize) -> Piece {
        Piece { slot, range: ANSWER_AT..ANSWER_AT + length }
    }
}

/// A datagram on its way.
pub(super) struct Outgoing {
    pub(super) piece: Piece,
    pub(super) to: Endpoint,
    /// The address to send from, on a wildcard socket.
    pub(super) from: Option<IpAddr>,
}

/// What became of a queue.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// Datagrams that wait for one socket until their batch has been judged.
pub(super) struct SendQueue {
    waiting: Vec<Outgoing>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
}

/// A batch in which every datagram goes to every claim of its path.
const QUEUE: usize = BATCH * MAX_CLAIMS;

impl SendQueue {
    pub(super) fn new() -> SendQueue {
        // SAFETY: these are plain C structs for which all zeros is a value.
        let (name, vector, message) = unsafe { (zeroed(), zeroed(), zeroed()) };
        SendQueue {
            waiting: Vec::with_capacity(QUEUE),
            names: vec![name; QUEUE].into(),
            controls: vec![Control([0; CONTROL]); QUEUE].into(),
            vectors: vec![vector; QUEUE].into(),
            messages: vec![message; QUEUE].into(),
        }
    }

    pub(super) fn push(&mut self, outgoing: Outgoing) {
        debug_assert!(self.waiting.len() < QUEUE);
        self.waiting.push(outgoing);
    }

    /// Sends everything. A datagram the kernel refuses is reported and the rest goes on; no
    /// error stops a worker.
    pub(super) fn flush(&mut self, fd: RawFd, slots: &Slots, mut refused: impl FnMut(&io::Error)) -> Sent {
        let count = self.waiting.len();
        for at in 0..count {
            self.prepare(at, slots);
        }
        let (mut at, mut sent, mut tried) = (0, Sent::default(), 0);
        while at < count {
            // SAFETY: messages `at..count` were prepared above and point into this queue's own
            // boxed arrays and into `slots`, all of which outlive the call.
            let done = unsafe {
                libc::sendmmsg(fd, self.messages[at..count].as_mut_ptr(), (count - at) as _, libc::MSG_DONTWAIT as _)
            };
            if done > 0 {
                sent.packets += done as u64;
                sent.bytes += self.messages[at..at + done as usize].iter().map(|m| u64::from(m.msg_len)).sum::<u64>();
                at += done as usize;
                tried = 0;
                continue;
            }
            let error = io::Error::last_os_error();
            // The error of an earlier datagram (ICMP, too large) is reported once on the next
            // call, whatever that sends (IP_RECVERR): try again before believing it.
            if error.kind() == io::ErrorKind::Interrupted || (tried < 2 && !is_about_this_call(&error)) {
                tried += 1;
                continue;
            }
            refused(&error);
            at += 1;
            tried = 0;
        }
        self.waiting.clear();
        sent
    }

    fn prepare(&mut self, at: usize, slots: &Slots) {
        let outgoing = &self.waiting[at];
        let bytes = &slots.0[outgoing.piece.slot][outgoing.piece.range.clone()];
        // The kernel only reads what it sends.
        self.vectors[at] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let name_length = write_name(outgoing.to.into(), &mut self.names[at]);
        let control_length = outgoing.from.map_or(0, |from| write_packet_info(from, &mut self.controls[at]));
        let header = &mut self.messages[at].msg_hdr;
        header.msg_name = (&raw mut self.names[at]).cast();
        header.msg_namelen = name_length;
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
        header.msg_control =
            if control_length > 0 { self.controls[at].0.as_mut_ptr().cast() } else { std::ptr::null_mut() };
        header.msg_controllen = control_length as _;
    }
}

/// Whether the error can only be about the datagram that was to be sent now.
fn is_about_this_call(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

/// An ICMP error about a datagram that was sent.
pub(super) struct IcmpError {
    /// Where the datagram went.
    pub(super) destination: SocketAddr,
    /// Whether nobody is there; else it was too large, too old or refused locally.
    pub(super) is_unreachable: bool,
}

/// Takes one error off a socket's error queue; none if it is empty.
pub(super) fn take_icmp_error(fd: RawFd) -> Option<IcmpError> {
    let mut control = Control([0; CONTROL]);
    // SAFETY: all zeros is a value of both structs.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    // SAFETY: the header points to live locals and has no data vector.
    let result = unsafe { libc::recvmsg(fd, &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if result < 0 {
        return None;
    }
    // SAFETY: the kernel filled `control`, which `header` points to, and set its length.
    let is_unreachable = unsafe { reports_unreachable(&header) };
    Some(IcmpError { destination: read_name(&name)?, is_unreachable })
}

/// Whether an extended error says that the destination cannot be reached.
///
/// # Safety
/// `msg_control` points to `msg_controllen` bytes that the kernel wrote.
unsafe fn reports_unreachable(header: &libc::msghdr) -> bool {
    const FRAGMENTATION_NEEDED: u8 = 4; // RFC 792, code of type 3
    // SAFETY: as the caller promises; the macros stay inside, and the struct is copied out.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let kind = ((*control).cmsg_level, (*control).cmsg_type);
            if kind == (libc::IPPROTO_IP, libc::IP_RECVERR) || kind == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) {
                let error = libc::CMSG_DATA(control).cast::<libc::sock_extended_err>().read_unaligned();
                return match error.ee_origin {
                    libc::SO_EE_ORIGIN_ICMP => error.ee_type == 3 && error.ee_code != FRAGMENTATION_NEEDED,
                    libc::SO_EE_ORIGIN_ICMP6 => error.ee_type == 1, // RFC 4443
                    _ => false,
                };
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    false
}

fn read_name(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct the storage, large enough for any, holds.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, 0).into())
        }
        _ => None,
    }
}

fn write_name(address: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: the storage is large enough and aligned for any address.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = address.port().to_be();
            name.sin6_flowinfo = 0;
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = 0;
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// The address that a datagram was sent to, from its control message.
///
/// # Safety
/// `msg_control` points to `msg_controllen` bytes that the kernel wrote.
unsafe fn packet_info(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: as the caller promises; the macros stay inside, and the structs are copied out.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => control = libc::CMSG_NXTHDR(header, control),
            }
        }
    }
    None
}

/// Writes the control message that chooses the source address; returns its length.
fn write_packet_info(from: IpAddr, control: &mut Control) -> usize {
    fn write<T>(control: &mut Control, level: libc::c_int, kind: libc::c_int, info: T) -> usize {
        let header = control.0.as_mut_ptr().cast::<libc::cmsghdr>();
        // SAFETY: CMSG_SPACE of both structs is under the 64 aligned bytes of the buffer.
        unsafe {
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<T>() as _) as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(info);
            libc::CMSG_SPACE(size_of::<T>() as _) as usize
        }
    }
    match from {
        IpAddr::V4(ip) => {
            let address = libc::in_addr { s_addr: u32::from(ip).to_be() };
            let info =
                libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
            write(control, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(ip) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
            write(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}
