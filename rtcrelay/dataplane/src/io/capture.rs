//! Captures: copies of the packets of chosen flows, for an operator who asked for them.
//!
//! Off, they cost one relaxed load for a batch. On, a packet that is taken is copied into the
//! ring of the capture, which is bounded and allocated when the capture starts; what finds no
//! room is counted, and forwarding does not wait for whoever reads.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use crate::core::address::{Endpoint, PathKey};
use crate::core::capture::{self, Filter, Seen};
use crate::core::path::MAX_CLAIMS;
use crate::core::policy::Policy;
use crate::core::relay::{FromClient, Hops, Relay, Verdict};
use crate::core::spp;
use crate::core::table::locked;
use crate::stats::DropReason;

/// Captures at once; chosen: operators, not programs, ask for them.
pub const MAX_CAPTURES: usize = 8;
/// Bytes that wait for the reader of one capture; chosen: some 30 ms of a full gigabit, or half a
/// second of headers at 100,000 packets a second.
const RING: usize = 4 << 20;
/// Bytes of a record in front of the packet's own.
pub const RECORD_HEADER: usize = 56;
/// Paths on which a capture has seen one of its ufrags; the oldest gives way.
const REMEMBERED: usize = 64;
const _: () = assert!(RING < u32::MAX as usize);

/// How much of a payload is kept.
#[derive(Clone, Copy, Debug)]
pub struct Snap {
    /// Also what people said, as it was encrypted; else `capture::header_length`.
    pub full: bool,
    /// Bytes at most.
    pub most: usize,
}

impl Snap {
    fn of(self, payload: &[u8]) -> usize {
        let length = if self.full { payload.len() } else { capture::header_length(payload) };
        length.min(payload.len()).min(self.most)
    }
}

/// Where a packet was seen.
#[derive(Clone, Copy)]
enum Point {
    FromClient = 0,
    ToClient = 1,
    InternalIn = 2,
    InternalOut = 3,
}

/// A packet at one point, without its bytes.
#[derive(Clone, Copy)]
struct Sight {
    point: Point,
    listener: usize,
    source: SocketAddr,
    destination: SocketAddr,
    /// Why it went no further.
    dropped: Option<DropReason>,
    /// It waits for the route cache's answer.
    held: bool,
}

struct Ring {
    bytes: VecDeque<u8>,
    lost: u64,
    remembered: [Option<PathKey>; REMEMBERED],
    oldest: usize,
}

/// One capture.
pub struct Capture {
    filter: Filter,
    snap: Snap,
    ring: Mutex<Ring>,
}

impl Capture {
    fn new(filter: Filter, snap: Snap) -> Capture {
        let bytes = VecDeque::with_capacity(RING);
        Capture { filter, snap, ring: Mutex::new(Ring { bytes, lost: 0, remembered: [None; REMEMBERED], oldest: 0 }) }
    }

    /// Takes whole records, about `limit` bytes and at least one if there is any, and says how
    /// many packets found no room so far.
    pub fn take(&self, limit: usize) -> (Vec<u8>, u64) {
        let mut taken = Vec::with_capacity(limit.min(RING)); // before the lock: a worker may wait for that
        let mut ring = locked(&self.ring);
        let mut end = 0;
        while let Some(length) = ring.record_at(end)
            && (end == 0 || end + length <= limit)
        {
            end += length;
        }
        taken.extend(ring.bytes.drain(..end));
        (taken, ring.lost)
    }

    fn takes(&self, relay: &Relay, policy: &Policy, seen: &Seen<'_>, hops: &[Option<Endpoint>]) -> bool {
        if !self.filter.takes_client(seen) {
            return false;
        }
        let by_ufrag = self.filter.names_ufrag(seen);
        if let (true, Some(key)) = (by_ufrag, seen.key) {
            locked(&self.ring).remember(key);
        }
        let (mut node, mut ufrag) =
            (self.filter.takes_node(seen, hops, None, policy), by_ufrag || self.filter.ufrags.is_empty());
        if let (false, Some(key)) = (node && ufrag, seen.key) {
            relay.with_path(&key, |path| {
                node = node || self.filter.takes_node(seen, hops, Some(path), policy);
                ufrag = ufrag || self.filter.takes_claims(path);
            });
            ufrag = ufrag || locked(&self.ring).remembered.contains(&Some(key));
        }
        node && ufrag
    }

