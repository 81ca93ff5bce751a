//! Addresses of this host in one byte, for tables.
//!
//! A wildcard listener answers from the address that it was asked on, so every path remembers one.
//! A host has few: each gets a number when it is first seen. They are not a secret and never go.

use std::net::IpAddr;
use std::sync::OnceLock;

/// Addresses that get a number; from the next one on the kernel chooses what to answer from.
const MAXIMUM: usize = 255;
static KNOWN: [OnceLock<IpAddr>; MAXIMUM] = [const { OnceLock::new() }; MAXIMUM];

/// The number of an address of this host; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local(u8);

impl From<Option<IpAddr>> for Local {
    fn from(address: Option<IpAddr>) -> Local {
        let Some(address) = address else { return Local(0) };
        // Usually the first; the first free place takes a new one, or turns out to have it by now.
        let place = KNOWN.iter().position(|known| *known.get_or_init(|| address) == address);
        Local(place.map_or(0, |place| place as u8 + 1))
    }
}

impl From<Local> for Option<IpAddr> {
    fn from(Local(number): Local) -> Option<IpAddr> {
        KNOWN.get(usize::from(number).checked_sub(1)?)?.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_and_one_too_many_is_none() {
        assert_eq!(Option::<IpAddr>::from(Local::from(None)), None);
        let address = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        for last in (1..=100).chain(1..=100) {
            assert_eq!(Option::<IpAddr>::from(Local::from(address(last))), address(last));
        }
    }
}
