//! How far one ufrag has spread: at most 16 live confirmed paths.
//!
//! The owner of a session can send valid checks from any address it can spoof. Without a bound
//! one session could fill the path table. Most ufrags have one path, so each path is a note of its
//! own under (ufrag, 0), (ufrag, 1), ... and the notes of one ufrag are in one shard.

use std::num::NonZeroU8;
use std::time::Duration;

use super::table::{Entry, Hashing, Place, Table};
use super::time::{Stamp, Time};

/// Confirmed paths of one ufrag at most.
pub const MAX_PATHS: u8 = 16;

/// The confirmed paths of every ufrag.
pub struct Spread(Table<Note>);

struct Note {
    /// Hash of the ufrag.
    ufrag: u64,
    path: Place,
    at: Stamp,
    /// Plus one, so that a table needs no byte more to say that there is no note.
    number: NonZeroU8,
}

const _: () = assert!(size_of::<Option<Note>>() == 32);

impl Spread {
    /// No paths; `life` is how long one counts after it was confirmed.
    pub fn new(maximum: usize, life: Duration, hashing: Hashing) -> Spread {
        Spread(Table::new(maximum, life, hashing))
    }

    /// Notes that a path was confirmed. If it is one too many, returns the path that gives way:
    /// the least recently confirmed. One that finds no room is not noted.
    pub fn confirm(&self, ufrag: u64, path: Place, now: Time) -> Option<Place> {
        let (_, mut shard) = self.0.shard(&(ufrag, 0));
        let (mut free, mut oldest) = (None, (Time(u64::MAX), 0));
        for number in 0..MAX_PATHS {
            match shard.find(&(ufrag, number), hash(ufrag, number)) {
                Some(note) if note.path == path => {
                    note.at = now.into();
                    return None;
                }
                Some(note) => oldest = oldest.min((note.at.into(), number)),
                None => free = free.or(Some(number)),
            }
        }
        if let Some(number) = free {
            let note = Note { ufrag, path, at: now.into(), number: NonZeroU8::MIN.saturating_add(number) };
            shard.insert(note, hash(ufrag, number), now);
            return None;
        }
        let note = shard.find(&(ufrag, oldest.1), hash(ufrag, oldest.1))?;
        note.at = now.into();
        Some(std::mem::replace(&mut note.path, path))
    }

    /// Forgets a bounded piece of old notes; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time, slots: usize) {
        self.0.sweep(round, now, slots);
    }
}

/// The upper half, by which the shard is chosen, stays that of the ufrag.
fn hash(ufrag: u64, number: u8) -> u64 {
    let low = (ufrag as u32).wrapping_add(u32::from(number).wrapping_mul(0x9E37_79B9));
    ufrag & !u64::from(u32::MAX) | u64::from(low)
}

impl Entry for Note {
    type Key = (u64, u8);
    type Aside = ();

    fn key(&self) -> (u64, u8) {
        (self.ufrag, self.number.get() - 1)
    }

    fn hash((ufrag, number): &(u64, u8), _: &Hashing) -> u64 {
        hash(*ufrag, *number) // is one already
    }

    fn is_over(&mut self, now: Time, idle: Duration) -> bool {
        now.since(self.at.into()) >= idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_confirmed_of_seventeen_paths_gives_way() {
        let spread = Spread::new(1000, Duration::from_secs(20), Hashing::default());
        let place = |slot| Place { shard: 0, slot, generation: 0 };
        for slot in 0..16 {
            assert_eq!(spread.confirm(77, place(slot), Time(u64::from(slot) + 1)), None);
        }
        assert_eq!(spread.confirm(77, place(0), Time(100)), None, "it is known, and confirmed anew");
        assert_eq!(spread.confirm(78, place(1), Time(100)), None, "another ufrag");
        assert_eq!(spread.confirm(77, place(16), Time(101)), Some(place(1)));
        assert_eq!(spread.confirm(77, place(17), Time(102)), Some(place(2)));
    }
}
