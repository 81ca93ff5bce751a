//! Which next hops are dead.
//!
//! A next hop is dead when at least 3 s and 20 packets went there and nothing came back; an ICMP
//! error shortens the time to 1 s, but alone proves nothing, for anybody can forge one. Binding
//! requests still go to a dead next hop, so it revives with its first answer.

use std::hash::BuildHasher;
use std::sync::Mutex;
use std::time::Duration;

use hashbrown::HashMap;

use super::address::Endpoint;
use super::path::Hashing;
use super::time::Time;

const SILENCE: Duration = Duration::from_secs(3);
const SILENCE_AFTER_ICMP: Duration = Duration::from_secs(1);
const UNANSWERED: u32 = 20;
/// A next hop nobody sent to for this long is forgotten.
const FORGET: Duration = Duration::from_secs(120);
/// Next hops remembered per shard; chosen: far more transceivers than one relay serves.
const PER_SHARD: usize = 1024;
const SHARDS: usize = 16;

#[derive(Clone, Copy)]
struct Health {
    /// The first packet since something came back.
    unanswered_since: Time,
    unanswered: u32,
    last_sent: Time,
    icmp_at: Option<Time>,
}

/// The health of every next hop in use.
pub struct NextHops {
    shards: [Mutex<HashMap<Endpoint, Health, Hashing>>; SHARDS],
    hashing: Hashing,
}

impl NextHops {
    /// An empty table.
    pub fn new(hashing: Hashing) -> NextHops {
        let shard = || Mutex::new(HashMap::with_capacity_and_hasher(2 * PER_SHARD, hashing));
        NextHops { shards: std::array::from_fn(|_| shard()), hashing }
    }

    /// Notes a packet on its way to a next hop and says whether it is alive.
    pub fn sending(&self, next_hop: &Endpoint, now: Time) -> bool {
        let mut shard = self.shard(next_hop);
        if let Some(health) = shard.get_mut(next_hop) {
            if health.unanswered == 0 {
                health.unanswered_since = now;
            }
            health.unanswered = health.unanswered.saturating_add(1);
            health.last_sent = now;
            return !health.is_dead(now);
        }
        if shard.len() >= PER_SHARD {
            shard.retain(|_, health| now.since(health.last_sent) < FORGET);
        }
        if shard.len() < PER_SHARD {
            shard.insert(*next_hop, Health { unanswered_since: now, unanswered: 1, last_sent: now, icmp_at: None });
        }
        true
    }

    /// Notes a packet that came back.
    pub fn returned(&self, next_hop: &Endpoint) {
        if let Some(health) = self.shard(next_hop).get_mut(next_hop) {
            health.unanswered = 0;
            health.icmp_at = None;
        }
    }

    /// Notes an ICMP error about a next hop.
    pub fn icmp_error(&self, next_hop: &Endpoint, now: Time) {
        if let Some(health) = self.shard(next_hop).get_mut(next_hop) {
            health.icmp_at.get_or_insert(now);
        }
    }

    /// Next hops remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("no holder panics").len()).sum()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, next_hop: &Endpoint) -> std::sync::MutexGuard<'_, HashMap<Endpoint, Health, Hashing>> {
        let hash = self.hashing.hash_one(next_hop);
        self.shards[(hash >> 32) as usize % SHARDS].lock().expect("no holder panics")
    }
}

impl Health {
    fn is_dead(&self, now: Time) -> bool {
        let limit = if self.icmp_at.is_some() { SILENCE_AFTER_ICMP } else { SILENCE };
        self.unanswered > UNANSWERED && now.since(self.unanswered_since) >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_hop() -> Endpoint {
        std::net::SocketAddr::from(([10, 0, 0, 1], 7000)).into()
    }

    /// Sends a packet every 10 ms for `millis`, from `start`; says whether the last found it alive.
    fn send_for(table: &NextHops, start: u64, millis: u64) -> bool {
        (0..=millis / 10).map(|step| table.sending(&next_hop(), Time((start + step * 10) * 1000))).last().expect("one")
    }

    #[test]
    fn three_seconds_and_twenty_packets_without_an_answer_are_death() {
        let table = NextHops::new(Hashing::default());
        assert!(send_for(&table, 1000, 2990));
        assert!(!send_for(&table, 4000, 0));
        table.returned(&next_hop());
        assert!(send_for(&table, 4010, 10));
    }

    #[test]
    fn time_without_packets_proves_nothing() {
        let table = NextHops::new(Hashing::default());
        assert!(send_for(&table, 0, 100));
        assert!(send_for(&table, 9000, 90), "twenty packets are needed");
        assert!(!send_for(&table, 9100, 10));
    }

    #[test]
    fn icmp_shortens_the_wait_and_alone_proves_nothing() {
        let table = NextHops::new(Hashing::default());
        assert!(send_for(&table, 0, 0));
        table.icmp_error(&next_hop(), Time(0));
        assert!(send_for(&table, 10, 980));
        assert!(!send_for(&table, 1000, 0));
        table.returned(&next_hop());
        table.icmp_error(&next_hop(), Time(1_100_000));
        assert!(send_for(&table, 1100, 180), "fewer than twenty packets");
    }
}
