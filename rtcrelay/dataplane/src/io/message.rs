//! What stands beside a datagram in a system call: addresses, control messages, ICMP errors.

use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// An address of either family.
pub(super) type Name = libc::sockaddr_in6;
const _: () = assert!(size_of::<libc::sockaddr_in>() <= size_of::<Name>());

/// Room for one in6_pktinfo and one segment size, the most that is sent; what is received is less.
const CONTROL: usize = 64;
/// linux/udp.h: sending in groups (Linux 4.18), receiving in groups (Linux 5.0).
const UDP_SEGMENT: libc::c_int = 103;
pub(super) const UDP_GRO: libc::c_int = 104;

/// Control messages must be aligned like their header (cmsg(3)).
#[repr(align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control(pub(super) [u8; CONTROL]);

impl Control {
    pub(super) const EMPTY: Control = Control([0; CONTROL]);
}

/// What the control messages of a received datagram say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// The address it was sent to, where the socket reports it.
    pub(super) local: Option<IpAddr>,
    /// The size of the datagrams that the kernel has put together here; none if it is one.
    pub(super) segment: Option<usize>,
}

/// Reads the control messages of a received datagram.
///
/// # Safety
/// `msg_control` points to `msg_controllen` bytes that the kernel wrote.
pub(super) unsafe fn read_control(header: &libc::msghdr) -> Said {
    let mut said = Said::default();
    // SAFETY: as the caller promises; the macros stay inside, and the values are copied out.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    said.local = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    said.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                (libc::IPPROTO_UDP, UDP_GRO) => {
                    let size = data.cast::<libc::c_int>().read_unaligned();
                    said.segment = usize::try_from(size).ok().filter(|size| *size > 0);
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    said
}

/// Writes the control messages for sending: the source address, and the size into which the kernel
/// cuts. Returns their length, 0 for none.
pub(super) fn write_control(control: &mut Control, from: Option<IpAddr>, segment: Option<u16>) -> usize {
    let mut length = 0;
    match from {
        Some(IpAddr::V4(ip)) => {
            let address = libc::in_addr { s_addr: u32::from(ip).to_be() };
            let info =
                libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
            length = push(control, length, (libc::IPPROTO_IP, libc::IP_PKTINFO), info);
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
            length = push(control, length, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), info);
        }
        None => {}
    }
    if let Some(size) = segment {
        length = push(control, length, (libc::IPPROTO_UDP, UDP_SEGMENT), size);
    }
    length
}

/// Adds a control message at `at`; returns the length so far.
fn push<T>(control: &mut Control, at: usize, kind: (libc::c_int, libc::c_int), value: T) -> usize {
    // SAFETY: CMSG_SPACE computes.
    let space = unsafe { libc::CMSG_SPACE(size_of::<T>() as _) as usize };
    let header = control.0[at..at + space].as_mut_ptr().cast::<libc::cmsghdr>();
    // SAFETY: the slice above has room for all of it; `at` is a sum of such spaces, so aligned.
    unsafe {
        (*header).cmsg_level = kind.0;
        (*header).cmsg_type = kind.1;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<T>() as _) as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
    }
    at + space
}

pub(super) fn read_name(name: &Name) -> Option<SocketAddr> {
    match libc::c_int::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct it is, and there is room for either.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, 0).into())
        }
        _ => None,
    }
}

pub(super) fn write_name(address: SocketAddr, name: &mut Name) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: there is room for either struct, and both are aligned alike.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = address.port().to_be();
            name.sin6_flowinfo = 0;
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = 0;
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
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
    let mut control = Control::EMPTY;
    // SAFETY: all zeros is a value of both structs.
    let (mut name, mut header): (Name, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<Name>() as libc::socklen_t;
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
