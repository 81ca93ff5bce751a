//! The relay: policy, configuration, life cycle, counters, flows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::codec::KeyRing;
use super::{Address, from_address, to_address};
use crate::core::address::{Networks, PathKey};
use crate::core::clusters::{Clusters, MAX_RELAYS};
use crate::core::events::{self, What};
use crate::core::legs;
use crate::core::path::{Path, Standing};
use crate::core::policy;
use crate::core::relay::Limits;
use crate::core::snapshot::Malformed;
use crate::core::time::Time;
use crate::io::{Config, Runtime, Sockets, StartError};
use crate::stats::{Counters, DropReason};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Policy>()?;
    module.add_class::<RelayConfig>()?;
    module.add_class::<Relay>()?;
    module.add_class::<Event>()?;
    module.add_class::<Flow>()?;
    module.add_class::<Stream>()?;
    module.add_class::<Claim>()
}

#[pyclass(frozen, module = "rtcrelay._dataplane")]
struct Policy(Arc<policy::Policy>);

#[pymethods]
impl Policy {
    #[new]
    #[pyo3(signature = (ring, *, cluster=None, transceivers=Vec::new(), peers=Vec::new(), clusters=None, nodes=None, admission_exempt=Vec::new(), draining=false), text_signature = "(ring, *, cluster=None, transceivers=(), peers=(), clusters=None, nodes=None, admission_exempt=(), draining=False)")]
    #[expect(clippy::too_many_arguments, reason = "one keyword argument for each setting")]
    fn new(
        ring: &KeyRing,
        cluster: Option<i64>,
        transceivers: Vec<String>,
        mut peers: Vec<String>,
        clusters: Option<HashMap<u16, Vec<Address>>>,
        nodes: Option<HashMap<u32, Address>>,
        admission_exempt: Vec<String>,
        draining: bool,
    ) -> PyResult<Self> {
        let networks = |texts: &[String]| Networks::parse(texts).map_err(PyValueError::new_err);
        let clusters = read_clusters(clusters.unwrap_or_default())?;
        peers.extend(clusters.all().map(|relay| SocketAddr::from(*relay).to_string()));
        let (transceivers, peers) = (networks(&transceivers)?, networks(&peers)?);
        if let Some((transceiver, peer)) = transceivers.overlap(&peers) {
            return Err(PyValueError::new_err(format!(
                "the transceiver network {transceiver} overlaps the peer network {peer}; an address is one or the other"
            )));
        }
        let cluster = cluster
            .map(|cluster| {
                u16::try_from(cluster)
                    .map_err(|_| PyValueError::new_err(format!("cluster is {cluster}, not between 0 and 65535")))
            })
            .transpose()?;
        let nodes = nodes.unwrap_or_default();
        let nodes = nodes.iter().map(|(id, address)| Ok((*id, from_address(address)?))).collect::<PyResult<_>>()?;
        let admission_exempt = networks(&admission_exempt)?;
        let ring = ring.ring.clone();
        Ok(Policy(Arc::new(policy::Policy {
            ring,
            cluster,
            transceivers,
            peers,
            clusters,
            nodes,
            draining,
            admission_exempt,
        })))
    }
}

fn read_clusters(table: HashMap<u16, Vec<Address>>) -> PyResult<Clusters> {
    let mut relays = HashMap::new();
    for (cluster, addresses) in &table {
        within(&format!("the number of relays of cluster {cluster}"), addresses.len() as i64, 1..=MAX_RELAYS as i64)?;
        let addresses = addresses.iter().map(|address| Ok(from_address(address)?.into())).collect::<PyResult<_>>()?;
        relays.insert(*cluster, addresses);
    }
    Clusters::new(relays)
        .map_err(|relay| PyValueError::new_err(format!("the relay {} is in two clusters", SocketAddr::from(relay))))
}

#[pyclass(frozen, module = "rtcrelay._dataplane")]
pub(super) struct RelayConfig(pub(super) Config);

