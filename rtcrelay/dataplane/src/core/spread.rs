//! How far one ufrag has spread: at most 16 live confirmed paths.
//!
//! The owner of a session can send valid checks from any address it can spoof. Without a bound
//! one session could fill the path table.

use std::time::Duration;

use super::table::{Entry, Hashing, Place};
use super::time::Time;

/// Confirmed paths of one ufrag at most.
pub const MAX_PATHS: usize = 16;

/// The confirmed paths of one ufrag.
#[derive(Clone, Copy)]
pub struct Spread {
    /// Hash of the ufrag.
    ufrag: u64,
    last: Time,
    paths: [Option<(Place, Time)>; MAX_PATHS],
}

impl Spread {
    /// A ufrag without paths.
    pub fn new(ufrag: u64, now: Time) -> Spread {
        Spread { ufrag, last: now, paths: [None; MAX_PATHS] }
    }

    /// Notes that a path was confirmed. If it is one too many, returns the path that gives way:
    /// the least recently confirmed.
    pub fn confirm(&mut self, path: Place, now: Time) -> Option<Place> {
        self.last = now;
        let held = self.paths.iter_mut().find(|held| held.is_some_and(|(place, _)| place == path));
        if let Some(held) = held {
            *held = Some((path, now));
            return None;
        }
        let oldest = self.paths.iter_mut().min_by_key(|held| held.map(|(_, at)| at)).expect("there are places");
        oldest.replace((path, now)).map(|(place, _)| place)
    }
}

impl Entry for Spread {
    type Key = u64;

    fn key(&self) -> u64 {
        self.ufrag
    }

    fn hash(key: &u64, _: &Hashing) -> u64 {
        *key // is one already
    }

    fn is_over(&mut self, now: Time, idle: Duration) -> bool {
        now.since(self.last) >= idle
    }
}
