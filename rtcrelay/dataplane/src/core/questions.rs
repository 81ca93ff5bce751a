//! Asking others for the next hop of a path that nobody claims (rule 5).
//!
//! One question per path, at a limited rate per source and in all; while it is open, a few of the
//! path's packets may be held. Spoofed sources must not turn each packet into a question.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::address::PathKey;
use super::limit::Limiter;
use super::table::{Entry, Hashing, Table, locked};
use super::time::Time;

/// How long a packet waits for the answer to its path's question.
pub const HOLD: Duration = Duration::from_millis(20);
/// A path is not asked for again before this time, whatever the answer was.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Packets of one path that wait.
const HELD_PER_PATH: u8 = 4;
/// Questions a second, and at once, from one IPv4 address or IPv6 /56.
pub const RATE_PER_SOURCE: (u32, u32) = (200, 1000);
/// Questions a second, and at once, in all.
pub const RATE: (u32, u32) = (20_000, 20_000);
/// Questions remembered.
const MAXIMUM: usize = 65_536;

struct Question {
    key: PathKey,
    asked: Time,
    held: u8,
}

/// What to do with a packet that nobody claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Hold it, and ask.
    AskAndHold,
    /// Hold it: the question is open.
    Hold,
    /// Drop it.
    Drop,
}

/// The open questions and what bounds them.
pub struct Questions {
    /// Whether there is anybody to ask.
    answered: AtomicBool,
    open: Table<Question>,
    limits: Mutex<(Limiter, Limiter)>,
    hashing: Hashing,
}

impl Questions {
    /// No questions.
    pub fn new(hashing: Hashing) -> Questions {
        let per_source = Limiter::new(RATE_PER_SOURCE.0, RATE_PER_SOURCE.1, 16_384);
        let in_all = Limiter::new(RATE.0, RATE.1, 1);
        Questions {
            answered: AtomicBool::new(false),
            open: Table::new(MAXIMUM, ASK_AGAIN, hashing),
            limits: Mutex::new((per_source, in_all)),
            hashing,
        }
    }

    /// Says whether there is anybody to ask; until somebody says so, there is not.
    pub fn set_answered(&self, answered: bool) {
        self.answered.store(answered, Relaxed);
    }

    /// Decides about a packet of a path that nobody claims.
    pub fn ask(&self, key: &PathKey, now: Time) -> Reply {
        if !self.answered.load(Relaxed) {
            return Reply::Drop;
        }
        let (hash, mut shard) = self.open.shard(key);
        if let Some(question) = shard.find(key, hash) {
            if now.since(question.asked) < HOLD && question.held < HELD_PER_PATH {
                question.held += 1;
                return Reply::Hold;
            }
            if now.since(question.asked) < ASK_AGAIN || !self.admit(key, now) {
                return Reply::Drop;
            }
            *question = Question { key: *key, asked: now, held: 1 };
            return Reply::AskAndHold;
        }
        if self.admit(key, now) && shard.insert(Question { key: *key, asked: now, held: 1 }, hash, now).is_some() {
            return Reply::AskAndHold;
        }
        Reply::Drop
    }

    fn admit(&self, key: &PathKey, now: Time) -> bool {
        let source = self.hashing.of(&key.client.prefix(32));
        let mut limits = locked(&self.limits);
        limits.0.admit(source, now) && limits.1.admit(1, now)
    }

    /// Forgets a bounded piece of old questions; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time) {
        self.open.sweep(round, now, 2048);
    }
}

impl Entry for Question {
    type Key = PathKey;
    type Aside = ();

    fn key(&self) -> PathKey {
        self.key
    }

    fn hash(key: &PathKey, hashing: &Hashing) -> u64 {
        hashing.of(&key.bytes())
    }

    fn is_over(&mut self, now: Time, idle: Duration) -> bool {
        now.since(self.asked) >= idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn key(last: u8, port: u16) -> PathKey {
        PathKey { client: SocketAddr::from(([198, 51, 100, last], port)).into(), ingress: 3479 }
    }

    fn at(millis: u64) -> Time {
        Time(1_000_000_000 + millis * 1000)
    }

    fn questions() -> Questions {
        let questions = Questions::new(Hashing::default());
        questions.set_answered(true);
        questions
    }

    #[test]
    fn without_anybody_to_ask_nothing_is_held() {
        assert_eq!(Questions::new(Hashing::default()).ask(&key(1, 1), at(0)), Reply::Drop);
    }

    #[test]
    fn one_question_is_asked_and_four_packets_are_held_for_twenty_milliseconds() {
        let questions = questions();
        assert_eq!(questions.ask(&key(1, 1), at(0)), Reply::AskAndHold);
        for _ in 0..3 {
            assert_eq!(questions.ask(&key(1, 1), at(19)), Reply::Hold);
        }
        assert_eq!(questions.ask(&key(1, 1), at(19)), Reply::Drop);
        assert_eq!(questions.ask(&key(1, 2), at(19)), Reply::AskAndHold, "another path");
    }

    #[test]
    fn after_the_hold_a_path_waits_half_a_second_for_its_next_question() {
        let questions = questions();
        questions.ask(&key(1, 1), at(0));
        for millis in [20, 100, 499] {
            assert_eq!(questions.ask(&key(1, 1), at(millis)), Reply::Drop);
        }
        assert_eq!(questions.ask(&key(1, 1), at(500)), Reply::AskAndHold);
    }

    #[test]
    fn spoofed_ports_do_not_multiply_questions() {
        let questions = questions();
        let asked =
            |last: u8| (1..=1500).filter(|port| questions.ask(&key(last, *port), at(0)) == Reply::AskAndHold).count();
        assert_eq!(asked(1), RATE_PER_SOURCE.1 as usize);
        let others: usize = (2..=100).map(asked).sum();
        assert_eq!(others, (RATE.1 - RATE_PER_SOURCE.1) as usize);
    }
}
