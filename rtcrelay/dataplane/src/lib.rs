//! The packet path of rtcrelay.
//!
//! `core` decides and touches nothing: bytes and the time go in, a verdict comes out.
//! `io` moves datagrams between sockets and the core. `stats` names every reason to drop a
//! packet. `python` converts between these and the control plane, which is written in Python.
//!
//! A datagram's way: `io::worker` receives a batch, `core::relay` judges each datagram,
//! `io::worker` sends what the verdicts say.

pub mod core;
pub mod io;
#[cfg(feature = "python")]
mod python;
pub mod stats;
