//! Sockets and threads around the core.

mod batch;
mod capture;
pub mod groups;
mod hold;
mod listeners;
mod message;
mod send;
mod slots;
mod socket;
mod wait;
mod worker;

mod runtime;

pub use batch::segments;
pub use capture::{Capture, MAX_CAPTURES, RECORD_HEADER, Snap};
pub use listeners::Sockets;
pub use runtime::{Config, Runtime, StartError};
pub use socket::adopt_descriptor;
