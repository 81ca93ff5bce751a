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
use super::local::Local;
use super::table::{Entry, Hashing};
use super::time::{Stamp, Time};

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

/// A claim as a table holds it.
#[derive(Clone, Copy, Debug)]
struct Held {
    next_hop: Endpoint,
    since: Stamp,
    spread_at: Stamp,
    ufrag: [u16; 4],
    standing: Standing,
    /// 255: none.
    key_id: u8,
    local: Local,
}

const NO_KEY: u8 = u8::MAX;

impl From<Claim> for Held {
    fn from(claim: Claim) -> Held {
        let ufrag = claim.ufrag;
        Held {
            next_hop: claim.next_hop,
            since: claim.since.into(),
            spread_at: claim.spread_at.into(),
            ufrag: [ufrag as u16, (ufrag >> 16) as u16, (ufrag >> 32) as u16, (ufrag >> 48) as u16],
            standing: claim.standing,
            key_id: claim.key_id.unwrap_or(NO_KEY),
            local: claim.local.into(),
        }
    }
}

impl From<Held> for Claim {
    fn from(held: Held) -> Claim {
        Claim {
            next_hop: held.next_hop,
            standing: held.standing,
            since: held.since.into(),
            ufrag: held.ufrag.iter().rev().fold(0, |whole, part| whole << 16 | u64::from(*part)),
            key_id: Some(held.key_id).filter(|id| *id != NO_KEY),
            local: held.local.into(),
            spread_at: held.spread_at.into(),
        }
    }
}

/// One path. What a packet of a known path needs is in its first 64 bytes and what it counts in
/// the next 64; more claims than one, which few paths have, take memory of their own.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Path {
    /// Client and ingress id.
    pub key: PathKey,
    first: Option<Held>,
    /// Packets from the client that were forwarded.
    pub packets_in: u64,
    /// Their payload bytes.
    pub bytes_in: u64,
    /// Packets sent to the client.
    pub packets_out: u64,
    /// Their payload bytes.
    pub bytes_out: u64,
    more: Option<Box<[Option<Held>; PLACES - 1]>>,
    last_packet: Stamp,
    first_seen: Stamp,
    /// Which strong claim an event last told of, as a hash, and when.
    told: [u16; 2],
    told_at: Stamp,
    local: Local,
}

