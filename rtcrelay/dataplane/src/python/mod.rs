//! The Python face: conversions and nothing else. `_dataplane.pyi` documents it.

mod capture;
mod codec;
mod explain;
mod relay;

use std::net::{IpAddr, SocketAddr};

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::core::{demux, spp, ufrag};
use crate::stats::DropReason;

create_exception!(rtcrelay._dataplane, UfragError, PyValueError);

/// An address as Python holds it.
type Address = (String, i64);

fn to_address(address: SocketAddr) -> Address {
    (address.ip().to_canonical().to_string(), address.port().into())
}

fn from_address((ip, port): &Address) -> PyResult<SocketAddr> {
    let parsed: IpAddr =
        ip.parse().map_err(|_| PyValueError::new_err(format!("{ip:?} is not an IPv4 or IPv6 address")))?;
    let port = u16::try_from(*port)
        .map_err(|_| PyValueError::new_err(format!("the port of {ip} is {port}, not between 0 and 65535")))?;
    Ok(SocketAddr::new(parsed.to_canonical(), port))
}

/// The module `rtcrelay._dataplane`.
#[pymodule(name = "_dataplane")]
fn dataplane(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("UfragError", py.get_type::<UfragError>())?;
    module.add("MAX_PAYLOAD", demux::MAX_PAYLOAD)?;
    module.add("SPP_HEADER", spp::HEADER)?;
    module.add("CAPTURE_HEADER", crate::io::RECORD_HEADER)?;
    module.add("UFRAG_LENGTH", ufrag::LENGTH)?;
    let reasons = PyDict::new(py);
    for reason in DropReason::ALL {
        reasons.set_item(reason.name(), reason.meaning())?;
    }
    module.add("DROP_REASONS", reasons)?;
    codec::register(module)?;
    relay::register(module)?;
    capture::register(module)?;
    explain::register(module)
}
