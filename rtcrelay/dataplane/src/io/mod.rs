//! Sockets and threads around the core.

mod batch;
mod hold;
mod socket;
mod worker;

mod runtime;

pub use runtime::{Config, Runtime, StartError};