    /// Keeps a packet: an SPP header, if it is not in `payload`'s place already, and the payload.
    fn keep(&self, sight: &Sight, header: &[u8], payload: &[u8]) {
        let kept = &payload[..self.snap.of(payload)];
        let length = header.len() + kept.len();
        let mut ring = locked(&self.ring);
        if ring.bytes.len() + RECORD_HEADER + length > RING {
            ring.lost += 1;
            return;
        }
        ring.bytes.extend(sight.record(length, header.len() + payload.len()));
        ring.bytes.extend(header);
        ring.bytes.extend(kept);
    }
}

impl Ring {
    /// The length of the record that begins at a byte, if one does.
    fn record_at(&self, at: usize) -> Option<usize> {
        let mut length = [0; 4];
        for (n, byte) in length.iter_mut().enumerate() {
            *byte = *self.bytes.get(at + n)?;
        }
        Some(RECORD_HEADER + u32::from_be_bytes(length) as usize)
    }

    fn remember(&mut self, key: PathKey) {
        if !self.remembered.contains(&Some(key)) {
            self.remembered[self.oldest] = Some(key);
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
    }
}

impl Sight {
    /// Big-endian: bytes kept (4), bytes of the datagram (4), nanoseconds since 1970 (8), point,
    /// listener, number of the drop reason plus 1 or 0, held; source and destination IP (16
    /// each), source and destination port (2 each).
    fn record(&self, kept: usize, length: usize) -> [u8; RECORD_HEADER] {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let mut record = [0; RECORD_HEADER];
        record[..4].copy_from_slice(&(kept as u32).to_be_bytes());
        record[4..8].copy_from_slice(&(length as u32).to_be_bytes());
        record[8..16].copy_from_slice(&now.to_be_bytes());
        record[16] = self.point as u8;
        record[17] = self.listener as u8;
        record[18] = self.dropped.map_or(0, |reason| reason as u8 + 1);
        record[19] = self.held.into();
        record[20..36].copy_from_slice(&spp::octets(self.source.ip()));
        record[36..52].copy_from_slice(&spp::octets(self.destination.ip()));
        record[52..54].copy_from_slice(&self.source.port().to_be_bytes());
        record[54..56].copy_from_slice(&self.destination.port().to_be_bytes());
        record
    }
}

/// The captures that run.
pub(super) type Running = Vec<Arc<Capture>>;

/// The captures of a relay.
pub(super) struct Captures {
    is_on: AtomicBool,
    running: RwLock<Arc<Running>>,
    /// Public and internal address of each listener.
    listeners: Vec<(SocketAddr, SocketAddr)>,
}

impl Captures {
    pub(super) fn new(listeners: Vec<(SocketAddr, SocketAddr)>) -> Captures {
        Captures { is_on: AtomicBool::new(false), running: RwLock::default(), listeners }
    }

    /// Starts one; none if there are too many.
    pub(super) fn start(&self, filter: Filter, snap: Snap) -> Option<Arc<Capture>> {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        if running.len() >= MAX_CAPTURES {
            return None;
        }
        let capture = Arc::new(Capture::new(filter, snap));
        *running = Arc::new(running.iter().cloned().chain([Arc::clone(&capture)]).collect());
        self.is_on.store(true, Relaxed);
        Some(capture)
    }

    pub(super) fn stop(&self, capture: &Arc<Capture>) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        *running = Arc::new(running.iter().filter(|other| !Arc::ptr_eq(other, capture)).cloned().collect());
        self.is_on.store(!running.is_empty(), Relaxed);
    }

