//! UDP sockets as the relay wants them: shared ports, large buffers, whole batches.
//!
//! The only unsafe code of the crate is here and in `wait`, `message`, `batch` and `send`.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::message::UDP_GRO;

use socket2::{Domain, Protocol, Socket, Type};

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Clients; a wildcard address learns which address each datagram was sent to.
    Public,
    /// Transceivers and peers; ICMP errors are reported.
    Internal,
}

/// Who shares an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// The first of a group binds alone, so that an address anybody has is refused: a socket that
    /// shared from the start would join another relay of the same user in silence.
    First,
    /// The others join it.
    Other,
}

/// A bound socket.
pub(super) struct Bound {
    pub(super) socket: UdpSocket,
    /// The smaller of the two buffer sizes the kernel gave, in bytes.
    pub(super) buffer: usize,
    /// Whether the kernel puts datagrams together where that is wanted.
    pub(super) receives_together: bool,
}

/// Binds one member of a group that shares `address`.
pub(super) fn bind(address: SocketAddr, role: Role, member: Member, buffer: usize) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let (level, packet_info, receive_errors) = if address.is_ipv6() {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, libc::IPV6_RECVERR)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_RECVERR)
    };
    match role {
        Role::Public if address.ip().is_unspecified() => switch_on(socket.as_raw_fd(), level, packet_info)?,
        Role::Public => {}
        Role::Internal => switch_on(socket.as_raw_fd(), level, receive_errors)?,
    }
    let receives_together = tune(&socket, role);
    let given = enlarge(&socket, buffer)?;
    socket.set_reuse_port(member == Member::Other)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    Ok(Bound { socket: socket.into(), buffer: given, receives_together })
}

/// On the internal leg, has the kernel put datagrams together that came together. Says whether it
/// does, or need not.
pub(super) fn tune(socket: &impl AsRawFd, role: Role) -> bool {
    role == Role::Public || switch_on(socket.as_raw_fd(), libc::IPPROTO_UDP, UDP_GRO).is_ok()
}

/// Datagrams that a socket has lost since it was bound because nobody took them in time: what
/// SO_RXQ_OVFL would report beside every datagram. 0 if the kernel does not say (Linux 4.12).
pub(super) fn lost(socket: &impl AsRawFd) -> u32 {
    const DROPS: usize = 8; // SK_MEMINFO_DROPS
    let mut values = [0u32; DROPS + 1];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the pointers and the length describe `values`, which outlives the call.
    let result = unsafe {
        let values = values.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, values, &mut length)
    };
    if result == 0 { values[DROPS] } else { 0 }
}

/// asm-generic/socket.h
const SO_MEMINFO: libc::c_int = 55;

/// Asks for `buffer` bytes each way, with force where that is allowed, and returns what is there.
fn enlarge(socket: &Socket, buffer: usize) -> io::Result<usize> {
    let bytes = libc::c_int::try_from(buffer).unwrap_or(libc::c_int::MAX);
    let fd = socket.as_raw_fd();
    if set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_err() {
        socket.set_recv_buffer_size(buffer)?;
    }
    if set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).is_err() {
        socket.set_send_buffer_size(buffer)?;
    }
    // Linux doubles the value for its own bookkeeping (socket(7)).
    Ok(socket.recv_buffer_size()?.min(socket.send_buffer_size()?) / 2)
}

fn switch_on(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    set_option(fd, level, name, 1)
}

fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over a UDP socket of another process.
pub fn adopt_descriptor(fd: RawFd) -> io::Result<UdpSocket> {
    // SAFETY: fcntl only looks at the number; whoever passes it gives an open one away.
    let owned = unsafe {
        if libc::fcntl(fd, libc::F_GETFD) < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let socket = Socket::from(owned);
    if socket.r#type()? != Type::DGRAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no UDP socket"));
    }
    socket.set_cloexec(true)?;
    Ok(socket.into())
}

/// A descriptor that one thread wakes another with.
pub(super) fn wake_up() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked before it is owned.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Wakes whoever polls the descriptor; it stays readable.
pub(super) fn wake(fd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the pointer and length describe `one`. Failing means it is readable already.
    unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Makes a descriptor that was woken wait again.
pub(super) fn sleep(fd: &OwnedFd) {
    let mut count = [0u8; 8];
    // SAFETY: the pointer and length describe `count`. Failing means it was not readable.
    unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// Keeps this thread on one processor.
pub(super) fn pin(processor: usize) -> io::Result<()> {
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a zeroed set is a value, the number is below its size, and pointer and length describe it.
    let result = unsafe {
        let mut only: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut only);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &only)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Blocks every signal in this thread, so that Python's main thread gets them.
pub(super) fn block_signals() {
    // SAFETY: a zeroed set is a valid argument for sigfillset, which fills it before its use.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// Sixteen bytes nobody outside knows.
pub(super) fn random_key() -> io::Result<[u8; 16]> {
    let mut key = [0u8; 16];
    // SAFETY: the pointer and length describe `key`; so few bytes come whole (getrandom(2)).
    let count = unsafe { libc::getrandom(key.as_mut_ptr().cast(), key.len(), 0) };
    if count == key.len() as isize { Ok(key) } else { Err(io::Error::last_os_error()) }
}
