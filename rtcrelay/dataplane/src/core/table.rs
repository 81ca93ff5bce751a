//! The one kind of table: bounded, expiring, allocated at start-up, split into locked shards.
//!
//! Strangers can fill every table of a relay, so each has a maximum and an expiry by its type. A
//! shard is a slab with an index into it: the slab gives listing and expiry a cursor that
//! survives insertions and removals, and nothing allocates after start-up.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::index::Index;
use super::time::Time;

/// Locks, also after a holder panicked: one bad packet must not stop the rest.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SipHash-1-3 under a key of this process, so that nobody can choose colliding addresses.
#[derive(Clone, Copy, Default)]
pub struct Hashing {
    key: [u8; 16],
}

impl Hashing {
    /// Hashes under a 128-bit key.
    pub fn new(key: [u8; 16]) -> Hashing {
        Hashing { key }
    }

    /// The hash of some bytes.
    #[inline]
    pub fn of(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

impl BuildHasher for Hashing {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.key)
    }
}

/// What a table holds.
pub trait Entry {
    /// What an entry is found by.
    type Key: Copy + Eq;
    /// What a table may keep beside each entry, apart from it so that it costs nothing when it is
    /// not wanted.
    type Aside: Default;
    /// The key of this entry.
    fn key(&self) -> Self::Key;
    /// The keyed hash of a key.
    fn hash(key: &Self::Key, hashing: &Hashing) -> u64;
    /// Whether the entry may go, given the table's idle time.
    fn is_over(&mut self, now: Time, idle: Duration) -> bool;
    /// Whether the entry may go to make room for another.
    fn is_spare(&mut self, _now: Time) -> bool {
        false
    }
}

/// Where an entry is; outlived by the entry's slot, but never taken for the slot's next holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) shard: u32,
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// A table of shards, each behind its own lock.
pub struct Table<E: Entry> {
    shards: Box<[Mutex<Shard<E>>]>,
    hashing: Hashing,
}

/// Slots shown while a shard is locked.
const LIST_SLOTS: usize = 1024;
/// Paths per shard below which more shards would only waste memory; chosen.
const SHARD_MINIMUM: usize = 1024;
/// Shards at most; chosen: with 16 workers two of them rarely meet in one.
const SHARDS_MAXIMUM: usize = 64;

impl<E: Entry> Table<E> {
    /// Room for about `maximum` entries: exactly that many up to 1024, and above split evenly
    /// over the shards, so that the first shard is full a few per cent earlier.
    pub fn new(maximum: usize, idle: Duration, hashing: Hashing) -> Table<E> {
        Table::with_aside(maximum, idle, hashing, false)
    }

    /// The same with an `Aside` for each entry, or without.
    pub fn with_aside(maximum: usize, idle: Duration, hashing: Hashing, has_aside: bool) -> Table<E> {
        let count = (maximum / SHARD_MINIMUM).clamp(1, SHARDS_MAXIMUM);
        let count = if count.is_power_of_two() { count } else { count.next_power_of_two() / 2 };
        let shard = |number| {
            let mut shard = Shard::new(number, maximum.div_ceil(count), idle, hashing);
            if has_aside {
                shard.aside.reserve_exact(shard.maximum);
            }
            Mutex::new(Shard { has_aside, ..shard })
        };
        Table { shards: (0..count as u32).map(shard).collect(), hashing }
    }

    /// Locks the shard of a key and hands it over with the key's hash.
    #[inline]
    pub fn shard(&self, key: &E::Key) -> (u64, MutexGuard<'_, Shard<E>>) {
        let hash = E::hash(key, &self.hashing);
        // The index takes the low bits, and those from 32 on beside them.
        (hash, self.lock((hash >> 58) as usize & (self.shards.len() - 1)))
    }

    /// Locks the shard of a place.
    pub fn shard_at(&self, place: Place) -> MutexGuard<'_, Shard<E>> {
        self.lock(place.shard as usize)
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        (0..self.shards.len()).map(|shard| self.lock(shard).index.len()).sum()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes what is over among the next `slots` slots of shard `shard` modulo the count.
    pub fn sweep(&self, shard: usize, now: Time, slots: usize) {
        self.lock(shard % self.shards.len()).sweep(now, slots);
    }