#[pymethods]
impl RelayConfig {
    #[new]
    #[pyo3(signature = (listeners, policy, *, workers=1, max_flows=262_144, idle_timeout_seconds=60.0, claim_rate=200, claim_burst=1000, watch_legs=true, socket_buffer_bytes=8_388_608, pin_cpus=Vec::new(), busy_poll=false), text_signature = "(listeners, policy, *, workers=1, max_flows=262144, idle_timeout_seconds=60.0, claim_rate=200, claim_burst=1000, watch_legs=True, socket_buffer_bytes=8388608, pin_cpus=(), busy_poll=False)")]
    #[expect(clippy::too_many_arguments, reason = "one keyword argument for each setting")]
    fn new(
        listeners: Vec<(Address, Address)>,
        policy: &Policy,
        workers: i64,
        max_flows: i64,
        idle_timeout_seconds: f64,
        claim_rate: i64,
        claim_burst: i64,
        watch_legs: bool,
        socket_buffer_bytes: i64,
        pin_cpus: Vec<usize>,
        busy_poll: bool,
    ) -> PyResult<Self> {
        within("the number of listeners", listeners.len() as i64, 1..=16)?;
        if !(1.0..=3600.0).contains(&idle_timeout_seconds) {
            return Err(PyValueError::new_err(format!(
                "the idle time-out is {idle_timeout_seconds}, not between 1 and 3600 seconds"
            )));
        }
        let listeners: Vec<(SocketAddr, SocketAddr)> = listeners
            .iter()
            .map(|(public, internal)| Ok((from_address(public)?, from_address(internal)?)))
            .collect::<PyResult<_>>()?;
        check_internals(&listeners)?;
        let limits = Limits {
            max_flows: within("max_flows", max_flows, 1..=1 << 24)? as usize,
            idle: Duration::from_secs_f64(idle_timeout_seconds),
            claim_rate: within("claim_rate", claim_rate, 1..=1_000_000)? as u32,
            claim_burst: within("claim_burst", claim_burst, 1..=1_000_000)? as u32,
            watch_legs,
        };
        Ok(RelayConfig(Config {
            listeners,
            policy: Arc::clone(&policy.0),
            workers: within("workers", workers, 1..=64)? as usize,
            limits,
            processors: pin_cpus,
            busy_poll,
            socket_buffer: within("socket_buffer_bytes", socket_buffer_bytes, 4096..=1 << 30)? as usize,
        }))
    }
}

fn within(name: &str, value: i64, range: std::ops::RangeInclusive<i64>) -> PyResult<i64> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(PyValueError::new_err(format!("{name} is {value}, not between {} and {}", range.start(), range.end())))
}

fn check_internals(listeners: &[(SocketAddr, SocketAddr)]) -> PyResult<()> {
    for (at, (_, internal)) in listeners.iter().enumerate() {
        if internal.ip().is_unspecified() {
            return Err(PyValueError::new_err(format!(
                "the internal address {internal} is a wildcard; it is the return address, so it must be concrete"
            )));
        }
        let twice = listeners[..at].iter().any(|(_, other)| other.port() == internal.port() && internal.port() != 0);
        if twice {
            return Err(PyValueError::new_err(format!(
                "the internal port {} is given twice; it is the ingress id of one listener",
                internal.port()
            )));
        }
    }
    Ok(())
}

#[pyclass(frozen, module = "rtcrelay._dataplane")]
pub(super) struct Relay {
    config: Config,
    running: Mutex<Option<Arc<Runtime>>>,
}

#[pymethods]
impl Relay {
    #[new]
    fn new(config: &RelayConfig) -> Self {
        Relay { config: config.0.clone(), running: Mutex::new(None) }
    }

