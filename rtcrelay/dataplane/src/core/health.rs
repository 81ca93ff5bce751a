//! Which next hops are dead.
//!
//! A next hop is dead when at least 3 s and 20 packets went there and nothing came back; an ICMP
//! error shortens the time to 1 s, but alone proves nothing, for anybody can forge one. Where
//! another one can take its place, a third and a half of that are enough. A few binding requests
//! a second still go to a dead next hop, so it revives with its first answer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::address::Endpoint;
use super::table::{Entry, Hashing, Table};
use super::time::Time;

/// How long nothing may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    silence: Duration,
    after_icmp: Duration,
}

impl Patience {
    /// With a next hop that nobody can stand in for.
    pub const LONG: Patience = Patience { silence: Duration::from_secs(3), after_icmp: Duration::from_secs(1) };
    /// With one of several that are as good. Through each, every session is heard of four times a
    /// second (announces), so that this is not loss; and an error costs little, for the first
    /// thing that comes back ends it.
    pub const SHORT: Patience = Patience { silence: Duration::from_secs(1), after_icmp: Duration::from_millis(500) };

    /// With one of so many.
    pub fn with_one_of(count: usize) -> Patience {
        if count > 1 { Patience::SHORT } else { Patience::LONG }
    }
}

const UNANSWERED: u32 = 20;
/// Without packets for this long the count begins anew: a pause proves nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two requests to a dead next hop. Chosen: each costs the kernel an ICMP error.
const REVIVE_EVERY: Duration = Duration::from_millis(100);
/// A next hop nobody sent to for this long is forgotten.
const FORGET: Duration = Duration::from_secs(120);
/// Next hops remembered; chosen: far more transceivers than one relay serves.
const MAXIMUM: usize = 16_384;
/// For this long after an answer a next hop is well, and its record is left alone: one lock for
/// thousands of packets. Chosen: far shorter than any silence that means something.
const WELL: Duration = Duration::from_millis(10);
/// Next hops that are remembered to be well; a power of two.
const WELL_PLACES: usize = 1024;

struct Health {
    next_hop: Endpoint,
    /// The first packet since something came back.
    unanswered_since: Time,
    unanswered: u32,
    last_sent: Time,
    /// When a packet last went there or came back.
    seen: Time,
    icmp_at: Option<Time>,
    revived_at: Time,
}

/// The health of every next hop in use.
pub struct NextHops {
    table: Table<Health>,
    /// Mark of a next hop and the millisecond of an answer of its, at the place of its hash.
    well: Box<[AtomicU64]>,
}

impl NextHops {
    /// An empty table.
    pub fn new(hashing: Hashing) -> NextHops {
        let well = (0..WELL_PLACES).map(|_| AtomicU64::new(0)).collect();
        NextHops { table: Table::new(MAXIMUM, FORGET, hashing), well }
    }

    /// Notes a packet on its way to a next hop and says whether to send it: always while it is
    /// alive, and ten requests a second while it is dead. One that does not fit into the table
    /// counts as alive.
    pub fn sending(&self, next_hop: &Endpoint, is_request: bool, patience: Patience, now: Time) -> bool {
        if self.is_well(next_hop, now) {
            return true;
        }
        let (hash, mut shard) = self.table.shard(next_hop);
        if let Some(health) = shard.find(next_hop, hash) {
            return health.sending(is_request, patience, now);
        }
        shard.insert(Health::new(*next_hop, now), hash, now);
        true
    }

    /// Whether packets should go to a next hop. One that is not known is alive.
    pub fn is_alive(&self, next_hop: &Endpoint, patience: Patience, now: Time) -> bool {
        if self.is_well(next_hop, now) {
            return true;
        }
        let (hash, mut shard) = self.table.shard(next_hop);
        shard.find(next_hop, hash).is_none_or(|health| !health.is_dead(patience, now))
    }

    /// Notes a packet that came back.
    #[inline]
    pub fn returned(&self, next_hop: &Endpoint, now: Time) {
        if self.is_well(next_hop, now) {
            return;
        }
        self.update(next_hop, |health| {
            health.unanswered = 0;
            health.icmp_at = None;
            health.seen = now;
        });
        let (place, mark) = place_and_mark(next_hop);
        self.well[place].store(mark | u64::from(millis(now)), Relaxed);
    }

    /// Whether something came back a moment ago.
    #[inline]
    fn is_well(&self, next_hop: &Endpoint, now: Time) -> bool {
        let (place, mark) = place_and_mark(next_hop);
        let known = self.well[place].load(Relaxed);
        known >> 32 == mark >> 32 && u128::from(millis(now).wrapping_sub(known as u32)) < WELL.as_millis()
    }

    /// Notes an ICMP error about a next hop.
    pub fn icmp_error(&self, next_hop: &Endpoint, now: Time) {
        self.update(next_hop, |health| {
            health.icmp_at.get_or_insert(now);
        });
    }

    fn update(&self, next_hop: &Endpoint, change: impl FnOnce(&mut Health)) {
        let (hash, mut shard) = self.table.shard(next_hop);
        if let Some(health) = shard.find(next_hop, hash) {
            change(health);
        }
    }

    /// Forgets a bounded piece of what nobody sends to; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time) {
        self.table.sweep(round, now, 256);
    }

    /// Next hops remembered.
    pub fn count(&self) -> usize {
        self.table.len()
    }
}

impl Entry for Health {
    type Key = Endpoint;
    type Aside = ();

    fn key(&self) -> Endpoint {
        self.next_hop
    }

