//! Which local address a probe was sent to, so that its answer comes from there.
//!
//! A probe leaves no path, and a path is where a wildcard listener finds this for everybody else.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::address::PathKey;
use super::table::{Entry, Hashing, Table};
use super::time::Time;

/// Probes remembered; one more is answered from the kernel's choice of address.
const MAXIMUM: usize = 4096;
/// How long an answer may take.
const LIFE: Duration = Duration::from_secs(5);

struct Probe {
    key: PathKey,
    local: IpAddr,
    at: Time,
}

/// The probes of the last five seconds on wildcard listeners.
pub struct Probed {
    table: Table<Probe>,
    /// When the last one came, so that nobody looks in vain.
    last: AtomicU64,
}

impl Probed {
    /// No probes.
    pub fn new(hashing: Hashing) -> Probed {
        Probed { table: Table::new(MAXIMUM, LIFE, hashing), last: AtomicU64::new(0) }
    }

    /// Remembers the address a probe was sent to, if the listener is a wildcard.
    pub fn note(&self, key: PathKey, local: Option<IpAddr>, now: Time) {
        let Some(local) = local else { return };
        self.last.fetch_max(now.0, Relaxed);
        let (hash, mut shard) = self.table.shard(&key);
        match shard.find(&key, hash) {
            Some(probe) => *probe = Probe { key, local, at: now },
            None => {
                shard.insert(Probe { key, local, at: now }, hash, now);
            }
        }
    }

    /// The address that the last probe of a path was sent to.
    pub fn local(&self, key: &PathKey, now: Time) -> Option<IpAddr> {
        let last = self.last.load(Relaxed);
        if last == 0 || now.since(Time(last)) >= LIFE {
            return None;
        }
        let (hash, mut shard) = self.table.shard(key);
        shard.find(key, hash).map(|probe| probe.local)
    }

    /// Forgets a bounded piece of old probes; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time) {
        self.table.sweep(round, now, 256);
    }
}

impl Entry for Probe {
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
