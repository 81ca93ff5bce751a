//! Opening, confirming and bounding claims: rules 3, 4 and 8 of the relay.
//!
//! Locks are taken one at a time, except that a path's shard may be held while a rate is asked.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use super::address::{Endpoint, PathKey};
use super::events::{Event, What};
use super::limit::Limiter;
use super::path::{CONFIRMED, Claim, Opened, Path, Standing};
use super::relay::{Limits, Turn};
use super::spread::Spread;
use super::table::{Hashing, Place, Table};
use super::time::Time;
use crate::stats::DropReason;

/// What a returning packet proves about its sender's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: a request, an indication or an error.
    None,
    /// The transceiver accepted a check: a STUN success.
    Weak,
    /// A session is there: DTLS, SRTP or an announce.
    Strong,
}

/// Slots swept in one go: bounded work between two batches of packets.
const SWEEP_SLOTS: usize = 2048;
/// Source networks whose rate is remembered; 16 bytes each.
const RATE_BUCKETS: usize = 65_536;

/// The paths, and what bounds them.
pub struct Claims {
    paths: Table<Path>,
    spread: Table<Spread>,
    admission: Mutex<Limiter>,
    hashing: Hashing,
    /// Between two events about a strong claim that stays.
    refresh: Duration,
}

impl Claims {
    /// Empty tables of the given sizes.
    pub fn new(limits: &Limits, hashing: Hashing) -> Claims {
        Claims {
            paths: Table::new(limits.max_flows, limits.idle, hashing),
            spread: Table::new(limits.max_flows, CONFIRMED, hashing),
            admission: Mutex::new(Limiter::new(limits.claim_rate, limits.claim_burst, RATE_BUCKETS)),
            hashing,
            refresh: limits.idle * 5 / 4,
        }
    }

    /// The paths.
    pub fn paths(&self) -> &Table<Path> {
        &self.paths
    }

    /// Shows a path, if it is there.
    #[inline]
    pub fn with_path(&self, key: &PathKey, show: impl FnOnce(&mut Path)) {
        let (hash, mut shard) = self.paths.shard(key);
        if let Some(path) = shard.find(key, hash) {
            show(path);
        }
    }

    /// Opens a pending claim, unless the next hop has one; then notes the packet on the path.
    pub fn open(
        &self,
        turn: Turn<'_>,
        key: PathKey,
        next_hop: Endpoint,
        ufrag: u64,
        note: impl FnOnce(&mut Path),
    ) -> Result<(), DropReason> {
        let (hash, mut shard) = self.paths.shard(&key);
        let claim = Claim { next_hop, standing: Standing::Pending, since: turn.now, ufrag };
        if let Some(path) = shard.find(&key, hash) {
            path.expire_claims(turn.now);
            if path.claim_mut(&next_hop).is_none() {
                if !path.has_room() {
                    return Err(DropReason::ClaimsFull);
                }
                self.admit(turn, &key.client)?;
                path.add_claim(claim);
                opened(turn, key, next_hop);
            }
            note(path);
            return Ok(());
        }
        self.admit(turn, &key.client)?;
        let path = shard.insert(Path::new(key, turn.now), hash, turn.now).ok_or(DropReason::TableFull)?;
        path.add_claim(claim);
        note(path);
        opened(turn, key, next_hop);
        Ok(())
    }

    /// Applies what a packet on its way to a client proves about the claim of `next_hop`; returns
    /// the local address of the path. Never replaces another claim.
    pub fn confirm(
        &self,
        turn: Turn<'_>,
        key: PathKey,
        next_hop: Endpoint,
        proof: Proof,
        length: usize,
    ) -> Option<IpAddr> {
        let (hash, mut shard) = self.paths.shard(&key);
        if shard.find(&key, hash).is_none() && proof == Proof::Strong {
            // Only a session's own packet founds a path; when the table is full it still passes.
            shard.insert(Path::new(key, turn.now), hash, turn.now);
        }
        let path = shard.find(&key, hash)?;
        path.last_packet = turn.now;
        if length > 0 {
            path.packets_out += 1;
            path.bytes_out += length as u64;
        }
        let local = path.local;
        path.expire_claims(turn.now);
        let was_strong = path.is_strong(&next_hop);
        let change = match path.claim_mut(&next_hop) {
            Some(claim) => confirm_claim(claim, proof, turn.now),
            None => learn(path, next_hop, proof, turn),
        };
        if path.is_strong(&next_hop) {
            self.tell(turn, path, next_hop, !was_strong);
        }
        if let Change::Confirmed { ufrag, first } = change {
            let place = shard.place(&key, hash);
            drop(shard);
            if first {
                turn.counters.claims_confirmed.add(1);
                self.give_back(turn, &key.client);
            }
            if let (Some(place), true) = (place, first || proof == Proof::Weak) {
                self.bound_spread(ufrag, place, turn.now);
            }
        }
        local
    }