    /// Those that run; asked once for a batch.
    #[inline]
    pub(super) fn running(&self) -> Option<Arc<Running>> {
        self.is_on.load(Relaxed).then(|| Arc::clone(&self.running.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Shows a packet from a client, and what became of it, to every capture.
    pub(super) fn show_public(
        &self,
        running: &Running,
        (relay, policy): (&Relay, &Policy),
        datagram: &FromClient<'_>,
        verdict: &Verdict,
        answer: &[u8],
    ) {
        let (public, internal) = self.listeners[datagram.listener];
        let client = Endpoint::from(datagram.source);
        let seen =
            Seen { key: Some(PathKey { client, ingress: internal.port() }), payload: datagram.payload, source: None };
        let hops = hops_of(verdict);
        let vip = shown_as(public, datagram.local, datagram.source);
        let came = Sight::new(Point::FromClient, datagram.listener, datagram.source, vip).fared(verdict);
        let header = spp::pack(&spp::Header { client: datagram.source, proxy: internal });
        for capture in running.iter().filter(|capture| capture.takes(relay, policy, &seen, &hops)) {
            capture.keep(&came, &[], datagram.payload);
            for hop in hops.iter().flatten() {
                let went = Sight::new(Point::InternalOut, datagram.listener, internal, (*hop).into());
                capture.keep(&went, &header, datagram.payload);
            }
            if let Verdict::Answer(length) = verdict {
                let went = Sight::new(Point::ToClient, datagram.listener, vip, datagram.source);
                capture.keep(&went, &[], &answer[..*length]);
            }
        }
    }

    /// Shows a datagram that came to the internal socket of a listener, likewise.
    pub(super) fn show_internal(
        &self,
        running: &Running,
        (relay, policy): (&Relay, &Policy),
        (listener, source): (usize, SocketAddr),
        datagram: &[u8],
        verdict: &Verdict,
    ) {
        let internal = self.listeners[listener].1;
        let (header, payload) = datagram.split_at(datagram.len().min(spp::HEADER));
        let key = spp::unpack(datagram)
            .ok()
            .map(|(header, _)| PathKey { client: header.client.into(), ingress: header.proxy.port() });
        let seen = Seen { key, payload, source: Some(source.into()) };
        let hops = hops_of(verdict);
        let came = Sight::new(Point::InternalIn, listener, source, internal).fared(verdict);
        for capture in running.iter().filter(|capture| capture.takes(relay, policy, &seen, &hops)) {
            capture.keep(&came, header, payload);
            for hop in hops.iter().flatten() {
                capture.keep(&Sight::new(Point::InternalOut, listener, internal, (*hop).into()), header, payload);
            }
            if let Verdict::ToClient(delivery) = verdict {
                let client = delivery.client.into();
                let vip = shown_as(self.listeners[delivery.listener].0, delivery.local, client);
                capture.keep(&Sight::new(Point::ToClient, delivery.listener, vip, client), &[], payload);
            }
        }
    }

    /// Shows what became of a packet that was held.
    pub(super) fn show_released(
        &self,
        running: &Running,
        (relay, policy): (&Relay, &Policy),
        (listener, key): (usize, PathKey),
        datagram: &[u8],
        hops: &Hops,
    ) {
        let internal = self.listeners[listener].1;
        let (header, payload) = datagram.split_at(spp::HEADER);
        let seen = Seen { key: Some(key), payload, source: None };
        let hops = hops.all();
        for capture in running.iter().filter(|capture| capture.takes(relay, policy, &seen, &hops)) {
            for hop in hops.iter().flatten() {
                capture.keep(&Sight::new(Point::InternalOut, listener, internal, (*hop).into()), header, payload);
            }
        }
    }
}

impl Sight {
    fn new(point: Point, listener: usize, source: SocketAddr, destination: SocketAddr) -> Sight {
        Sight { point, listener, source, destination, dropped: None, held: false }
    }

    fn fared(self, verdict: &Verdict) -> Sight {
        let dropped = if let Verdict::Drop(reason) = verdict { Some(*reason) } else { None };
        Sight { dropped, held: matches!(verdict, Verdict::Hold(_)), ..self }
    }
}

fn hops_of(verdict: &Verdict) -> [Option<Endpoint>; MAX_CLAIMS] {
    match verdict {
        Verdict::Forward(hops) => hops.all(),
        Verdict::Pass(proxy) => [Some(*proxy), None, None, None],
        _ => [None; MAX_CLAIMS],
    }
}

/// The address of a listener as a client sees it: a wildcard is where the client was heard, if
/// that is known, and of the client's family.
fn shown_as(public: SocketAddr, local: Option<IpAddr>, client: SocketAddr) -> SocketAddr {
    let ip = match local {
        Some(ip) => ip,
        None if public.ip().is_unspecified() && client.ip().to_canonical().is_ipv4() => [0, 0, 0, 0].into(),
        None if public.ip().is_unspecified() => Ipv6Addr::UNSPECIFIED.into(),
        None => public.ip(),
    };
    SocketAddr::new(ip, public.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight() -> Sight {
        let address = SocketAddr::from(([198, 51, 100, 7], 51234));
        Sight::new(Point::FromClient, 0, address, address)
    }

    #[test]
    fn a_ring_never_grows_and_counts_what_it_has_no_room_for() {
        let capture = Capture::new(Filter::default(), Snap { full: true, most: 1500 });
        let room = locked(&capture.ring).bytes.capacity();
        for _ in 0..5000 {
            capture.keep(&sight(), &[1; spp::HEADER], &[0; 1500]);
        }
        let held = RING / (RECORD_HEADER + spp::HEADER + 1500);
        assert_eq!(locked(&capture.ring).bytes.capacity(), room);
        assert_eq!(locked(&capture.ring).lost, 5000 - held as u64);
        let (mut records, mut pieces) = (0, 0);
        loop {
            let (taken, _) = capture.take(100_000);
            if taken.is_empty() {
                break;
            }
            assert!(taken.len() <= 100_000);
            assert_eq!(taken.len() % (RECORD_HEADER + spp::HEADER + 1500), 0, "whole records");
            records += taken.len() / (RECORD_HEADER + spp::HEADER + 1500);
            pieces += 1;
        }
        assert_eq!(records, held);
        assert!(pieces > 40);
        assert_eq!(capture.take(1).0.len(), 0);
        capture.keep(&sight(), &[], &[0; 100]);
        assert_eq!(capture.take(1).0.len(), RECORD_HEADER + 100, "at least one");
    }

    #[test]
    fn what_is_kept_is_bounded_by_both_limits() {
        let kept = |full, most, payload: &[u8]| {
            let capture = Capture::new(Filter::default(), Snap { full, most });
            capture.keep(&sight(), &[1; spp::HEADER], payload);
            capture.take(usize::MAX).0.len() - RECORD_HEADER
        };
        let rtp = [&[0x80, 111][..], &[7; 98]].concat();
        assert_eq!(kept(true, 1500, &rtp), spp::HEADER + 100);
        assert_eq!(kept(true, 40, &rtp), spp::HEADER + 40);
        assert_eq!(kept(false, 40, &rtp), spp::HEADER + 12);
        assert_eq!(kept(false, 4, &rtp), spp::HEADER + 4);
        assert_eq!(kept(false, 0, &[]), spp::HEADER);
    }

    #[test]
    fn a_wildcard_is_shown_as_the_address_that_was_heard() {
        let of = |public: &str, local: Option<[u8; 4]>, client: &str| {
            let parse = |text: &str| text.parse().expect("an address");
            shown_as(parse(public), local.map(IpAddr::from), parse(client)).to_string()
        };
        assert_eq!(of("192.0.2.1:3478", None, "198.51.100.7:1"), "192.0.2.1:3478");
        assert_eq!(of("0.0.0.0:3478", Some([192, 0, 2, 9]), "198.51.100.7:1"), "192.0.2.9:3478");
        assert_eq!(of("[::]:3478", None, "198.51.100.7:1"), "0.0.0.0:3478");
        assert_eq!(of("[::]:3478", None, "[2001:db8::1]:1"), "[::]:3478");
    }
}
