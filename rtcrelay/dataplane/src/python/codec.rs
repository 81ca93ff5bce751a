//! The codecs: ufrag, SPP, STUN, classes.

use std::net::Ipv4Addr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyBytes;

use super::{Address, UfragError, from_address, to_address};
use crate::core::{demux, spp, stun, ufrag};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<KeyRing>()?;
    module.add_class::<Route>()?;
    module.add_class::<SppHeader>()?;
    module.add_class::<StunMessage>()?;
    module.add_function(wrap_pyfunction!(mint_ufrag, module)?)?;
    module.add_function(wrap_pyfunction!(open_ufrag, module)?)?;
    module.add_function(wrap_pyfunction!(pack_spp, module)?)?;
    module.add_function(wrap_pyfunction!(unpack_spp, module)?)?;
    module.add_function(wrap_pyfunction!(classify, module)?)?;
    module.add_function(wrap_pyfunction!(read_stun, module)?)
}

#[pyclass(frozen, module = "rtcrelay._dataplane")]
pub(super) struct KeyRing {
    pub(super) ring: ufrag::KeyRing,
    states: Vec<(u8, String)>,
}

#[pymethods]
impl KeyRing {
    #[new]
    fn new(keys: Vec<(i64, Vec<u8>, String)>) -> PyResult<Self> {
        let mut ring = ufrag::KeyRing::default();
        let mut states: Vec<(u8, String)> = Vec::new();
        for (id, secret, state) in keys {
            let id = u8::try_from(id)
                .ok()
                .filter(|id| usize::from(*id) < ufrag::KEYS)
                .ok_or_else(|| PyValueError::new_err(format!("key id {id} is not between 0 and 7")))?;
            let secret: [u8; 16] = secret.as_slice().try_into().map_err(|_| {
                PyValueError::new_err(format!("the secret of key {id} has {} bytes; 16 are needed", secret.len()))
            })?;
            let parsed = match state.as_str() {
                "active" => ufrag::KeyState::Active,
                "accept" => ufrag::KeyState::Accept,
                "revoked" => ufrag::KeyState::Revoked,
                _ => {
                    return Err(PyValueError::new_err(format!(
                        "the state of key {id} is {state:?}, not active, accept or revoked"
                    )));
                }
            };
            if states.iter().any(|(other, _)| *other == id) {
                return Err(PyValueError::new_err(format!("key id {id} is given twice")));
            }
            if parsed == ufrag::KeyState::Active && ring.active().is_some() {
                return Err(PyValueError::new_err("two keys are active; exactly one mints"));
            }
            ring.insert(id, &secret, parsed);
            states.push((id, state));
        }
        Ok(KeyRing { ring, states })
    }

    #[getter]
    fn active(&self) -> Option<u8> {
        self.ring.active()
    }

    fn __repr__(&self) -> String {
        let keys: Vec<String> = self.states.iter().map(|(id, state)| format!("{id}: {state}")).collect();
        format!("KeyRing({})", keys.join(", "))
    }
}

#[pyclass(frozen, eq, hash, module = "rtcrelay._dataplane")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Route {
    kind: u8,
    #[pyo3(get)]
    cluster: u16,
    endpoint: u32,
    #[pyo3(get)]
    port: u16,
    #[pyo3(get)]
    nonce: u32,
    #[pyo3(get)]
    key_id: u8,
}

const KINDS: [(&str, ufrag::Kind); 5] = [
    ("endpoint", ufrag::Kind::Endpoint),
    ("node", ufrag::Kind::Node),
    ("session", ufrag::Kind::Session),
    ("probe_endpoint", ufrag::Kind::ProbeEndpoint),
    ("probe_node", ufrag::Kind::ProbeNode),
];

impl Route {
    pub(super) fn of(route: ufrag::Route) -> Route {
        Route {
            kind: route.kind.number(),
            cluster: route.cluster,
            endpoint: route.endpoint,
            port: route.port,
            nonce: route.nonce,
            key_id: route.key_id,
        }
    }

    fn kind_of(&self) -> ufrag::Kind {
        ufrag::Kind::from_number(self.kind).expect("made from a kind")
    }
}

#[pymethods]
impl Route {
    #[new]
    #[pyo3(signature = (kind, cluster, *, ip=None, node=None, port=0, nonce=0, key_id=0))]
    fn new(
        kind: &str,
        cluster: i64,
        ip: Option<&str>,
        node: Option<i64>,
        port: i64,
        nonce: i64,
        key_id: i64,
    ) -> PyResult<Self> {
        let (_, kind) = KINDS.iter().find(|(name, _)| *name == kind).ok_or_else(|| {
            PyValueError::new_err(format!(
                "{kind:?} is not a kind: endpoint, node, session, probe_endpoint or probe_node"
            ))
        })?;
        let endpoint = match (kind.names_node(), ip, node) {
            (true, None, Some(node)) => in_range("node", node, 0, u32::MAX.into())? as u32,
            (true, ..) => return Err(PyValueError::new_err("this kind takes a node and no ip")),
            (false, Some(ip), None) => {
                let ip: Ipv4Addr = ip.parse().map_err(|_| {
                    PyValueError::new_err(format!("{ip:?} is not an IPv4 address; IPv6 endpoints use a node"))
                })?;
                ip.to_bits()
            }
            (false, ..) => return Err(PyValueError::new_err("this kind takes an ip and no node")),
        };
        let port = if kind.names_node() {
            in_range("port of a node", port, 0, 0)?
        } else {
            in_range("port", port, 1, u16::MAX.into())?
        };
        Ok(Route {
            kind: kind.number(),
            cluster: in_range("cluster", cluster, 0, u16::MAX.into())? as u16,
            endpoint,
            port: port as u16,
            nonce: in_range("nonce", nonce, 0, 0xFF_FFFF)? as u32,
            key_id: in_range("key id", key_id, 0, 7)? as u8,
        })
    }