    fn hash(key: &Endpoint, hashing: &Hashing) -> u64 {
        hashing.of(&key.bytes())
    }

    fn is_over(&mut self, now: Time, idle: Duration) -> bool {
        now.since(self.seen) >= idle
    }
}

impl Health {
    fn new(next_hop: Endpoint, now: Time) -> Health {
        let (unanswered_since, last_sent, seen) = (now, now, now);
        Health { next_hop, unanswered_since, unanswered: 1, last_sent, seen, icmp_at: None, revived_at: Time(0) }
    }

    fn sending(&mut self, is_request: bool, patience: Patience, now: Time) -> bool {
        if self.unanswered == 0 || now.since(self.last_sent) >= PAUSE {
            (self.unanswered, self.unanswered_since) = (0, now);
        }
        self.unanswered = self.unanswered.saturating_add(1);
        (self.last_sent, self.seen) = (now, now);
        if !self.is_dead(patience, now) {
            return true;
        }
        let revives = is_request && now.since(self.revived_at) >= REVIVE_EVERY;
        if revives {
            self.revived_at = now;
        }
        revives
    }

    fn is_dead(&self, patience: Patience, now: Time) -> bool {
        let limit = if self.icmp_at.is_some() { patience.after_icmp } else { patience.silence };
        self.unanswered > UNANSWERED && now.since(self.unanswered_since) >= limit
    }
}

/// A next hop's place among those that are well, and a mark in the upper half that is never zero.
/// Two of one place keep each other from it; that they also share the mark is one in 2^32.
fn place_and_mark(next_hop: &Endpoint) -> (usize, u64) {
    let bytes = next_hop.bytes();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight of eighteen bytes"));
    let mixed = (word(0) ^ word(10).rotate_left(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ word(8).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed as usize >> 7 & (WELL_PLACES - 1), (mixed | 1 << 63) & !u64::from(u32::MAX))
}

fn millis(now: Time) -> u32 {
    (now.0 / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_hop() -> Endpoint {
        std::net::SocketAddr::from(([10, 0, 0, 1], 7000)).into()
    }

    /// Sends a packet every 10 ms for `millis`, from `start`; says whether the last found it alive.
    fn send_for(table: &NextHops, start: u64, millis: u64) -> bool {
        send_patiently(table, Patience::LONG, start, millis)
    }

    fn send_patiently(table: &NextHops, patience: Patience, start: u64, millis: u64) -> bool {
        (0..=millis / 10)
            .fold(true, |_, step| table.sending(&next_hop(), false, patience, Time((start + step * 10) * 1000)))
    }

    #[test]
    fn three_seconds_and_twenty_packets_without_an_answer_are_death() {
        let table = NextHops::new(Hashing::default());
        assert!(send_for(&table, 1000, 2990));
        assert!(!send_for(&table, 4000, 0));
        table.returned(&next_hop(), Time(4_005_000));
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
        let sent = (0..1000)
            .filter(|at| table.sending(&next_hop(), true, Patience::LONG, Time(3_010_000 + at * 1000)))
            .count();
        assert_eq!(sent, 10);
        table.returned(&next_hop(), Time(4_050_000));
        assert!(
            table.sending(&next_hop(), true, Patience::LONG, Time(4_100_000))
                && table.sending(&next_hop(), true, Patience::LONG, Time(4_100_001))
        );
    }

    #[test]
    fn a_next_hop_that_answers_after_an_icmp_error_has_its_three_seconds_again() {
        let table = NextHops::new(Hashing::default());
        assert!(send_for(&table, 0, 0));
        table.icmp_error(&next_hop(), Time(0));
        table.returned(&next_hop(), Time(0));
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
        table.returned(&next_hop(), Time(1_050_000));
        table.icmp_error(&next_hop(), Time(1_100_000));
        assert!(send_for(&table, 1100, 180), "fewer than twenty packets");
    }

    #[test]
    fn one_of_several_is_given_up_sooner() {
        let short = Patience::with_one_of(2);
        let table = NextHops::new(Hashing::default());
        assert!(send_patiently(&table, short, 1000, 990));
        assert!(!send_patiently(&table, short, 2000, 0));
        assert!(!table.is_alive(&next_hop(), short, Time(2_000_000)));
        assert!(
            table.is_alive(&next_hop(), Patience::with_one_of(1), Time(2_000_000)),
            "alone, it has its three seconds"
        );
        table.returned(&next_hop(), Time(2_005_000));
        assert!(send_patiently(&table, short, 2020, 0));
        table.icmp_error(&next_hop(), Time(2_025_000));
        assert!(send_patiently(&table, short, 2030, 480));
        assert!(!send_patiently(&table, short, 2520, 0));
    }

    #[test]
    fn an_answer_counts_also_while_the_next_hop_is_known_to_be_well() {
        let table = NextHops::new(Hashing::default());
        let other = std::net::SocketAddr::from(([10, 0, 0, 2], 7000)).into();
        for step in 0..2000 {
            let now = Time(1_000_000 + step * 3_000);
            assert!(table.sending(&next_hop(), false, Patience::LONG, now), "answered all the time, for six seconds");
            let is_alive = table.sending(&other, false, Patience::LONG, now);
            assert_eq!(is_alive, step < 1000, "another one never answered");
            table.returned(&next_hop(), now);
        }
        assert!(send_for(&table, 7_000, 2_990));
        assert!(!send_for(&table, 10_020, 0), "silent for three seconds");
    }
}
