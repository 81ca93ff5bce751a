//! A path and its claims: where its packets go, and how sure that is.
//!
//! A path is (client address, ingress id); a claim is (path, next hop). A routed binding request
//! opens a *pending* claim, a STUN success that comes back makes it *weak*, DTLS, SRTP or an
//! announce makes it *strong*. Every non-STUN packet goes to each confirmed claim, so nobody can
//! take a path away by claiming it too.

use std::net::IpAddr;
use std::time::Duration;

use super::address::{Endpoint, PathKey};
use super::demux::Packet;
use super::legs::Legs;
use super::table::{Entry, Hashing};
use super::time::Time;

/// Confirmed claims of one path at most.
pub const MAX_CLAIMS: usize = 4;
/// Places for claims: two are always left to pending ones, so that whoever holds the four keeps
/// nobody from asking.
const PLACES: usize = MAX_CLAIMS + 2;
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
    /// The key of that ufrag.
    pub key_id: Option<u8>,
    /// The address that the last binding request was sent to, if a wildcard listener has seen it.
    pub local: Option<IpAddr>,
    /// When its path was last noted among those of its ufrag.
    pub spread_at: Time,
}

impl Claim {
    /// A claim without a ufrag behind it: learned, or remembered by somebody else.
    pub fn without_ufrag(next_hop: Endpoint, standing: Standing, now: Time) -> Claim {
        Claim { next_hop, standing, since: now, ufrag: 0, key_id: None, local: None, spread_at: now }
    }

    /// Whether it may have the path's packets.
    pub fn is_confirmed(&self) -> bool {
        self.standing > Standing::Pending
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Time) -> bool {
        let life = if self.standing == Standing::Pending { PENDING } else { CONFIRMED };
        now.since(self.since) >= life
    }
}

/// One path.
#[derive(Clone, Debug)]
pub struct Path {
    /// Client and ingress id.
    pub key: PathKey,
    claims: [Option<Claim>; PLACES],
    /// The address to answer from, on a wildcard listener: that of the last accepted check.
    pub local: Option<IpAddr>,
    /// When the path was first seen.
    pub first_seen: Time,
    /// When a packet last passed, either way.
    pub last_packet: Time,
    /// Which strong claim an event last told of, and when.
    pub told: Option<(Endpoint, Time)>,
    /// Loss, jitter and round trip of its legs; none if that is switched off.
    pub legs: Option<Legs>,
    /// Packets from the client that were forwarded.
    pub packets_in: u64,
    /// Their payload bytes.
    pub bytes_in: u64,
    /// Packets sent to the client.
    pub packets_out: u64,
    /// Their payload bytes.
    pub bytes_out: u64,
}

/// What a proof did to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The claim as it is now.
    pub claim: Claim,
    /// It was pending before.
    pub first: bool,
    /// It was not strong before.
    pub became_strong: bool,
}

impl Path {
    /// A path without claims.
    pub fn new(key: PathKey, now: Time) -> Path {
        Path {
            key,
            claims: [None; PLACES],
            local: None,
            first_seen: now,
            last_packet: now,
            told: None,
            legs: None,
            packets_in: 0,
            bytes_in: 0,
            packets_out: 0,
            bytes_out: 0,
        }
    }

    /// Counts a packet from the client that is forwarded.
    pub fn note_from_client(&mut self, packet: Packet<'_>, now: Time) {
        self.last_packet = now;
        self.packets_in += 1;
        self.bytes_in += packet.payload.len() as u64;
        if let Some(legs) = &mut self.legs {
            legs.from_client(packet.class, packet.payload, now);
        }
    }

    /// Counts a packet that is sent to the client.
    pub fn note_to_client(&mut self, packet: Packet<'_>, now: Time) {
        self.last_packet = now;
        self.packets_out += 1;
        self.bytes_out += packet.payload.len() as u64;
        if let Some(legs) = &mut self.legs {
            legs.to_client(packet.class, packet.payload, now);
        }
    }

