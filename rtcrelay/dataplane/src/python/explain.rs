//! The core without sockets: what would become of a packet?

use std::sync::Mutex;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::codec::Route;
use super::relay::{Flow, RelayConfig};
use super::{Address, from_address, to_address};
use crate::core::demux::{self, Class};
use crate::core::events::Events;
use crate::core::relay::{FromClient, Turn};
use crate::core::stun::{self, Message};
use crate::core::table::{Hashing, locked};
use crate::core::time::Time;
use crate::core::{policy, relay, spp};
use crate::stats::Counters;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Core>()?;
    module.add_class::<Verdict>()
}

#[pyclass(frozen, module = "rtcrelay._dataplane")]
struct Core {
    relay: relay::Relay,
    policy: std::sync::Arc<policy::Policy>,
    /// One writer at a time.
    counters: Mutex<Counters>,
    events: Events,
    listeners: usize,
}

#[pymethods]
impl Core {
    #[new]
    fn new(config: &RelayConfig) -> Self {
        let config = &config.0;
        let internals = config.listeners.iter().map(|(_, internal)| (*internal).into()).collect();
        // No secret needed: nobody outside can choose the addresses of a capture to his advantage.
        let relay = relay::Relay::new(internals, &config.limits, Hashing::default());
        Core {
            relay,
            policy: std::sync::Arc::clone(&config.policy),
            counters: Mutex::default(),
            events: Events::default(),
            listeners: config.listeners.len(),
        }
    }

    #[pyo3(signature = (now_seconds, listener, source, payload, *, local=None))]
    fn handle_public(
        &self,
        now_seconds: f64,
        listener: usize,
        source: Address,
        payload: &[u8],
        local: Option<&str>,
    ) -> PyResult<Verdict> {
        if listener >= self.listeners {
            return Err(PyValueError::new_err(format!("listener is {listener}; there are {}", self.listeners)));
        }
        let local = match local {
            Some(ip) => Some(from_address(&(ip.to_string(), 0))?.ip()),
            None => None,
        };
        let datagram = FromClient { listener, source: from_address(&source)?, local, payload };
        let mut answer = [0; stun::MAX_RESPONSE];
        let verdict = self.judge(now_seconds, |turn| self.relay.handle_public(turn, datagram, &mut answer))?;
        Ok(Verdict::of(&verdict, self.route(payload), self.via(&verdict), &answer))
    }

    fn handle_internal(&self, now_seconds: f64, source: Address, datagram: &[u8]) -> PyResult<Verdict> {
        let source = from_address(&source)?;
        let verdict = self.judge(now_seconds, |turn| self.relay.handle_internal(turn, source, datagram))?;
        let payload = spp::unpack(datagram).map_or(&[][..], |(_, payload)| payload);
        Ok(Verdict::of(&verdict, self.route(payload), self.via(&verdict), &[]))
    }

    fn flows(&self, now_seconds: f64) -> PyResult<Vec<Flow>> {
        let (now, mut flows) = (time(now_seconds)?, Vec::new());
        self.relay.flows(0, usize::MAX, |path, legs| flows.push(Flow::of(path, legs, now)));
        Ok(flows)
    }
}

impl Core {
    fn judge<T>(&self, now_seconds: f64, decide: impl FnOnce(Turn<'_>) -> T) -> PyResult<T> {
        let counters = locked(&self.counters);
        Ok(decide(Turn { now: time(now_seconds)?, policy: &self.policy, counters: &counters, events: &self.events }))
    }

    /// The cluster whose relay has the packet next.
    fn via(&self, verdict: &relay::Verdict) -> Option<u16> {
        let relay::Verdict::Forward(hops) = verdict else { return None };
        hops.iter().find_map(|hop| self.policy.clusters.cluster_of(hop))
    }

    /// The route in the ufrag of a binding request, whether or not it was followed.
    fn route(&self, payload: &[u8]) -> Option<Route> {
        if demux::classify(payload) != Ok(Class::Stun) {
            return None;
        }
        let message = Message::read(payload).filter(|message| message.kind() == stun::BINDING_REQUEST)?;
        let ufrag = message.find(stun::USERNAME)?.value.split(|byte| *byte == b':').next()?;
        self.policy.ring.open(ufrag).ok().map(Route::of)
    }
}

fn time(seconds: f64) -> PyResult<Time> {
    let since = Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("the time is {seconds}, not seconds from 0 on")))?;
    Ok(Time(1).after(since))
}

#[pyclass(frozen, get_all, module = "rtcrelay._dataplane")]
struct Verdict {
    action: &'static str,
    next_hops: Vec<Address>,
    reason: Option<&'static str>,
    route: Option<Route>,
    via_cluster: Option<u16>,
    client: Option<Address>,
    listener: Option<usize>,
    answer: Py<PyBytes>,
}

impl Verdict {
    fn of(verdict: &relay::Verdict, route: Option<Route>, via_cluster: Option<u16>, answer: &[u8]) -> Verdict {
        use relay::Verdict as V;
        let address = |endpoint: &crate::core::address::Endpoint| to_address((*endpoint).into());
        let (action, next_hops, reason) = match verdict {
            V::Forward(hops) => ("forward", hops.iter().map(address).collect(), None),
            V::Answer(_) => ("answer", Vec::new(), None),
            V::ToClient(_) => ("to_client", Vec::new(), None),
            V::Pass(proxy) => ("pass", vec![address(proxy)], None),
            V::Hold(_) => ("hold", Vec::new(), None),
            V::Consumed => ("consumed", Vec::new(), None),
            V::Drop(reason) => ("drop", Vec::new(), Some(reason.name())),
        };
        let (client, listener) = match verdict {
            V::ToClient(delivery) => (Some(address(&delivery.client)), Some(delivery.listener)),
            _ => (None, None),
        };
        let length = if let V::Answer(length) = verdict { *length } else { 0 };
        let answer = Python::attach(|py| PyBytes::new(py, &answer[..length]).unbind());
        Verdict { action, next_hops, reason, route, via_cluster, client, listener, answer }
    }
}
