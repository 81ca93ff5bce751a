//! Paths that an operator has ended.
//!
//! A transceiver that goes on sending would found the path anew within 20 ms. So what comes for a
//! killed path is dropped until the client's next routed check, which is a decision of its own,
//! or for five seconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::address::PathKey;
use super::table::{Entry, Hashing, Table};
use super::time::Time;

/// How long a killed path stays away. Chosen: browsers check every 2.5 s.
pub const STAYS_AWAY: Duration = Duration::from_secs(5);
/// Paths remembered; chosen: one more comes back with its next returning packet.
const MAXIMUM: usize = 65_536;

struct Grave {
    key: PathKey,
    at: Time,
}

/// The paths of which nothing is wanted for the moment.
pub struct Killed {
    table: Table<Grave>,
    /// When the last one was killed, so that nobody looks where nothing is; 0 for never.
    last: AtomicU64,
}

impl Killed {
    /// No paths.
    pub fn new(hashing: Hashing) -> Killed {
        Killed { table: Table::new(MAXIMUM, STAYS_AWAY, hashing), last: AtomicU64::new(0) }
    }

    /// Keeps a path away.
    pub fn note(&self, key: PathKey, now: Time) {
        let (hash, mut shard) = self.table.shard(&key);
        match shard.find(&key, hash) {
            Some(grave) => grave.at = now,
            None => {
                shard.insert(Grave { key, at: now }, hash, now);
            }
        }
        self.last.store(now.0, Relaxed);
    }

    /// Whether a path is to stay away.
    pub fn holds(&self, key: &PathKey, now: Time) -> bool {
        if !self.may_hold(now) {
            return false;
        }
        let (hash, mut shard) = self.table.shard(key);
        shard.find(key, hash).is_some_and(|grave| now.since(grave.at) < STAYS_AWAY)
    }

    /// Lets a path come back.
    pub fn lift(&self, key: &PathKey, now: Time) {
        if self.may_hold(now) {
            let (hash, mut shard) = self.table.shard(key);
            shard.take(key, hash);
        }
    }

    fn may_hold(&self, now: Time) -> bool {
        let last = self.last.load(Relaxed);
        last != 0 && now.since(Time(last)) < STAYS_AWAY
    }

    /// Forgets a bounded piece of what is over; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time) {
        self.table.sweep(round, now, 1024);
    }
}

impl Entry for Grave {
    type Key = PathKey;
    type Aside = ();

    fn key(&self) -> PathKey {
        self.key
    }

    fn hash(key: &PathKey, hashing: &Hashing) -> u64 {
        hashing.of(&key.bytes())
    }

    fn is_over(&mut self, now: Time, idle: Duration) -> bool {
        now.since(self.at) >= idle
    }
}
