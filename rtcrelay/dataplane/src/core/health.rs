//! Which next hops are dead.
//!
//! A next hop is dead when at least 3 s and 20 packets went there and nothing came back; an ICMP
//! error shortens the time to 1 s, but alone proves nothing, for anybody can forge one. A few
//! binding requests a second still go to a dead next hop, so it revives with its first answer.

use std::time::Duration;

use super::address::Endpoint;
use super::table::{Entry, Hashing, Table};
use super::time::Time;

const SILENCE: Duration = Duration::from_secs(3);
const SILENCE_AFTER_ICMP: Duration = Duration::from_secs(1);
const UNANSWERED: u32 = 20;
/// Without packets for this long the count begins anew: a pause proves nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two requests to a dead next hop. Chosen: each costs the kernel an ICMP error.
const REVIVE_EVERY: Duration = Duration::from_millis(100);
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
    revived_at: Time,
}

/// The health of every next hop in use.
pub struct NextHops(Table<Health>);

impl NextHops {
    /// An empty table.
    pub fn new(hashing: Hashing) -> NextHops {
        NextHops(Table::new(MAXIMUM, FORGET, hashing))
    }

    /// Notes a packet on its way to a next hop and says whether to send it: always while it is
    /// alive, and ten requests a second while it is dead. One that does not fit into the table
    /// counts as alive.
    pub fn sending(&self, next_hop: &Endpoint, is_request: bool, now: Time) -> bool {
        let (hash, mut shard) = self.0.shard(next_hop);
        if let Some(health) = shard.find(next_hop, hash) {
            return health.sending(is_request, now);
        }
        shard.insert(Health::new(*next_hop, now), hash, now);
        true
    }

    /// Whether packets should go to a next hop. One that is not known is alive.
    pub fn is_alive(&self, next_hop: &Endpoint, now: Time) -> bool {
        let (hash, mut shard) = self.0.shard(next_hop);
        shard.find(next_hop, hash).is_none_or(|health| !health.is_dead(now))
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

    /// Forgets a bounded piece of what nobody sends to; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time) {
        self.0.sweep(round, now, 256);
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
    fn new(next_hop: Endpoint, now: Time) -> Health {
        Health { next_hop, unanswered_since: now, unanswered: 1, last_sent: now, icmp_at: None, revived_at: Time(0) }
    }

    fn sending(&mut self, is_request: bool, now: Time) -> bool {
        if self.unanswered == 0 || now.since(self.last_sent) >= PAUSE {
            (self.unanswered, self.unanswered_since) = (0, now);
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.last_sent = now;
        if !self.is_dead(now) {
            return true;
        }
        let revives = is_request && now.since(self.revived_at) >= REVIVE_EVERY;
        if revives {
            self.revived_at = now;
        }
        revives
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
        (0..=millis / 10).fold(true, |_, step| table.sending(&next_hop(), false, Time((start + step * 10) * 1000)))
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
        assert!(send_for(&table, 0, 0));
        assert!(send_for(&table, 5000, 2990), "the count began anew at 5000");
        assert!(!send_for(&table, 8000, 0));
    }

    #[test]
    fn ten_requests_a_second_go_to_a_dead_next_hop() {
        let table = NextHops::new(Hashing::default());
        send_for(&table, 0, 3000);
        let sent = (0..1000).filter(|at| table.sending(&next_hop(), true, Time(3_010_000 + at * 1000))).count();
        assert_eq!(sent, 10);
        table.returned(&next_hop());
        assert!(table.sending(&next_hop(), true, Time(4_100_000)) && table.sending(&next_hop(), true, Time(4_100_001)));
    }

    #[test]
    fn a_next_hop_that_answers_after_an_icmp_error_has_its_three_seconds_again() {
        let table = NextHops::new(Hashing::default());
        assert!(send_for(&table, 0, 0));
        table.icmp_error(&next_hop(), Time(0));
        table.returned(&next_hop());
        assert!(send_for(&table, 10, 2900));
    }

    #[test]
    fn a_next_hop_nobody_sends_to_is_forgotten() {
        let table = NextHops::new(Hashing::default());
        assert!(send_for(&table, 0, 0));
        for round in 0..100 {
            table.sweep(round, Time(119_000_000));
        }
        assert_eq!(table.count(), 1);
        for round in 0..100 {
            table.sweep(round, Time(120_000_000));
        }
        assert_eq!(table.count(), 0);
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
