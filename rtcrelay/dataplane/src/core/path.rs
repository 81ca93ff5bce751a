//! A path and its claims: where its packets go, and how sure that is.
//!
//! A path is (client address, ingress id); a claim is (path, next hop). A routed binding request
//! opens a *pending* claim, a STUN success that comes back makes it *weak*, DTLS, SRTP or an
//! announce makes it *strong*. Every non-STUN packet goes to each confirmed claim, so nobody can
//! take a path away by claiming it too.

use std::net::IpAddr;
use std::time::Duration;

use super::address::{Endpoint, PathKey};
use super::table::{Entry, Hashing};
use super::time::Time;

/// Claims of one path at most.
pub const MAX_CLAIMS: usize = 4;
/// How long a pending claim waits for its confirmation.
pub const PENDING: Duration = Duration::from_secs(10);
/// How long a claim lives after its last confirmation.
pub const CONFIRMED: Duration = Duration::from_secs(20);

/// How much a claim has proved. The order is that of giving way: pending first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Asked for by a binding request.
    Pending,
    /// A STUN success came back.
    Weak,
    /// DTLS, SRTP or an announce came back.
    Strong,
}

/// One next hop's claim to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where the path's packets go.
    pub next_hop: Endpoint,
    /// What it has proved.
    pub standing: Standing,
    /// When it was opened (pending) or last confirmed.
    pub since: Time,
    /// Hash of the ufrag that opened it; 0 if it was learned from a returning packet.
    pub ufrag: u64,
}

impl Claim {
    fn is_over(&self, now: Time) -> bool {
        let life = if self.standing == Standing::Pending { PENDING } else { CONFIRMED };
        now.since(self.since) >= life
    }
}

/// One path.
#[derive(Clone, Debug)]
pub struct Path {
    /// Client and ingress id.
    pub key: PathKey,
    claims: [Option<Claim>; MAX_CLAIMS],
    /// The address the client sends to, if a wildcard listener has seen it.
    pub local: Option<IpAddr>,
    /// When the path was first seen.
    pub first_seen: Time,
    /// When a packet last passed, either way.
    pub last_packet: Time,
    /// Which strong claim an event last told of, and when.
    pub told: Option<(Endpoint, Time)>,
    /// Packets from the client that were forwarded.
    pub packets_in: u64,
    /// Their payload bytes.
    pub bytes_in: u64,
    /// Packets sent to the client.
    pub packets_out: u64,
    /// Their payload bytes.
    pub bytes_out: u64,
}

/// What became of a new claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The claim was there already.
    Known,
    /// It was added, perhaps in the place of one that gave way.
    Added,
    /// Every claim of the path is stronger.
    Refused,
}

impl Path {
    /// A path without claims.
    pub fn new(key: PathKey, now: Time) -> Path {
        Path {
            key,
            claims: [None; MAX_CLAIMS],
            local: None,
            first_seen: now,
            last_packet: now,
            told: None,
            packets_in: 0,
            bytes_in: 0,
            packets_out: 0,
            bytes_out: 0,
        }
    }

    /// The claims, in no order.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().flatten()
    }

    /// Claims that may have the path's packets.
    pub fn confirmed(&self) -> impl Iterator<Item = &Claim> {
        self.claims().filter(|claim| claim.standing > Standing::Pending)
    }

    /// The claim of a next hop.
    pub fn claim_mut(&mut self, next_hop: &Endpoint) -> Option<&mut Claim> {
        self.claims.iter_mut().flatten().find(|claim| claim.next_hop == *next_hop)
    }

    /// Whether the next hop has a strong claim.
    pub fn is_strong(&self, next_hop: &Endpoint) -> bool {
        self.claims().any(|claim| claim.next_hop == *next_hop && claim.standing == Standing::Strong)
    }

    /// Removes claims whose time is over.
    #[inline]
    pub fn expire_claims(&mut self, now: Time) {
        for claim in &mut self.claims {
            if claim.is_some_and(|claim| claim.is_over(now)) {
                *claim = None;
            }
        }
    }

    /// Whether a new claim would find a place: a free one, a pending or a weak claim's.
    pub fn has_room(&self) -> bool {
        self.claims.iter().any(|claim| claim.is_none_or(|claim| claim.standing < Standing::Strong))
    }

    /// Adds a claim. When the path is full the oldest pending one gives way, then the oldest
    /// weak one; a strong one never does.
    pub fn add_claim(&mut self, claim: Claim) -> Opened {
        if self.claim_mut(&claim.next_hop).is_some() {
            return Opened::Known;
        }
        let place = self
            .claims
            .iter_mut()
            .filter(|place| place.is_none_or(|held| held.standing < Standing::Strong))
            .min_by_key(|place| place.map(|held| (held.standing, held.since)));
        match place {
            Some(place) => {
                *place = Some(claim);
                Opened::Added
            }
            None => Opened::Refused,
        }
    }

    /// Ends the claim that a ufrag opened.
    pub fn end_claim_of(&mut self, ufrag: u64) {
        for claim in &mut self.claims {
            if claim.is_some_and(|claim| claim.ufrag == ufrag) {
                *claim = None;
            }
        }
    }
}