    /// Shows up to `limit` entries (from 1) from a cursor on; returns the next cursor, 0 at the
    /// end. An entry that stays through the whole listing is shown exactly once. No lock is held
    /// for longer than a look at 1024 slots.
    pub fn list(&self, cursor: u64, limit: usize, mut show: impl FnMut(&E, Option<&E::Aside>)) -> u64 {
        let (mut shard, mut slot) = ((cursor >> 32) as usize, cursor as u32 as usize);
        let mut left = limit.max(1);
        while shard < self.shards.len() {
            let held = self.lock(shard);
            let end = held.slab.len().min(slot + LIST_SLOTS);
            for at in slot..end {
                if let Some(entry) = &held.slab[at] {
                    if left == 0 {
                        return (shard as u64) << 32 | at as u64;
                    }
                    show(entry, held.aside.get(at));
                    left -= 1;
                }
            }
            (shard, slot) = if end >= held.slab.len() { (shard + 1, 0) } else { (shard, end) };
        }
        0
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard<E>> {
        locked(&self.shards[shard])
    }
}

/// One shard of a table.
pub struct Shard<E: Entry> {
    number: u32,
    slab: Vec<Option<E>>,
    /// How often each slot was left.
    generations: Vec<u32>,
    aside: Vec<E::Aside>,
    has_aside: bool,
    free: Vec<u32>,
    index: Index,
    hashing: Hashing,
    maximum: usize,
    idle: Duration,
    sweep_at: usize,
}

/// Slots looked at to make room in a full shard: bounded work for one packet.
const SWEEP_WHEN_FULL: usize = 64;

impl<E: Entry> Shard<E> {
    fn new(number: u32, maximum: usize, idle: Duration, hashing: Hashing) -> Shard<E> {
        Shard {
            number,
            slab: Vec::with_capacity(maximum),
            generations: Vec::with_capacity(maximum),
            aside: Vec::new(),
            has_aside: false,
            free: Vec::with_capacity(maximum),
            index: Index::new(maximum),
            hashing,
            maximum,
            idle,
            sweep_at: 0,
        }
    }

    /// Finds an entry by its key, whose hash `Table::shard` gave.
    #[inline]
    pub fn find(&mut self, key: &E::Key, hash: u64) -> Option<&mut E> {
        let slot = self.find_slot(key, hash)?;
        self.slab[slot as usize].as_mut()
    }

    /// Finds an entry and what is kept beside it, if that is so.
    #[inline]
    pub fn find_both(&mut self, key: &E::Key, hash: u64) -> Option<(&mut E, Option<&mut E::Aside>)> {
        let slot = self.find_slot(key, hash)? as usize;
        Some((self.slab[slot].as_mut()?, self.aside.get_mut(slot)))
    }

    /// Where an entry is.
    pub fn place(&self, key: &E::Key, hash: u64) -> Option<Place> {
        let slot = self.find_slot(key, hash)?;
        Some(Place { shard: self.number, slot, generation: self.generations[slot as usize] })
    }

    /// The entry at a place, unless it is gone.
    pub fn at(&mut self, place: Place) -> Option<&mut E> {
        let is_same = self.generations.get(place.slot as usize) == Some(&place.generation);
        self.slab.get_mut(place.slot as usize).filter(|_| is_same)?.as_mut()
    }

    fn find_slot(&self, key: &E::Key, hash: u64) -> Option<u32> {
        self.index.find(hash, |slot| self.slab[slot as usize].as_ref().is_some_and(|entry| entry.key() == *key))
    }

    /// Adds an entry whose key is not there yet; none if the shard is full, and no entry among the
    /// next 64 is over or spare.
    pub fn insert(&mut self, entry: E, hash: u64, now: Time) -> Option<&mut E> {
        if self.index.len() >= self.maximum {
            self.make_room(now);
        }
        if self.index.len() >= self.maximum {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            self.generations.push(0);
            (self.slab.len() - 1) as u32
        });
        if self.has_aside {
            match self.aside.get_mut(slot as usize) {
                Some(aside) => *aside = E::Aside::default(),
                None => self.aside.push(E::Aside::default()),
            }
        }
        self.slab[slot as usize] = Some(entry);
        self.index.insert(hash, slot);
        self.slab[slot as usize].as_mut()
    }

    /// Removes an entry.
    pub fn take(&mut self, key: &E::Key, hash: u64) -> Option<E> {
        let slot = self.find_slot(key, hash)?;
        self.remove(slot)
    }

