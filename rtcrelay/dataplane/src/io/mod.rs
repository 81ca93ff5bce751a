//! Sockets and threads around the core.

mod batch;
mod hold;
mod listeners;
mod socket;
mod worker;

mod runtime;

pub use listeners::Sockets;
pub use runtime::{Config, Runtime, StartError};
pub use socket::adopt_descriptor;
