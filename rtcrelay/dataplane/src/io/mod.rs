//! Sockets and threads around the core.

mod batch;
mod socket;
mod worker;

mod runtime;

pub use runtime::{Config, Runtime, StartError};
