//! What happened to paths, for those who follow along: the route cache, the operator.
//!
//! A bounded queue per worker. When nobody reads, nothing is kept; when the reader is slow, the
//! newest events are dropped and counted, and forwarding does not wait.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::address::{Endpoint, PathKey};
use super::table::locked;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A binding request opened a pending claim.
    Opened,
    /// A claim became strong, or was learned from a returning packet.
    Established,
    /// A strong claim was confirmed again, 1.25 idle times after the last event about it: time to
    /// write it into the route cache anew.
    Refreshed,
    /// A path without a claim had a packet; whoever knows its next hop may say so.
    Asked,
    /// An operator has ended a path.
    Killed,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// To which path.
    pub key: PathKey,
    /// The next hop it is about; none for a question.
    pub next_hop: Option<Endpoint>,
    /// Whether that next hop has the path's only confirmed claim.
    pub alone: bool,
}

/// Events that wait at most; chosen: a second of 10,000 new flows a second, 0.6 MB.
const CAPACITY: usize = 16_384;

/// The events of one worker.
pub struct Events {
    listening: AtomicBool,
    lost: AtomicU64,
    waiting: Mutex<VecDeque<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Events {
            listening: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            waiting: Mutex::new(VecDeque::with_capacity(CAPACITY)),
        }
    }
}

impl Events {
    /// Starts or stops keeping events.
    pub fn listen(&self, listening: bool) {
        self.listening.store(listening, Relaxed);
        if !listening {
            self.lock().clear();
        }
    }

    /// Whether somebody listens.
    #[inline]
    pub fn has_listener(&self) -> bool {
        self.listening.load(Relaxed)
    }

    /// Keeps an event if somebody listens and there is room.
    #[inline]
    pub fn push(&self, event: Event) {
        if !self.has_listener() {
            return;
        }
        let mut waiting = self.lock();
        if waiting.len() < CAPACITY {
            waiting.push_back(event);
        } else {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Moves up to `limit` events, oldest first, into `into`.
    pub fn take(&self, limit: usize, into: &mut Vec<Event>) {
        let mut waiting = self.lock();
        let count = waiting.len().min(limit);
        into.extend(waiting.drain(..count));
    }

    /// Whether events wait.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Events that found no room, since start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Event>> {
        locked(&self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn key(port: u16) -> PathKey {
        PathKey { client: SocketAddr::from(([10, 0, 0, 1], port)).into(), ingress: 3479 }
    }

    fn opened(port: u16) -> Event {
        Event { what: What::Opened, key: key(port), next_hop: None, alone: false }
    }

    #[test]
    fn without_a_listener_nothing_is_kept() {
        let events = Events::default();
        events.push(opened(1));
        assert!(events.is_empty());
    }

    #[test]
    fn a_slow_listener_loses_the_newest_and_learns_how_many() {
        let events = Events::default();
        events.listen(true);
        for port in 0..20_000 {
            events.push(opened(port));
        }
        let mut taken = Vec::new();
        events.take(usize::MAX, &mut taken);
        assert_eq!((taken.len(), events.lost()), (CAPACITY, 20_000 - CAPACITY as u64));
        assert_eq!(taken[0].key, key(0));
    }
}
