//! From a hash to a slot: open addressing in four bytes a place, allocated once.
//!
//! A place holds a slot and as many bits of the hash as fit beside it, so that a wrong slot is
//! rarely looked at. Half of the places stay free; removal closes the gap, so nothing is ever
//! cleaned up and nothing grows.

/// An index of up to a fixed number of slots.
pub struct Index {
    /// 0, or hash bits above the number of a slot plus one.
    places: Box<[u32]>,
    slot_bits: u32,
    count: usize,
}

impl Index {
    /// Room for the slots 0 to `maximum` - 1 (at most 2^24).
    pub fn new(maximum: usize) -> Index {
        let slot_bits = usize::BITS - maximum.leading_zeros();
        Index { places: vec![0; (2 * maximum).next_power_of_two()].into(), slot_bits, count: 0 }
    }

    /// Slots in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The slot with this hash that is the right one.
    #[inline]
    pub fn find(&self, hash: u64, is_right: impl Fn(u32) -> bool) -> Option<u32> {
        let (mut at, tag) = (self.home(hash), self.tag(hash));
        loop {
            let place = self.places[at];
            if place == 0 {
                return None;
            }
            if place & !self.slots() == tag && is_right(self.slot(place)) {
                return Some(self.slot(place));
            }
            at = self.after(at);
        }
    }

    /// Adds a slot that is not in it; there is room.
    pub fn insert(&mut self, hash: u64, slot: u32) {
        let mut at = self.home(hash);
        while self.places[at] != 0 {
            at = self.after(at);
        }
        self.places[at] = self.tag(hash) | (slot + 1);
        self.count += 1;
    }

    /// Removes a slot, if it is in it; `hash_of` says the hashes of others.
    pub fn remove(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        let mut gap = self.home(hash);
        while self.places[gap] == 0 || self.slot(self.places[gap]) != slot {
            if self.places[gap] == 0 {
                return;
            }
            gap = self.after(gap);
        }
        let mut at = gap;
        loop {
            at = self.after(at);
            let place = self.places[at];
            if place == 0 {
                break;
            }
            let from_home = at.wrapping_sub(self.home(hash_of(self.slot(place)))) & (self.places.len() - 1);
            if from_home >= at.wrapping_sub(gap) & (self.places.len() - 1) {
                self.places[gap] = place;
                gap = at;
            }
        }
        self.places[gap] = 0;
        self.count -= 1;
    }

    fn slots(&self) -> u32 {
        (1 << self.slot_bits) - 1
    }

    fn slot(&self, place: u32) -> u32 {
        (place & self.slots()) - 1
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    fn tag(&self, hash: u64) -> u32 {
        (hash >> 32) as u32 & !self.slots()
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }
}