impl Entry for Path {
    type Key = PathKey;

    fn key(&self) -> PathKey {
        self.key
    }

    fn hash(key: &PathKey, hashing: &Hashing) -> u64 {
        hashing.of(&key.bytes())
    }

    /// A path that never had an answer ends with its claims; any other when it is idle.
    fn is_over(&mut self, now: Time, idle: Duration) -> bool {
        self.expire_claims(now);
        let never_answered = self.packets_out == 0 && self.claims().next().is_none();
        never_answered || now.since(self.last_packet) >= idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    const IDLE: Duration = Duration::from_secs(60);

    fn endpoint(last: u8, port: u16) -> Endpoint {
        SocketAddr::from(([10, 0, 0, last], port)).into()
    }

    fn key(port: u16) -> PathKey {
        PathKey { client: endpoint(1, port), ingress: 3479 }
    }

    fn claim(last: u8, standing: Standing, second: u64) -> Claim {
        Claim { next_hop: endpoint(last, 7000), standing, since: Time(second * 1_000_000), ufrag: u64::from(last) }
    }

    fn full(standings: [Standing; MAX_CLAIMS]) -> Path {
        let mut path = Path::new(key(1), Time(0));
        for (at, standing) in standings.into_iter().enumerate() {
            assert_eq!(path.add_claim(claim(at as u8 + 10, standing, at as u64)), Opened::Added);
        }
        path
    }

    fn holders(path: &Path) -> Vec<u64> {
        path.claims().map(|claim| claim.ufrag).collect()
    }

    #[test]
    fn pending_claims_give_way_before_weak_ones() {
        use Standing::{Pending, Strong, Weak};
        let mut path = full([Weak, Strong, Pending, Pending]);
        assert_eq!(path.add_claim(claim(20, Pending, 9)), Opened::Added);
        assert_eq!(holders(&path), [10, 11, 20, 13]);
        let mut path = full([Strong, Weak, Weak, Strong]);
        assert_eq!(path.add_claim(claim(20, Pending, 9)), Opened::Added);
        assert_eq!(holders(&path), [10, 20, 12, 13]);
    }

    #[test]
    fn strong_claims_never_give_way() {
        let mut path = full([Standing::Strong; 4]);
        assert!(!path.has_room());
        assert_eq!(path.add_claim(claim(20, Standing::Pending, 9)), Opened::Refused);
        assert_eq!(path.add_claim(claim(10, Standing::Pending, 9)), Opened::Known);
    }

    #[test]
    fn claims_end_ten_and_twenty_seconds_after_they_were_proved() {
        use Standing::{Pending, Strong, Weak};
        let mut path = full([Pending, Weak, Strong, Strong]); // since second 0, 1, 2, 3
        path.expire_claims(Time(9_999_999));
        assert_eq!(holders(&path).len(), 4);
        path.expire_claims(Time(10_000_000));
        assert_eq!(holders(&path), [11, 12, 13]);
        path.expire_claims(Time(22_000_000));
        assert_eq!(holders(&path), [13]);
    }

    #[test]
    fn a_path_without_an_answer_ends_with_its_claims_and_another_when_idle() {
        let mut path = full([Standing::Pending; 4]); // since second 0 to 3
        assert!(!path.is_over(Time(12_999_999), IDLE));
        assert!(path.is_over(Time(13_000_000), IDLE));
        path.packets_out = 1;
        assert!(!path.is_over(Time(59_999_999), IDLE));
        assert!(path.is_over(Time(60_000_000), IDLE));
    }
}
