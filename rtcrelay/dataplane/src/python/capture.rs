//! Captures: started and read from Python, filled by the workers.

use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::relay::Relay;
use crate::core::address::Networks;
use crate::core::capture::Filter;
use crate::core::demux::MAX_PAYLOAD;
use crate::io::{self, MAX_CAPTURES, Runtime, Snap};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Capture>()
}

#[pyclass(frozen, module = "rtcrelay._dataplane")]
struct Capture {
    capture: Arc<io::Capture>,
    runtime: Arc<Runtime>,
}

#[pymethods]
impl Capture {
    #[new]
    #[pyo3(signature = (relay, *, clients=Vec::new(), nodes=Vec::new(), ufrags=Vec::new(), everything=false, full=false, snap_bytes=MAX_PAYLOAD), text_signature = "(relay, *, clients=(), nodes=(), ufrags=(), everything=False, full=False, snap_bytes=1500)")]
    fn new(
        relay: &Relay,
        clients: Vec<String>,
        nodes: Vec<String>,
        ufrags: Vec<String>,
        everything: bool,
        full: bool,
        snap_bytes: usize,
    ) -> PyResult<Self> {
        if everything != (clients.is_empty() && nodes.is_empty() && ufrags.is_empty()) {
            return Err(PyValueError::new_err("a capture is of some flows or of everything, and says which"));
        }
        let networks = |texts: &[String]| Networks::parse(texts).map_err(PyValueError::new_err);
        let (clients, nodes) = (networks(&clients)?, networks(&nodes)?);
        let runtime = relay.runtime()?;
        let known = |ufrag: String| {
            let hash = runtime.relay().ufrag_hash(ufrag.as_bytes());
            (ufrag.into_bytes(), hash)
        };
        let filter = Filter { clients, nodes, ufrags: ufrags.into_iter().map(known).collect() };
        let capture = runtime
            .start_capture(filter, Snap { full, most: snap_bytes })
            .ok_or_else(|| PyRuntimeError::new_err(format!("{MAX_CAPTURES} captures run already")))?;
        Ok(Capture { capture, runtime })
    }

    #[pyo3(signature = (limit=262_144))]
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> (Bound<'py, PyBytes>, u64) {
        let (records, lost) = py.detach(|| self.capture.take(limit));
        (PyBytes::new(py, &records), lost)
    }

    fn stop(&self) {
        self.runtime.stop_capture(&self.capture);
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop();
    }
}
