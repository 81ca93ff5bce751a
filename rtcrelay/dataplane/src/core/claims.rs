//! Opening, confirming and bounding claims: rules 3, 4 and 8 of the relay.
//!
//! Locks are taken one at a time, except that a path's shard may be held while a rate is asked.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use super::address::{Endpoint, PathKey};
use super::demux::Packet;
use super::events::{Event, What};
use super::killed::Killed;
use super::legs::Legs;
use super::limit::Limiter;
use super::path::{CONFIRMED, Claim, Path, Proved, Standing};
use super::relay::{Limits, Turn};
use super::spread::Spread;
use super::table::{Hashing, Place, Table, locked};
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

/// Slots swept in one go: the longest that packets wait for it, see the bench `flows`.
const SWEEP_SLOTS: usize = 256;
/// A path that stays is noted among those of its ufrag this often; the note lives for 20 s.
const NOTE_SPREAD_EVERY: Duration = Duration::from_secs(5);
/// Source networks whose rate is remembered; 16 bytes each.
const RATE_BUCKETS: usize = 65_536;

/// The paths, and what bounds them.
pub struct Claims {
    paths: Table<Path>,
    spread: Spread,
    killed: Killed,
    admission: Mutex<Limiter>,
    hashing: Hashing,
    /// Between two events about a strong claim that stays.
    refresh: Duration,
}