    fn sweep(&mut self, now: Time, slots: usize) {
        for _ in 0..slots.min(self.slab.len()) {
            let slot = self.next_slot();
            let idle = self.idle;
            if self.slab[slot].as_mut().is_some_and(|entry| entry.is_over(now, idle)) {
                self.remove(slot as u32);
            }
        }
    }

    /// Removes the next entry that may go.
    fn make_room(&mut self, now: Time) {
        for _ in 0..SWEEP_WHEN_FULL.min(self.slab.len()) {
            let slot = self.next_slot();
            let idle = self.idle;
            if self.slab[slot].as_mut().is_some_and(|entry| entry.is_over(now, idle) || entry.is_spare(now)) {
                self.remove(slot as u32);
                return;
            }
        }
    }

    fn next_slot(&mut self) -> usize {
        let slot = if self.sweep_at < self.slab.len() { self.sweep_at } else { 0 };
        self.sweep_at = slot + 1;
        slot
    }

    fn remove(&mut self, slot: u32) -> Option<E> {
        let entry = self.slab[slot as usize].take()?;
        let generation = &mut self.generations[slot as usize];
        *generation = generation.wrapping_add(1);
        let (slab, hashing) = (&self.slab, &self.hashing);
        let hash_of = |other: u32| slab[other as usize].as_ref().map_or(0, |entry| E::hash(&entry.key(), hashing));
        self.index.remove(E::hash(&entry.key(), hashing), slot, hash_of);
        self.free.push(slot);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number(u64, Time);

    impl Entry for Number {
        type Key = u64;
        type Aside = ();

        fn key(&self) -> u64 {
            self.0
        }

        fn hash(key: &u64, hashing: &Hashing) -> u64 {
            hashing.of(&key.to_be_bytes())
        }

        fn is_over(&mut self, now: Time, idle: Duration) -> bool {
            now.since(self.1) >= idle
        }
    }

    fn table(maximum: usize) -> Table<Number> {
        Table::new(maximum, Duration::from_secs(60), Hashing::default())
    }

    fn insert(table: &Table<Number>, number: u64, now: Time) -> bool {
        let (hash, mut shard) = table.shard(&number);
        shard.insert(Number(number, now), hash, now).is_some()
    }

    fn holds(table: &Table<Number>, number: u64) -> bool {
        let (hash, mut shard) = table.shard(&number);
        shard.find(&number, hash).is_some()
    }

    #[test]
    fn a_table_holds_its_maximum_and_reuses_what_is_over() {
        let table = table(100);
        for round in 0..20u64 {
            let now = Time(round * 100_000_000);
            assert!((0..100).all(|number| insert(&table, round * 1000 + number, now)));
            assert!(!insert(&table, 999, now), "it is full of live entries");
            assert!((0..100).all(|number| holds(&table, round * 1000 + number)));
            assert_eq!(table.len(), 100);
        }
    }

    #[test]
    fn sweeping_removes_what_is_over_a_bounded_piece_at_a_time() {
        let table = table(100);
        assert!((0..100).all(|number| insert(&table, number, Time(number))));
        let later = Time(60_000_000 + 49);
        table.sweep(0, later, 30);
        assert_eq!(table.len(), 70);
        table.sweep(0, later, 1000);
        assert_eq!(table.len(), 50);
        assert!(!holds(&table, 49) && holds(&table, 50));
    }

    #[test]
    fn a_place_is_not_taken_for_its_next_holder() {
        let table = table(1);
        assert!(insert(&table, 1, Time(0)));
        let place = {
            let (hash, shard) = table.shard(&1);
            shard.place(&1, hash).expect("held")
        };
        assert!(table.shard_at(place).at(place).is_some());
        assert!(insert(&table, 2, Time(60_000_000)));
        assert!(table.shard_at(place).at(place).is_none());
    }

    #[test]
    fn a_listing_in_pieces_shows_every_entry_once() {
        let table = table(4096);
        assert!((0..3000).all(|number| insert(&table, number, Time(0))));
        let (mut cursor, mut shown) = (0, Vec::new());
        loop {
            cursor = table.list(cursor, 7, |entry, _| shown.push(entry.0));
            if cursor == 0 {
                break;
            }
        }
        shown.sort_unstable();
        assert_eq!(shown, (0..3000).collect::<Vec<u64>>());
    }
}