    /// The claims, in no order.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().flatten()
    }

    /// Claims that may have the path's packets.
    pub fn confirmed(&self) -> impl Iterator<Item = &Claim> {
        self.claims().filter(|claim| claim.is_confirmed())
    }

    /// The claim of a next hop.
    pub fn claim_mut(&mut self, next_hop: &Endpoint) -> Option<&mut Claim> {
        self.claims.iter_mut().flatten().find(|claim| claim.next_hop == *next_hop)
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

    /// Adds a claim of a next hop that has none. With no place free the oldest pending one gives
    /// way; there always is one.
    pub fn add(&mut self, claim: Claim) {
        let place = self
            .claims
            .iter_mut()
            .filter(|place| place.is_none_or(|held| !held.is_confirmed()))
            .min_by_key(|place| place.map(|held| held.since))
            .expect("at most four of six places are confirmed");
        *place = Some(claim);
    }

    /// Adds a claim as another process held it; false if there is no place for it.
    pub fn take_over(&mut self, claim: Claim) -> bool {
        let is_one_too_many = claim.is_confirmed() && self.confirmed().count() >= MAX_CLAIMS;
        let Some(place) = self.claims.iter_mut().find(|place| place.is_none()).filter(|_| !is_one_too_many) else {
            return false;
        };
        *place = Some(claim);
        true
    }

    /// Applies a proof to the claim of a next hop; none if it has none, or finds no place among
    /// the confirmed ones. The oldest claim that has proved no more than the new one gives way,
    /// weak before strong: so weak never displaces strong.
    pub fn prove(&mut self, next_hop: &Endpoint, proved: Standing, now: Time) -> Option<Proved> {
        let before = self.claim_mut(next_hop)?.standing;
        if before == Standing::Pending && self.confirmed().count() >= MAX_CLAIMS {
            self.claims
                .iter_mut()
                .filter(|place| place.is_some_and(|held| held.is_confirmed() && held.standing <= proved))
                .min_by_key(|place| place.map(|held| (held.standing, held.since)))?
                .take();
        }
        let claim = self.claim_mut(next_hop)?;
        claim.standing = before.max(proved);
        claim.since = now;
        let claim = *claim;
        if proved == Standing::Weak && claim.local.is_some() {
            self.local = claim.local;
        }
        let became_strong = before < Standing::Strong && claim.standing == Standing::Strong;
        Some(Proved { claim, first: before == Standing::Pending, became_strong })
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

    /// A path that nobody's answer confirms gives way to a new one when the table is full.
    fn is_spare(&mut self, now: Time) -> bool {
        self.expire_claims(now);
        self.confirmed().next().is_none()
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
        let since = Time(second * 1_000_000);
        Claim { ufrag: u64::from(last), ..Claim::without_ufrag(endpoint(last, 7000), standing, since) }
    }

    /// A path whose next hops 10, 11, … have claims of these standings, since second 0, 1, ….
    fn path(standings: &[Standing]) -> Path {
        let mut path = Path::new(key(1), Time(0));
        for (at, standing) in standings.iter().enumerate() {
            path.add(claim(at as u8 + 10, *standing, at as u64));
        }
        path
    }

    fn holders(path: &Path) -> Vec<u64> {
        path.claims().map(|claim| claim.ufrag).collect()
    }

    fn prove(path: &mut Path, last: u8, proved: Standing) -> bool {
        path.prove(&endpoint(last, 7000), proved, Time(9_000_000)).is_some()
    }

    use Standing::{Pending, Strong, Weak};

    #[test]
    fn the_oldest_pending_claim_gives_way_to_another_and_a_confirmed_one_never_does() {
        let mut path = path(&[Strong, Weak, Strong, Weak, Pending, Pending]);
        path.add(claim(20, Pending, 9));
        assert_eq!(holders(&path), [10, 11, 12, 13, 20, 15]);
        path.add(claim(21, Pending, 10));
        assert_eq!(holders(&path), [10, 11, 12, 13, 20, 21]);
    }

    #[test]
    fn a_weak_claim_displaces_the_oldest_weak_one_and_never_a_strong_one() {
        let mut path = path(&[Strong, Weak, Weak, Strong, Pending]);
        assert!(prove(&mut path, 14, Weak));
        assert_eq!(holders(&path), [10, 12, 13, 14]);
        let mut path = self::path(&[Strong, Strong, Strong, Strong, Pending]);
        assert!(!prove(&mut path, 14, Weak));
        assert_eq!(path.confirmed().count(), 4);
        assert_eq!(holders(&path), [10, 11, 12, 13, 14], "it waits for a better proof");
    }

    #[test]
    fn a_strong_claim_displaces_weak_ones_first_and_then_the_least_recently_confirmed() {
        let mut path = path(&[Strong, Strong, Weak, Strong, Pending]);
        assert!(prove(&mut path, 14, Strong));
        assert_eq!(holders(&path), [10, 11, 13, 14]);
        let mut path = self::path(&[Strong, Strong, Strong, Strong, Pending]);
        assert!(prove(&mut path, 10, Strong), "the first is confirmed again");
        assert!(prove(&mut path, 14, Strong));
        assert_eq!(holders(&path), [10, 12, 13, 14]);
    }

    #[test]
    fn a_weak_proof_keeps_a_strong_claim_strong() {
        let mut path = path(&[Strong]);
        assert!(prove(&mut path, 10, Weak));
        assert_eq!(path.claims().next().expect("one").standing, Strong);
        assert_eq!(path.claims().next().expect("one").since, Time(9_000_000));
    }

    #[test]
    fn claims_end_ten_and_twenty_seconds_after_they_were_proved() {
        let mut path = path(&[Pending, Weak, Strong, Strong]); // since second 0, 1, 2, 3
        path.expire_claims(Time(9_999_999));
        assert_eq!(holders(&path).len(), 4);
        path.expire_claims(Time(10_000_000));
        assert_eq!(holders(&path), [11, 12, 13]);
        path.expire_claims(Time(22_000_000));
        assert_eq!(holders(&path), [13]);
    }

    #[test]
    fn a_path_without_an_answer_ends_with_its_claims_and_another_when_idle() {
        let mut path = path(&[Pending; 4]); // since second 0 to 3
        assert!(!path.is_over(Time(12_999_999), IDLE));
        assert!(path.is_over(Time(13_000_000), IDLE));
        path.packets_out = 1;
        assert!(!path.is_over(Time(59_999_999), IDLE));
        assert!(path.is_over(Time(60_000_000), IDLE));
    }
}