    /// Creates the claim that somebody else remembers, on a path that has no confirmed one. It is
    /// weak: a memory proves nothing. Says whether it did.
    pub fn restore(&self, turn: Turn<'_>, key: PathKey, next_hop: Endpoint) -> bool {
        let (hash, mut shard) = self.paths.shard(&key);
        if shard.find(&key, hash).is_none() {
            shard.insert(Path::new(key, turn.now), hash, turn.now);
        }
        let Some(path) = shard.find(&key, hash) else { return false };
        path.expire_claims(turn.now);
        if path.confirmed().next().is_some() {
            return false;
        }
        match path.claim_mut(&next_hop) {
            Some(pending) => (pending.standing, pending.since) = (Standing::Weak, turn.now),
            None => {
                path.add_claim(Claim { next_hop, standing: Standing::Weak, since: turn.now, ufrag: 0 });
            }
        }
        turn.counters.claims_restored.add(1);
        true
    }

    /// Tells of a strong claim: when it became strong, and from time to time while it is alone.
    fn tell(&self, turn: Turn<'_>, path: &mut Path, next_hop: Endpoint, became_strong: bool) {
        if !turn.events.has_listener() {
            return;
        }
        let alone = path.confirmed().all(|claim| claim.next_hop == next_hop);
        let is_news = path.told.is_none_or(|(told, at)| told != next_hop || turn.now.since(at) >= self.refresh);
        if became_strong || (alone && is_news) {
            let what = if became_strong { What::Established } else { What::Refreshed };
            turn.events.push(Event { what, key: path.key, next_hop: Some(next_hop), alone });
            path.told = Some((next_hop, turn.now));
        }
    }

    /// Holds a ufrag to its 16 live confirmed paths: the least recently confirmed gives way.
    fn bound_spread(&self, ufrag: u64, place: Place, now: Time) {
        if ufrag == 0 {
            return; // learned from a returning packet: the transceiver vouches for it
        }
        let (hash, mut shard) = self.spread.shard(&ufrag);
        if shard.find(&ufrag, hash).is_none() {
            shard.insert(Spread::new(ufrag, now), hash, now);
        }
        let gives_way = shard.find(&ufrag, hash).and_then(|spread| spread.confirm(place, now));
        drop(shard);
        if let Some(place) = gives_way
            && let Some(path) = self.paths.shard_at(place).at(place)
        {
            path.end_claim_of(ufrag);
        }
    }

    fn admit(&self, turn: Turn<'_>, client: &Endpoint) -> Result<(), DropReason> {
        let admitted = turn.policy.admission_exempt.contains(client)
            || self.admission().admit(self.hashing.of(&client.prefix(32)), turn.now);
        if admitted { Ok(()) } else { Err(DropReason::AdmissionRate) }
    }

    fn give_back(&self, turn: Turn<'_>, client: &Endpoint) {
        if !turn.policy.admission_exempt.contains(client) {
            self.admission().give_back(self.hashing.of(&client.prefix(32)));
        }
    }

    fn admission(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.admission.lock().expect("no holder of the lock panics")
    }

    /// Expires a bounded piece of the tables; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time) {
        self.paths.sweep(round, now, SWEEP_SLOTS);
        self.spread.sweep(round, now, SWEEP_SLOTS);
    }
}

fn opened(turn: Turn<'_>, key: PathKey, next_hop: Endpoint) {
    turn.counters.claims_opened.add(1);
    turn.events.push(Event { what: What::Opened, key, next_hop: Some(next_hop), alone: false });
}

enum Change {
    Nothing,
    /// A claim that a ufrag opened was confirmed, perhaps for the first time.
    Confirmed {
        ufrag: u64,
        first: bool,
    },
}

fn confirm_claim(claim: &mut Claim, proof: Proof, now: Time) -> Change {
    let proved = match proof {
        Proof::None => return Change::Nothing,
        Proof::Weak => Standing::Weak,
        Proof::Strong => Standing::Strong,
    };
    let first = claim.standing == Standing::Pending;
    claim.standing = claim.standing.max(proved);
    claim.since = now;
    Change::Confirmed { ufrag: claim.ufrag, first }
}

/// On a path without a confirmed claim a session's packet founds one: so a relay that lost its
/// memory has it back with the next packet or announce, without Redis.
fn learn(path: &mut Path, next_hop: Endpoint, proof: Proof, turn: Turn<'_>) -> Change {
    if proof == Proof::Strong && path.confirmed().next().is_none() {
        let claim = Claim { next_hop, standing: Standing::Strong, since: turn.now, ufrag: 0 };
        if path.add_claim(claim) == Opened::Added {
            turn.counters.claims_learned.add(1);
        }
    }
    Change::Nothing
}