    #[pyo3(signature = (*, inherited=Vec::new(), paused=false), text_signature = "($self, *, inherited=(), paused=False)")]
    fn start(&self, py: Python<'_>, inherited: Vec<(usize, i32, i32)>, paused: bool) -> PyResult<Vec<String>> {
        if self.lock().is_some() {
            return Err(PyRuntimeError::new_err("the relay was started before"));
        }
        let inherited = inherited.into_iter().map(take_over).collect::<PyResult<Vec<Sockets>>>()?;
        let runtime = py.detach(|| Runtime::new(&self.config, inherited)).map_err(start_error)?;
        if !paused {
            runtime.resume()?;
        }
        let warnings = runtime.warnings().to_vec();
        *self.lock() = Some(Arc::new(runtime));
        Ok(warnings)
    }

    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        let runtime = self.with(Arc::clone)?;
        py.detach(|| runtime.pause());
        Ok(())
    }

    fn resume(&self) -> PyResult<()> {
        let runtime = self.with(Arc::clone)?;
        Ok(runtime.resume()?)
    }

    fn stop(&self, py: Python<'_>) {
        let running = self.lock().clone();
        if let Some(runtime) = running {
            py.detach(|| runtime.close());
        }
    }

    fn descriptors(&self) -> PyResult<Vec<(usize, i32, i32)>> {
        self.with(|runtime| runtime.descriptors())
    }

    #[pyo3(signature = (within_seconds=None))]
    fn snapshot<'py>(&self, py: Python<'py>, within_seconds: Option<f64>) -> PyResult<Bound<'py, PyBytes>> {
        let within = within_seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e6)));
        let runtime = self.with(Arc::clone)?;
        let bytes = py.detach(|| runtime.relay().snapshot(runtime.now(), within));
        Ok(PyBytes::new(py, &bytes))
    }

    fn load(&self, py: Python<'_>, snapshot: &[u8]) -> PyResult<usize> {
        let runtime = self.with(Arc::clone)?;
        py.detach(|| runtime.relay().load(snapshot, runtime.now())).map_err(|malformed| {
            PyValueError::new_err(match malformed {
                Malformed::Name => "the snapshot is of another version",
                Malformed::Path => "the snapshot ends within a path, or a path in it is impossible",
            })
        })
    }

    fn count_as_well(&self, counters: HashMap<String, u64>, drops: HashMap<String, u64>) -> PyResult<()> {
        self.with(|runtime| runtime.count_as_well(&counters, &drops))
    }

    fn reload(&self, policy: &Policy) -> PyResult<()> {
        self.with(|runtime| runtime.reload(Arc::clone(&policy.0)))
    }

    fn counters(&self) -> PyResult<HashMap<&'static str, u64>> {
        self.with(|runtime| {
            let mut sums = HashMap::new();
            for counters in runtime.counters() {
                counters.for_each(|name, value| *sums.entry(name).or_insert(0) += value);
            }
            sums
        })
    }

    fn workers(&self) -> PyResult<Vec<HashMap<&'static str, u64>>> {
        self.with(|runtime| {
            let of = |counters: &Counters| {
                let mut counts = HashMap::new();
                counters.for_each(|name, value| {
                    counts.insert(name, value);
                });
                counts
            };
            runtime.workers().map(of).collect()
        })
    }

    fn drops(&self) -> PyResult<HashMap<&'static str, u64>> {
        self.with(|runtime| {
            let sum = |reason| runtime.counters().map(|counters| counters.dropped(reason)).sum();
            DropReason::ALL.iter().map(|reason| (reason.name(), sum(*reason))).collect()
        })
    }

    fn gauges(&self) -> PyResult<HashMap<&'static str, usize>> {
        self.with(|runtime| {
            HashMap::from([
                ("flows", runtime.relay().flow_count()),
                ("next_hops", runtime.relay().next_hop_count()),
                ("workers", runtime.alive()),
            ])
        })
    }

    fn listeners(&self) -> PyResult<Vec<(Address, Address)>> {
        self.with(|runtime| {
            runtime.listeners().iter().map(|(public, internal)| (to_address(*public), to_address(*internal))).collect()
        })
    }

    #[pyo3(signature = (listening, *, route_cache=false))]
    fn listen(&self, listening: bool, route_cache: bool) -> PyResult<i32> {
        self.with(|runtime| {
            runtime.listen(listening, route_cache);
            runtime.told().as_raw_fd()
        })
    }

    #[pyo3(signature = (limit=4096))]
    fn events(&self, limit: usize) -> PyResult<(Vec<Event>, u64)> {
        let (events, lost) = self.with(|runtime| runtime.take_events(limit))?;
        Ok((events.iter().map(Event::of).collect(), lost))
    }

    fn restore(&self, routes: Vec<(Address, u16, Address)>) -> PyResult<usize> {
        let route = |(client, ingress, next_hop): &(Address, u16, Address)| {
            Ok((PathKey { client: from_address(client)?.into(), ingress: *ingress }, from_address(next_hop)?))
        };
        let routes: Vec<(PathKey, SocketAddr)> = routes.iter().map(route).collect::<PyResult<_>>()?;
        self.with(|runtime| runtime.restore(&routes))
    }

    fn kill(&self, py: Python<'_>, paths: Vec<(Address, u16)>) -> PyResult<usize> {
        let key = |(client, ingress): &(Address, u16)| {
            Ok(PathKey { client: from_address(client)?.into(), ingress: *ingress })
        };
        let keys: Vec<PathKey> = paths.iter().map(key).collect::<PyResult<_>>()?;
        let runtime = self.with(Arc::clone)?;
        Ok(py.detach(|| runtime.kill(&keys)))
    }

    #[pyo3(signature = (cursor=0, limit=1000))]
    fn flows(&self, py: Python<'_>, cursor: u64, limit: i64) -> PyResult<(Vec<Flow>, u64)> {
        let runtime = self.with(Arc::clone)?;
        let limit = within("the limit", limit, 1..=10_000)? as usize;
        Ok(py.detach(|| {
            // Copied under the lock, made into text outside of it.
            let (now, mut paths) = (runtime.now(), Vec::with_capacity(limit));
            let next = runtime.relay().flows(cursor, limit, |path, legs| paths.push((path.clone(), legs.copied())));
            (paths.iter().map(|(path, legs)| Flow::of(path, legs.as_ref(), now)).collect(), next)
        }))
    }
}

impl Relay {
    /// Held for a moment only, never while waiting for the GIL.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Runtime>>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What runs. Raises RuntimeError if nothing was started.
    pub(super) fn runtime(&self) -> PyResult<Arc<Runtime>> {
        self.with(Arc::clone)
    }

