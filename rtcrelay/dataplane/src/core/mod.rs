//! Decisions about packets. No socket, clock, thread or Python here, and no unsafe code.
#![forbid(unsafe_code)]

pub mod address;
pub mod capture;
pub mod claims;
pub mod clusters;
pub mod demux;
pub mod events;
pub mod health;
pub mod index;
pub mod killed;
pub mod legs;
pub mod limit;
pub mod local;
pub mod path;
pub mod policy;
pub mod probed;
pub mod questions;
pub mod relay;
pub mod snapshot;
pub mod spp;
pub mod spread;
pub mod stun;
pub mod table;
pub mod time;
pub mod ufrag;
