//! Sockets and threads around the core.

mod batch;
mod capture;
mod hold;
mod listeners;
mod socket;
mod worker;

mod runtime;

pub use capture::{Capture, MAX_CAPTURES, RECORD_HEADER, Snap};
pub use listeners::Sockets;
pub use runtime::{Config, Runtime, StartError};
pub use socket::adopt_descriptor;