const _: () = assert!(size_of::<Path>() == 128 && size_of::<Option<Path>>() == 128);

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
            first: None,
            packets_in: 0,
            bytes_in: 0,
            packets_out: 0,
            bytes_out: 0,
            more: None,
            last_packet: now.into(),
            first_seen: now.into(),
            told: [0; 2],
            told_at: Time(0).into(),
            local: Local::default(),
        }
    }

    /// When the path was first seen.
    pub fn first_seen(&self) -> Time {
        self.first_seen.into()
    }

    /// When a packet last passed, either way.
    pub fn last_packet(&self) -> Time {
        self.last_packet.into()
    }

    /// The address to answer from, on a wildcard listener: that of the last accepted check.
    pub fn local(&self) -> Option<IpAddr> {
        self.local.into()
    }

    /// Sets the address to answer from.
    pub fn set_local(&mut self, local: Option<IpAddr>) {
        self.local = local.into();
    }

    /// Sets when the path was seen, first and last.
    pub fn set_seen(&mut self, first: Time, last: Time) {
        (self.first_seen, self.last_packet) = (first.into(), last.into());
    }

    /// Notes that something about the path passed.
    pub fn touch(&mut self, now: Time) {
        self.last_packet = now.into();
    }

    /// When an event last told of this next hop's strong claim; none if one of another came since.
    pub fn told_of(&self, next_hop: &Endpoint) -> Option<Time> {
        (self.told == short_hash(next_hop)).then(|| self.told_at.into())
    }

    /// Notes that an event told of a next hop's strong claim.
    pub fn tell_of(&mut self, next_hop: &Endpoint, now: Time) {
        (self.told, self.told_at) = (short_hash(next_hop), now.into());
    }

    /// Counts a packet from the client that is forwarded.
    pub fn note_from_client(&mut self, legs: Option<&mut Legs>, packet: Packet<'_>, now: Time) {
        self.touch(now);
        self.packets_in += 1;
        self.bytes_in += packet.payload.len() as u64;
        if let Some(legs) = legs {
            legs.from_client(packet.class, packet.payload, now);
        }
    }

    /// Counts a packet that is sent to the client.
    pub fn note_to_client(&mut self, legs: Option<&mut Legs>, packet: Packet<'_>, now: Time) {
        self.touch(now);
        self.packets_out += 1;
        self.bytes_out += packet.payload.len() as u64;
        if let Some(legs) = legs {
            legs.to_client(packet.class, packet.payload, now);
        }
    }

    fn places(&self) -> impl Iterator<Item = &Option<Held>> {
        std::iter::once(&self.first).chain(self.more.iter().flat_map(|more| more.iter()))
    }

    fn places_mut(&mut self) -> impl Iterator<Item = &mut Option<Held>> {
        std::iter::once(&mut self.first).chain(self.more.iter_mut().flat_map(|more| more.iter_mut()))
    }

    /// The claims, in no order.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        self.places().flatten().map(|held| Claim::from(*held))
    }

    /// Claims that may have the path's packets.
    pub fn confirmed(&self) -> impl Iterator<Item = Claim> {
        self.claims().filter(Claim::is_confirmed)
    }

    /// The claim of a next hop.
    pub fn claim(&self, next_hop: &Endpoint) -> Option<Claim> {
        self.places().flatten().find(|held| held.next_hop == *next_hop).map(|held| Claim::from(*held))
    }

    /// Changes the claim of a next hop, if it has one.
    pub fn change(&mut self, next_hop: &Endpoint, change: impl FnOnce(&mut Claim)) {
        if let Some(held) = self.places_mut().flatten().find(|held| held.next_hop == *next_hop) {
            let mut claim = Claim::from(*held);
            change(&mut claim);
            *held = claim.into();
        }
    }

    /// Removes claims whose time is over.
    #[inline]
    pub fn expire_claims(&mut self, now: Time) {
        self.end_claims(|claim| claim.is_over(now));
    }

    fn end_claims(&mut self, ends: impl Fn(&Claim) -> bool) {
        for place in self.places_mut() {
            if place.is_some_and(|held| ends(&held.into())) {
                *place = None;
            }
        }
        if self.more.as_ref().is_some_and(|more| more.iter().all(Option::is_none)) {
            self.more = None;
        }
    }

    /// Adds a claim of a next hop that has none. With no place free the oldest pending one gives
    /// way; there always is one.
    pub fn add(&mut self, claim: Claim) {
        if self.first.is_some() {
            self.more.get_or_insert_default();
        }
        let place = self
            .places_mut()
            .filter(|place| place.is_none_or(|held| held.standing == Standing::Pending))
            .min_by_key(|place| place.map(|held| Time::from(held.since)))
            .expect("at most four of six places are confirmed");
        *place = Some(claim.into());
    }

    /// Adds a claim as another process held it; false if there is no place for it.
    pub fn take_over(&mut self, claim: Claim) -> bool {
        let is_one_too_many = claim.is_confirmed() && self.confirmed().count() >= MAX_CLAIMS;
        if self.claims().count() >= PLACES || is_one_too_many {
            return false;
        }
        self.add(claim);
        true
    }

    /// Applies a proof to the claim of a next hop; none if it has none, or finds no place among
    /// the confirmed ones. The oldest claim that has proved no more than the new one gives way,
    /// weak before strong: so weak never displaces strong.
    pub fn prove(&mut self, next_hop: &Endpoint, proved: Standing, now: Time) -> Option<Proved> {
        let mut claim = self.claim(next_hop)?;
        let before = claim.standing;
        if before == Standing::Pending && self.confirmed().count() >= MAX_CLAIMS {
            self.places_mut()
                .filter(|place| place.is_some_and(|held| Claim::from(held).is_confirmed() && held.standing <= proved))
                .min_by_key(|place| place.map(|held| (held.standing, Time::from(held.since))))?
                .take();
        }
        (claim.standing, claim.since) = (before.max(proved), now);
        self.change(next_hop, |known| *known = claim);
        if proved == Standing::Weak && claim.local.is_some() {
            self.set_local(claim.local);
        }
        let became_strong = before < Standing::Strong && claim.standing == Standing::Strong;
        Some(Proved { claim, first: before == Standing::Pending, became_strong })
    }

    /// Ends the claim that a ufrag opened.
    pub fn end_claim_of(&mut self, ufrag: u64) {
        self.end_claims(|claim| claim.ufrag == ufrag);
    }
}

/// Tells one next hop of a path from another; never zero, which is none.
fn short_hash(next_hop: &Endpoint) -> [u16; 2] {
    let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193); // FNV-1a
    let hash = next_hop.bytes().iter().fold(0x811C_9DC5, fold) | 1;
    [(hash >> 16) as u16, hash as u16]
}

impl Entry for Path {
    type Key = PathKey;
    /// Only where they are watched.
    type Aside = Legs;

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
        never_answered || now.since(self.last_packet()) >= idle
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
