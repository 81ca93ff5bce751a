//! A relay without sockets: packets in, verdicts out, time by hand.
#![allow(dead_code, reason = "each test program uses a part")]

use std::net::SocketAddr;
use std::time::Duration;

use _dataplane::core::address::{Endpoint, Networks};
use _dataplane::core::events::Events;
use _dataplane::core::policy::Policy;
use _dataplane::core::relay::{FromClient, Limits, Relay, Turn, Verdict};
use _dataplane::core::table::Hashing;
use _dataplane::core::time::Time;
use _dataplane::core::ufrag::{KeyRing, KeyState, Kind, Route};
use _dataplane::core::{spp, stun};
use _dataplane::stats::{Counters, DropReason};

pub const CLUSTER: u16 = 7;
pub const CLIENT: &str = "198.51.100.7:51234";
pub const INTERNAL: &str = "10.0.0.1:3479";
pub const SECOND_INTERNAL: &str = "10.0.0.1:3480";
pub const PEER: &str = "10.9.0.1:3481";
pub const T1: &str = "10.0.3.1:7000";
pub const T2: &str = "10.0.3.2:7000";

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub struct Scene {
    pub relay: Relay,
    pub policy: Policy,
    pub counters: Counters,
    pub events: Events,
    pub now: Time,
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(Limits {
            max_flows: 1000,
            idle: Duration::from_secs(60),
            claim_rate: 200,
            claim_burst: 1000,
            watch_legs: true,
        })
    }

    pub fn with(limits: Limits) -> Scene {
        let mut ring = KeyRing::default();
        ring.insert(0, &[0x11; 16], KeyState::Active);
        ring.insert(1, &[0x22; 16], KeyState::Revoked);
        let policy = Policy {
            ring,
            cluster: Some(CLUSTER),
            transceivers: Networks::parse(&["10.0.3.0/24:7000", "[2001:db8:3::/64]:7000"]).expect("networks"),
            peers: Networks::parse(&["10.9.0.0/24"]).expect("networks"),
            nodes: [(42, address("[2001:db8:3::9]:7000")), (43, address("192.0.2.1:7000"))].into(),
            ..Policy::default()
        };
        let internals = vec![address(INTERNAL).into(), address(SECOND_INTERNAL).into()];
        Scene {
            relay: Relay::new(internals, &limits, Hashing::new([9; 16])),
            policy,
            counters: Counters::default(),
            events: Events::default(),
            now: Time(1_000_000),
        }
    }

    pub fn pass(&mut self, millis: u64) {
        self.now = Time(self.now.0 + millis * 1000);
    }

    pub fn turn(&self) -> Turn<'_> {
        Turn { now: self.now, policy: &self.policy, counters: &self.counters, events: &self.events }
    }

    /// A payload from a client to listener 0.
    pub fn public(&self, source: &str, payload: &[u8]) -> Verdict {
        self.public_at(0, source, payload)
    }

    pub fn public_at(&self, listener: usize, source: &str, payload: &[u8]) -> Verdict {
        let datagram = FromClient { listener, source: address(source), local: None, payload };
        self.relay.handle_public(self.turn(), datagram, &mut [0; stun::MAX_RESPONSE])
    }

    /// A payload to `client` from `source`, with `proxy` as the return address.
    pub fn internal(&self, source: &str, client: &str, proxy: &str, payload: &[u8]) -> Verdict {
        self.relay.handle_internal(self.turn(), address(source), &with_header(client, proxy, payload))
    }

    /// A payload that a transceiver returns to `CLIENT` through listener 0.
    pub fn returns(&self, source: &str, payload: &[u8]) -> Verdict {
        self.internal(source, CLIENT, INTERNAL, payload)
    }

    /// A check and its success: a weak claim of `transceiver` to the path of `client`.
    pub fn connect(&self, client: &str, transceiver: &str) {
        assert_eq!(to(&self.public(client, &check(&self.ufrag(transceiver)))), [transceiver]);
        assert!(matches!(self.internal(transceiver, client, INTERNAL, &success()), Verdict::ToClient(_)));
    }

    pub fn ufrag(&self, transceiver: &str) -> String {
        self.ufrag_with(transceiver, 1)
    }

    pub fn ufrag_with(&self, transceiver: &str, nonce: u32) -> String {
        let SocketAddr::V4(v4) = address(transceiver) else { panic!("an IPv4 address") };
        self.mint(Route { kind: Kind::Endpoint, endpoint: u32::from(*v4.ip()), port: v4.port(), nonce, ..route() })
    }

    pub fn mint(&self, route: Route) -> String {
        let ufrag = self.policy.ring.mint(&route).expect("a key");
        String::from_utf8(ufrag.to_vec()).expect("ASCII")
    }

    pub fn counter(&self, name: &str) -> u64 {
        let mut value = None;
        self.counters.for_each(|counter, count| value = if counter == name { Some(count) } else { value });
        value.expect("a counter of this name")
    }
}

pub fn route() -> Route {
    Route { kind: Kind::Endpoint, cluster: CLUSTER, endpoint: 0, port: 0, nonce: 1, key_id: 0 }
}

pub fn with_header(client: &str, proxy: &str, payload: &[u8]) -> Vec<u8> {
    let header = spp::Header { client: address(client), proxy: address(proxy) };
    [&spp::pack(&header), payload].concat()
}

/// Where a verdict forwards to.
pub fn to(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Forward(hops) => hops.iter().map(|hop: &Endpoint| SocketAddr::from(*hop).to_string()).collect(),
        other => panic!("not forwarded: {other:?}"),
    }
}

pub fn dropped(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

pub fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(stun::COOKIE);
    bytes.extend(*b"transaction!");
    bytes.extend(body);
    bytes
}

/// A binding request for a server's ufrag.
pub fn check(ufrag: &str) -> Vec<u8> {
    message(stun::BINDING_REQUEST, &[(stun::USERNAME, format!("{ufrag}:abcd").as_bytes())])
}

pub fn success() -> Vec<u8> {
    message(stun::BINDING_SUCCESS, &[])
}

pub fn rtp() -> Vec<u8> {
    [&[0x80, 111][..], &[7; 50]].concat()
}

pub fn dtls() -> Vec<u8> {
    [&[22, 254, 253][..], &[0; 40]].concat()
}
