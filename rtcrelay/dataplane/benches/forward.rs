//! What forwarding costs with real sockets on loopback: `cargo bench --bench forward`.
//!
//! One relay worker and one bare forwarder, which does the same system calls and no more, take
//! turns between the same generator and the same echo. The figure is the CPU time of the
//! forwarding thread per forwarded packet, kernel included, and its ratio to the bare
//! forwarder's; wall time says little on a small machine. Loopback is not a network card: it
//! does the receiver's work in the sender's thread.

#[path = "loopback/mod.rs"]
mod loopback;

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use _dataplane::core::spp;
use loopback::{Echo, ROUNDS, clients, measure, median, with_relay};

fn main() {
    println!("{:>6} {:>6}  {:>12} {:>12} {:>7}", "flows", "burst", "relay ns", "bare ns", "ratio");
    for (flows, burst) in [(1, 1), (1000, 1), (1000, 8), (1000, 64)] {
        let mut ratios = Vec::new();
        let (mut relays, mut bares) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (relay, bare) = (with_relay(flows, burst, true), with_bare_forwarder(flows, burst));
            ratios.push(relay / bare);
            relays.push(relay);
            bares.push(bare);
        }
        println!(
            "{flows:>6} {burst:>6}  {:>12.0} {:>12.0} {:>7.2}",
            median(&mut relays),
            median(&mut bares),
            median(&mut ratios)
        );
    }
}

/// Forwards every packet to the echo, and every packet of the echo to the client that its header
/// names: 64 a call, as the relay does.
fn with_bare_forwarder(flows: usize, burst: usize) -> f64 {
    let echo = Echo::start();
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let (public, internal) = (bind(), bind());
    let (public_address, proxy) = (public.local_addr().expect("bound"), internal.local_addr().expect("bound"));
    let to = echo.socket.local_addr().expect("bound");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("bare-forwarder".into());
    let thread = thread.spawn(move || {
        let mut calls = Calls::new();
        while !stopped.load(Relaxed) {
            let mut ready =
                [&public, &internal].map(|s| libc::pollfd { fd: s.as_raw_fd(), events: libc::POLLIN, revents: 0 });
            // SAFETY: the pointer and length describe the array.
            unsafe { libc::poll(ready.as_mut_ptr(), 2, 20) };
            if ready[0].revents != 0 {
                calls.forward(&public, &internal, |client, bytes| {
                    bytes[..spp::HEADER].copy_from_slice(&spp::pack(&spp::Header { client, proxy }));
                    (to, 0)
                });
            }
            if ready[1].revents != 0 {
                calls.forward(&internal, &public, |_, bytes| {
                    let (header, _) = spp::unpack(&bytes[spp::HEADER..]).expect("the echo sends what it got");
                    (header.client, 2 * spp::HEADER)
                });
            }
        }
    });
    let thread = thread.expect("a thread");
    let cost = measure("bare-forwarder", &clients(flows, public_address), burst);
    stop.store(true, Relaxed);
    thread.join().expect("no panic");
    cost
}

const BATCH: usize = 64;

/// recvmmsg and sendmmsg over buffers of their own, for IPv4.
struct Calls {
    buffers: Vec<[u8; 2048]>,
    names: Vec<libc::sockaddr_in>,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl Calls {
    fn new() -> Calls {
        // SAFETY: these are plain C structs for which all zeros is a value.
        let (name, vector, message) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        Calls {
            buffers: vec![[0; 2048]; BATCH],
            names: vec![name; BATCH],
            vectors: vec![vector; BATCH],
            messages: vec![message; BATCH],
        }
    }

    /// Receives a batch behind room for a header, asks where each goes and from which byte on, sends.
    fn forward(
        &mut self,
        from: &UdpSocket,
        to: &UdpSocket,
        mut route: impl FnMut(SocketAddr, &mut [u8]) -> (SocketAddr, usize),
    ) {
        for at in 0..BATCH {
            let space = &mut self.buffers[at][spp::HEADER..];
            self.vectors[at] = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
            let header = &mut self.messages[at].msg_hdr;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = &raw mut self.vectors[at];
            header.msg_iovlen = 1;
        }
        let dontwait = libc::MSG_DONTWAIT as _;
        // SAFETY: the headers point into this struct's vectors, which outlive the call.
        let count = unsafe {
            libc::recvmmsg(from.as_raw_fd(), self.messages.as_mut_ptr(), BATCH as _, dontwait, std::ptr::null_mut())
        };
        let count = usize::try_from(count).unwrap_or(0);
        for at in 0..count {
            let name = self.names[at];
            let source =
                SocketAddr::from((u32::from_be(name.sin_addr.s_addr).to_be_bytes(), u16::from_be(name.sin_port)));
            let end = spp::HEADER + self.messages[at].msg_len as usize;
            let (SocketAddr::V4(next), start) = route(source, &mut self.buffers[at]) else { unreachable!("IPv4 only") };
            self.names[at].sin_port = next.port().to_be();
            self.names[at].sin_addr.s_addr = u32::from(*next.ip()).to_be();
            let bytes = &mut self.buffers[at][start..end];
            self.vectors[at] = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        }
        // SAFETY: as above.
        unsafe { libc::sendmmsg(to.as_raw_fd(), self.messages.as_mut_ptr(), count as _, dontwait) };
    }
}