impl Claims {
    /// Empty tables of the given sizes.
    pub fn new(limits: &Limits, hashing: Hashing) -> Claims {
        Claims {
            paths: Table::with_aside(limits.max_flows, limits.idle, hashing, limits.watch_legs),
            spread: Spread::new(limits.max_flows, CONFIRMED, hashing),
            killed: Killed::new(hashing),
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
    pub fn with_path(&self, key: &PathKey, show: impl FnOnce(&mut Path, Option<&mut Legs>)) {
        let (hash, mut shard) = self.paths.shard(key);
        if let Some((path, legs)) = shard.find_both(key, hash) {
            show(path, legs);
        }
    }

    /// Opens a pending claim, unless the next hop has one; then notes the packet on the path.
    pub fn open(
        &self,
        turn: Turn<'_>,
        key: PathKey,
        claim: Claim,
        note: impl FnOnce(&mut Path, Option<&mut Legs>),
    ) -> Result<(), DropReason> {
        let (hash, mut shard) = self.paths.shard(&key);
        if let Some((path, legs)) = shard.find_both(&key, hash) {
            path.expire_claims(turn.now);
            if path.claim(&claim.next_hop).is_some() {
                path.change(&claim.next_hop, |known| {
                    known.local = claim.local;
                    if known.ufrag == 0 {
                        // Learned or taken over: now it is known whose it is.
                        (known.ufrag, known.key_id) = (claim.ufrag, claim.key_id);
                    }
                });
            } else {
                self.admit(turn, &key.client)?;
                path.add(claim);
                opened(turn, key, claim.next_hop);
            }
            note(path, legs);
            return Ok(());
        }
        self.admit(turn, &key.client)?;
        self.killed.lift(&key, turn.now);
        shard.insert(Path::new(key, turn.now), hash, turn.now).ok_or(DropReason::TableFull)?.add(claim);
        if let Some((path, legs)) = shard.find_both(&key, hash) {
            note(path, legs);
        }
        opened(turn, key, claim.next_hop);
        Ok(())
    }

    /// Applies what a packet on its way to a client, or an announce, proves about the claim of
    /// `next_hop`; returns the local address of the path. Never replaces another claim. Refuses
    /// what comes for a path that was killed.
    pub fn confirm(
        &self,
        turn: Turn<'_>,
        key: PathKey,
        next_hop: Endpoint,
        proof: Proof,
        packet: Option<Packet<'_>>,
    ) -> Result<Option<IpAddr>, DropReason> {
        let (hash, mut shard) = self.paths.shard(&key);
        if shard.find(&key, hash).is_none() {
            if self.killed.holds(&key, turn.now) {
                return Err(DropReason::Killed);
            }
            if proof == Proof::Strong {
                // Only a session's own packet founds a path; when the table is full it still passes.
                shard.insert(Path::new(key, turn.now), hash, turn.now);
            }
        }
        let Some((path, legs)) = shard.find_both(&key, hash) else { return Ok(None) };
        match packet {
            Some(packet) => path.note_to_client(legs, packet, turn.now),
            None => path.touch(turn.now), // an announce
        }
        path.expire_claims(turn.now);
        let proved = self.prove(turn, path, next_hop, proof);
        let local = path.local();
        if let Some(proved) = proved {
            let noted = self.is_to_be_noted(path, &proved, proof, turn.now);
            let place = if noted { shard.place(&key, hash) } else { None };
            drop(shard);
            if proved.first && proved.claim.ufrag != 0 {
                turn.counters.claims_confirmed.add(1);
                self.give_back(turn, &key.client);
            }
            if let Some(place) = place {
                self.bound_spread(proved.claim.ufrag, place, turn.now);
            }
        }
        Ok(local)
    }

    /// Ends a path with all its claims and keeps it away for a while. Says whether it was there.
    pub fn kill(&self, turn: Turn<'_>, key: PathKey) -> bool {
        let is_away = self.killed.holds(&key, turn.now);
        // First: a packet that returns meanwhile must not found it anew.
        self.killed.note(key, turn.now);
        let (hash, mut shard) = self.paths.shard(&key);
        let Some(path) = shard.take(&key, hash) else {
            if !is_away {
                self.killed.lift(&key, turn.now);
            }
            return false;
        };
        let surest = path.claims().max_by_key(|claim| claim.standing);
        let next_hop = surest.map(|claim| claim.next_hop);
        turn.events.push(Event { what: What::Killed, key, next_hop, alone: false });
        turn.counters.killed.add(1);
        true
    }

    /// Whether a path was killed a moment ago.
    pub fn is_killed(&self, key: &PathKey, now: Time) -> bool {
        self.killed.holds(key, now)
    }

    fn prove(&self, turn: Turn<'_>, path: &mut Path, next_hop: Endpoint, proof: Proof) -> Option<Proved> {
        let standing = match proof {
            Proof::None => return None,
            Proof::Weak => Standing::Weak,
            Proof::Strong => Standing::Strong,
        };
        if path.claim(&next_hop).is_none() && proof == Proof::Strong && path.confirmed().next().is_none() {
            // A relay that lost its memory has it back with the next packet or announce (rule 4).
            path.add(Claim::without_ufrag(next_hop, Standing::Pending, turn.now));
            turn.counters.claims_learned.add(1);
        }
        let proved = path.prove(&next_hop, standing, turn.now)?;
        if proved.claim.standing == Standing::Strong {
            self.tell(turn, path, next_hop, proved.became_strong);
        }
        Some(proved)
    }

    /// Whether the path is to be noted among those of its ufrag: when it is confirmed, when a
    /// check is accepted, and every few seconds while its media flows.
    fn is_to_be_noted(&self, path: &mut Path, proved: &Proved, proof: Proof, now: Time) -> bool {
        let due = proved.first || proof == Proof::Weak || now.since(proved.claim.spread_at) >= NOTE_SPREAD_EVERY;
        if due {
            path.change(&proved.claim.next_hop, |claim| claim.spread_at = now);
        }
        due && proved.claim.ufrag != 0 // learned from a returning packet: the transceiver vouches
    }

    /// Takes a path over from another process, in the place of what was known of it. Says whether
    /// there was room.
    pub fn take_over(&self, path: Path, now: Time) -> bool {
        let (hash, mut shard) = self.paths.shard(&path.key);
        match shard.find(&path.key, hash) {
            Some(known) => {
                *known = path;
                true
            }
            None => shard.insert(path, hash, now).is_some(),
        }
    }

    /// Creates the claim that somebody else remembers, on a path that has no confirmed one. It is
    /// weak: a memory proves nothing. Says whether it did.
    pub fn restore(&self, turn: Turn<'_>, key: PathKey, next_hop: Endpoint) -> bool {
        let (hash, mut shard) = self.paths.shard(&key);
        if shard.find(&key, hash).is_none() {
            if self.killed.holds(&key, turn.now) {
                return false;
            }
            shard.insert(Path::new(key, turn.now), hash, turn.now);
        }
        let Some(path) = shard.find(&key, hash) else { return false };
        path.expire_claims(turn.now);
        if path.confirmed().next().is_some() {
            return false;
        }
        if path.claim(&next_hop).is_none() {
            path.add(Claim::without_ufrag(next_hop, Standing::Pending, turn.now));
        }
        path.prove(&next_hop, Standing::Weak, turn.now);
        turn.counters.claims_restored.add(1);
        true
    }

    /// Tells of a strong claim: when it became strong, and from time to time while it is alone.
    fn tell(&self, turn: Turn<'_>, path: &mut Path, next_hop: Endpoint, became_strong: bool) {
        if !turn.events.has_listener() {
            return;
        }
        let alone = path.confirmed().all(|claim| claim.next_hop == next_hop);
        let is_news = path.told_of(&next_hop).is_none_or(|at| turn.now.since(at) >= self.refresh);
        if became_strong || (alone && is_news) {
            let what = if became_strong { What::Established } else { What::Refreshed };
            turn.events.push(Event { what, key: path.key, next_hop: Some(next_hop), alone });
            path.tell_of(&next_hop, turn.now);
        }
    }

    /// Holds a ufrag to its 16 live confirmed paths: the least recently confirmed gives way.
    fn bound_spread(&self, ufrag: u64, place: Place, now: Time) {
        if let Some(place) = self.spread.confirm(ufrag, place, now)
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
        locked(&self.admission)
    }

    /// Expires a bounded piece of the tables; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time) {
        self.paths.sweep(round, now, SWEEP_SLOTS);
        self.spread.sweep(round, now, SWEEP_SLOTS);
        self.killed.sweep(round, now);
    }
}

fn opened(turn: Turn<'_>, key: PathKey, next_hop: Endpoint) {
    turn.counters.claims_opened.add(1);
    turn.events.push(Event { what: What::Opened, key, next_hop: Some(next_hop), alone: false });
}