    fn with<T>(&self, ask: impl FnOnce(&Arc<Runtime>) -> T) -> PyResult<T> {
        self.lock().as_ref().map(ask).ok_or_else(|| PyRuntimeError::new_err("the relay was not started"))
    }
}

/// Makes a pair of sockets ours: whoever passes the numbers gives the descriptors away.
fn take_over((listener, public, internal): (usize, i32, i32)) -> PyResult<Sockets> {
    let [public, internal] = [public, internal].map(|fd| {
        crate::io::adopt_descriptor(fd)
            .map_err(|error| PyOSError::new_err((error.raw_os_error().unwrap_or(0), error.to_string())))
    });
    Ok(Sockets { listener, public: public?, internal: internal? })
}

/// Binding errors name the address as their file name, which OSError has a place for.
fn start_error(failed: StartError) -> PyErr {
    let number = failed.error.raw_os_error().unwrap_or(0);
    let text = failed.error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_string();
    match failed.address {
        Some(address) => PyOSError::new_err((number, text, address.to_string())),
        None => PyOSError::new_err((number, text)),
    }
}

#[pyclass(frozen, get_all, module = "rtcrelay._dataplane")]
struct Event {
    what: &'static str,
    client: Address,
    ingress: u16,
    next_hop: Option<Address>,
    alone: bool,
}

impl Event {
    fn of(event: &events::Event) -> Event {
        Event {
            what: match event.what {
                What::Opened => "opened",
                What::Established => "established",
                What::Refreshed => "refreshed",
                What::Asked => "asked",
                What::Killed => "killed",
            },
            client: to_address(event.key.client.into()),
            ingress: event.key.ingress,
            next_hop: event.next_hop.map(|next_hop| to_address(next_hop.into())),
            alone: event.alone,
        }
    }
}

#[pyclass(frozen, get_all, module = "rtcrelay._dataplane")]
pub(super) struct Flow {
    client: Address,
    ingress: u16,
    claims: Vec<Claim>,
    packets_in: u64,
    bytes_in: u64,
    packets_out: u64,
    bytes_out: u64,
    age_seconds: f64,
    idle_seconds: f64,
    from_client: Option<Stream>,
    to_client: Option<Stream>,
    transceiver_round_trip_seconds: Option<f64>,
    client_round_trip_seconds: Option<f64>,
}

impl Flow {
    pub(super) fn of(path: &Path, legs: Option<&legs::Legs>, now: Time) -> Flow {
        Flow {
            client: to_address(path.key.client.into()),
            ingress: path.key.ingress,
            claims: path.claims().filter(|claim| !claim.is_over(now)).map(|claim| Claim::of(&claim, now)).collect(),
            packets_in: path.packets_in,
            bytes_in: path.bytes_in,
            packets_out: path.packets_out,
            bytes_out: path.bytes_out,
            age_seconds: now.since(path.first_seen()).as_secs_f64(),
            idle_seconds: now.since(path.last_packet()).as_secs_f64(),
            from_client: legs.and_then(|legs| Stream::of(&legs.from_client)),
            to_client: legs.and_then(|legs| Stream::of(&legs.to_client)),
            transceiver_round_trip_seconds: legs.and_then(|l| l.transceiver_round_trip).map(|t| t.as_secs_f64()),
            client_round_trip_seconds: legs.and_then(|l| l.client_round_trip).map(|t| t.as_secs_f64()),
        }
    }
}

#[pyclass(frozen, get_all, module = "rtcrelay._dataplane")]
#[derive(Clone)]
struct Stream {
    packets: u64,
    expected: u64,
    reordered: u64,
    jitter_seconds: Option<f64>,
}

impl Stream {
    /// None if no RTP came.
    fn of(stream: &legs::Stream) -> Option<Stream> {
        let (packets, expected) = stream.packets();
        let jitter_seconds = stream.jitter().map(|jitter| jitter.as_secs_f64());
        (expected > 0).then_some(Stream { packets, expected, reordered: stream.reordered(), jitter_seconds })
    }
}

#[pyclass(frozen, get_all, module = "rtcrelay._dataplane")]
#[derive(Clone)]
struct Claim {
    next_hop: Address,
    state: &'static str,
    key_id: Option<u8>,
    idle_seconds: f64,
}

impl Claim {
    fn of(claim: &crate::core::path::Claim, now: Time) -> Claim {
        Claim {
            next_hop: to_address(claim.next_hop.into()),
            state: match claim.standing {
                Standing::Pending => "pending",
                Standing::Weak => "weak",
                Standing::Strong => "strong",
            },
            key_id: claim.key_id,
            idle_seconds: now.since(claim.since).as_secs_f64(),
        }
    }
}
