//! Rates per source network, in bounded memory.
//!
//! Each network has a token bucket, kept as the time at which it will be full again (GCRA). A
//! full bucket says nothing, so when a set of four is taken, the one that is full soonest gives
//! way: spoofed sources cannot make the table grow, and forget only what they refill.

use super::time::Time;

/// Buckets that share a place in the table.
const WAYS: usize = 4;

/// A table of token buckets keyed by a hash.
pub struct Limiter {
    /// Per bucket: whose it is (0: nobody's), and when it will be full again.
    buckets: Vec<(u64, Time)>,
    interval: u64,
    burst: u64,
}

impl Limiter {
    /// `rate` tokens a second (from 1), at most `burst` at once (from 1), `buckets` networks
    /// remembered (a power of two from 4).
    pub fn new(rate: u32, burst: u32, buckets: usize) -> Limiter {
        let interval = 1_000_000 / u64::from(rate.max(1));
        Limiter {
            buckets: vec![(0, Time(0)); buckets.next_power_of_two().max(WAYS)],
            interval,
            burst: interval * u64::from(burst.max(1)),
        }
    }

    /// Takes a token of the network with this hash; false if it has none left.
    pub fn admit(&mut self, network: u64, now: Time) -> bool {
        let (interval, burst) = (self.interval, self.burst);
        let bucket = self.bucket(network);
        let full_at = bucket.1.max(now).0 + interval;
        if full_at > now.0 + burst {
            return false;
        }
        bucket.1 = Time(full_at);
        true
    }

    /// Gives a token back, if the network is still remembered.
    pub fn give_back(&mut self, network: u64) {
        let (interval, start) = (self.interval, self.set(network));
        let set = &mut self.buckets[start..start + WAYS];
        if let Some(bucket) = set.iter_mut().find(|bucket| bucket.0 == network.max(1)) {
            bucket.1 = Time(bucket.1.0.saturating_sub(interval));
        }
    }

    fn set(&self, network: u64) -> usize {
        (network.max(1) as usize & (self.buckets.len() - 1)) & !(WAYS - 1)
    }

    fn bucket(&mut self, network: u64) -> &mut (u64, Time) {
        let (network, start) = (network.max(1), self.set(network));
        let set = &mut self.buckets[start..start + WAYS];
        let at = set.iter().position(|bucket| bucket.0 == network).unwrap_or_else(|| {
            let soonest = (0..WAYS).min_by_key(|at| set[*at].1).unwrap_or(0);
            set[soonest] = (network, Time(0));
            soonest
        });
        &mut set[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut limiter = Limiter::new(10, 5, 64);
        let start = Time(1_000_000_000);
        let admitted = (0..100).filter(|_| limiter.admit(7, start)).count();
        assert_eq!(admitted, 5);
        assert!(!limiter.admit(7, Time(start.0 + 99_999)));
        assert!(limiter.admit(7, Time(start.0 + 100_000)));
        assert!(!limiter.admit(7, Time(start.0 + 100_001)));
        assert!(limiter.admit(8, start), "another network has its own bucket");
    }

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let mut limiter = Limiter::new(1, 2, 64);
        let now = Time(50_000_000);
        assert!(limiter.admit(7, now) && limiter.admit(7, now) && !limiter.admit(7, now));
        limiter.give_back(7);
        assert!(limiter.admit(7, now) && !limiter.admit(7, now));
    }

    #[test]
    fn a_token_given_back_to_a_forgotten_network_takes_nobody_elses_bucket() {
        let mut limiter = Limiter::new(1, 10, 4);
        let now = Time(1_000_000_000);
        for network in 1..=4 {
            while limiter.admit(network, now) {}
        }
        for forgotten in 5..100 {
            limiter.give_back(forgotten);
        }
        assert!((1..=4).all(|network| !limiter.admit(network, now)));
    }

    #[test]
    fn a_drained_bucket_outlives_a_flood_of_other_networks() {
        let mut limiter = Limiter::new(1, 100, 64);
        let now = Time(1_000_000_000);
        while limiter.admit(7, now) {}
        for other in 1000..100_000u64 {
            limiter.admit(other, now);
        }
        assert!(!limiter.admit(7, now));
    }
}
