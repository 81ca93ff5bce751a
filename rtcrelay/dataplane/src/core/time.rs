//! Time as the core sees it: a number handed in, never asked for.

use std::time::Duration;

/// Microseconds since an arbitrary start; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// How long before `self` the moment `earlier` was; zero if it was later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The moment `age` before this one; not before the start.
    pub fn before(self, age: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The moment `later` after this one.
    pub fn after(self, later: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(later.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A `Time` in six bytes, for tables: good for 8.9 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp([u16; 3]);

impl From<Time> for Stamp {
    fn from(time: Time) -> Stamp {
        Stamp([(time.0 >> 32) as u16, (time.0 >> 16) as u16, time.0 as u16])
    }
}

impl From<Stamp> for Time {
    fn from(Stamp([high, middle, low]): Stamp) -> Time {
        Time(u64::from(high) << 32 | u64::from(middle) << 16 | u64::from(low))
    }
}
