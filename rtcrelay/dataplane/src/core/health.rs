//! Which next hops are dead.
//!
//! A next hop is dead when at least 3 s and 20 packets went there and nothing came back; an ICMP
//! error shortens the time to 1 s, but alone proves nothing, for anybody can forge one. Binding
//! requests still go to a dead next hop, so it revives with its first answer.

use std::time::Duration;

use super::address::Endpoint;
use super::table::{Entry, Hashing, Table};
use super::time::Time;

const SILENCE: Duration = Duration::from_secs(3);
const SILENCE_AFTER_ICMP: Duration = Duration::from_secs(1);
const UNANSWERED: u32 = 20;
/// A next hop nobody sent to for this long is forgotten.
const FORGET: Duration = Duration::from_secs(120);
/// Next hops remembered; chosen: far more transceivers than one relay serves.
const MAXIMUM: usize = 16_384;

struct Health {
    next_hop: Endpoint,
    /// The first packet since something came back.
    unanswered_since: Time,
    unanswered: u32,
    last_sent: Time,
    icmp_at: Option<Time>,
}

/// The health of every next hop in use.
pub struct NextHops(Table<Health>);

impl NextHops {
    /// An empty table.
    pub fn new(hashing: Hashing) -> NextHops {
        NextHops(Table::new(MAXIMUM, FORGET, hashing))
    }

    /// Notes a packet on its way to a next hop and says whether it is alive. One that does not
    /// fit into the table counts as alive.
    pub fn sending(&self, next_hop: &Endpoint, now: Time) -> bool {
        let (hash, mut shard) = self.0.shard(next_hop);
        if let Some(health) = shard.find(next_hop, hash) {
            return health.sending(now);
        }
        let new = Health { next_hop: *next_hop, unanswered_since: now, unanswered: 1, last_sent: now, icmp_at: None };
        shard.insert(new, hash, now);
        true
    }

    /// Notes a packet that came back.
    pub fn returned(&self, next_hop: &Endpoint) {
        self.update(next_hop, |health| {
            health.unanswered = 0;
            health.icmp_at = None;
        });
    }

    /// Notes an ICMP error about a next hop.
    pub fn icmp_error(&self, next_hop: &Endpoint, now: Time) {
        self.update(next_hop, |health| {
            health.icmp_at.get_or_insert(now);
        });
    }

    fn update(&self, next_hop: &Endpoint, change: impl FnOnce(&mut Health)) {
        let (hash, mut shard) = self.0.shard(next_hop);
        if let Some(health) = shard.find(next_hop, hash) {
            change(health);
        }
    }

    /// Next hops remembered.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Entry for Health {
    type Key = Endpoint;

    fn key(&self) -> Endpoint {
        self.next_hop
    }

    fn hash(key: &Endpoint, hashing: &Hashing) -> u64 {
        hashing.of(&key.bytes())
    }

    fn is_over(&mut self, now: Time, idle: Duration) -> bool {
        now.since(self.last_sent) >= idle
    }
}

impl Health {
    fn sending(&mut self, now: Time) -> bool {
        if self.unanswered == 0 {
            self.unanswered_since = now;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.last_sent = now;
        !self.is_dead(now)
    }

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
        (0..=millis / 10).fold(true, |_, step| table.sending(&next_hop(), Time((start + step * 10) * 1000)))
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
        assert!(send_for(&table, 9000, 80), "more than twenty packets are needed");
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