    #[getter]
    fn kind(&self) -> &'static str {
        KINDS.iter().find(|(_, kind)| kind.number() == self.kind).map_or("", |(name, _)| name)
    }

    #[getter]
    fn ip(&self) -> Option<String> {
        (!self.kind_of().names_node()).then(|| Ipv4Addr::from(self.endpoint).to_string())
    }

    #[getter]
    fn node(&self) -> Option<u32> {
        self.kind_of().names_node().then_some(self.endpoint)
    }

    fn __repr__(&self) -> String {
        let endpoint = match (self.ip(), self.node()) {
            (Some(ip), _) => format!("ip='{ip}', port={}", self.port),
            (None, node) => format!("node={}", node.unwrap_or_default()),
        };
        format!(
            "Route('{}', {}, {endpoint}, nonce=0x{:06x}, key_id={})",
            self.kind(),
            self.cluster,
            self.nonce,
            self.key_id
        )
    }
}

fn in_range(name: &str, value: i64, low: i64, high: i64) -> PyResult<i64> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(PyValueError::new_err(if low == high {
        format!("{name} is {value}, not {low}")
    } else {
        format!("{name} is {value}, not between {low} and {high}")
    }))
}

fn ufrag_error(invalid: ufrag::Invalid) -> PyErr {
    UfragError::new_err((invalid.name(), invalid.meaning()))
}

#[pyfunction]
fn mint_ufrag(ring: &KeyRing, route: &Route) -> PyResult<String> {
    let wire = ufrag::Route {
        kind: route.kind_of(),
        cluster: route.cluster,
        endpoint: route.endpoint,
        port: route.port,
        nonce: route.nonce,
        key_id: route.key_id,
    };
    let ufrag = ring.ring.mint(&wire).map_err(ufrag_error)?;
    Ok(ufrag.iter().map(|byte| char::from(*byte)).collect())
}

#[derive(FromPyObject)]
enum Text {
    #[pyo3(transparent)]
    Str(PyBackedStr),
    #[pyo3(transparent)]
    Bytes(PyBackedBytes),
}

#[pyfunction]
fn open_ufrag(ring: &KeyRing, ufrag: Text) -> PyResult<Route> {
    let bytes = match &ufrag {
        Text::Str(text) => text.as_bytes(),
        Text::Bytes(bytes) => bytes,
    };
    ring.ring.open(bytes).map(Route::of).map_err(ufrag_error)
}

#[pyclass(frozen, eq, hash, module = "rtcrelay._dataplane")]
#[derive(Clone, PartialEq, Eq, Hash)]
struct SppHeader(spp::Header);

#[pymethods]
impl SppHeader {
    #[new]
    fn new(client: Address, proxy: Address) -> PyResult<Self> {
        Ok(SppHeader(spp::Header { client: from_address(&client)?, proxy: from_address(&proxy)? }))
    }

    #[getter]
    fn client(&self) -> Address {
        to_address(self.0.client)
    }

    #[getter]
    fn proxy(&self) -> Address {
        to_address(self.0.proxy)
    }

    #[getter]
    fn path(&self) -> (String, i64, u16) {
        let (ip, port) = self.client();
        (ip, port, self.0.proxy.port())
    }

    fn __repr__(&self) -> String {
        format!("SppHeader(client={}, proxy={})", self.0.client, self.0.proxy)
    }
}

#[pyfunction]
fn pack_spp<'py>(py: Python<'py>, header: &SppHeader) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &spp::pack(&header.0))
}

#[pyfunction]
fn unpack_spp(datagram: &[u8]) -> Option<SppHeader> {
    spp::unpack(datagram).ok().map(|(header, _)| SppHeader(header))
}

#[pyfunction]
fn classify(payload: &[u8]) -> Option<&'static str> {
    match demux::classify(payload).ok()? {
        demux::Class::Stun => Some("stun"),
        demux::Class::Dtls => Some("dtls"),
        demux::Class::Rtp => Some("rtp"),
        demux::Class::Rtcp => Some("rtcp"),
    }
}

#[pyclass(frozen, module = "rtcrelay._dataplane")]
struct StunMessage {
    #[pyo3(get)]
    kind: u16,
    bytes: Vec<u8>,
}

#[pymethods]
impl StunMessage {
    #[getter]
    fn transaction<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes[8..20])
    }

    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> Vec<(u16, usize, Bound<'py, PyBytes>)> {
        let Some(message) = stun::Message::read(&self.bytes) else { return Vec::new() };
        message
            .attributes()
            .map(|attribute| (attribute.kind, attribute.offset, PyBytes::new(py, attribute.value)))
            .collect()
    }
}

#[pyfunction]
fn read_stun(datagram: &[u8]) -> Option<StunMessage> {
    let message = stun::Message::read(datagram)?;
    Some(StunMessage { kind: message.kind(), bytes: datagram.to_vec() })
}
