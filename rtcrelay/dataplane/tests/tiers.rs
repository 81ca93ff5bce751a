//! Two tiers: a global ingress and the relays of two clusters, as one network that carries what
//! each of them sends to the others. Whatever comes, from whomever, it ends after a few hops.

mod scene;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use _dataplane::core::address::{Endpoint, Networks, PathKey};
use _dataplane::core::clusters::{Clusters, preferred};
use _dataplane::core::events::Events;
use _dataplane::core::policy::Policy;
use _dataplane::core::relay::{FromClient, Limits, Relay, Turn, Verdict};
use _dataplane::core::table::Hashing;
use _dataplane::core::time::Time;
use _dataplane::core::ufrag::{KeyRing, KeyState, Kind, Route};
use _dataplane::core::{spp, stun};
use _dataplane::stats::{Counters, DropReason};
use proptest::prelude::*;
use scene::{address, check, dtls, message, rtp};

const INGRESS: &str = "10.1.0.1:3479";
const SEVEN: [&str; 2] = ["10.7.0.1:3487", "10.7.0.2:3487"];
const EIGHT: &str = "10.8.0.1:3488";
const RELAYS: [&str; 4] = [INGRESS, SEVEN[0], SEVEN[1], EIGHT];
const T7: &str = "10.0.7.1:7000";
const T8: &str = "10.0.8.1:7000";
const CLIENTS: [&str; 3] = ["198.51.100.1:4000", "198.51.100.1:4001", "[2001:db8::1]:4000"];

struct Site {
    relay: Relay,
    policy: Policy,
    counters: Counters,
    events: Events,
    lives: bool,
}

/// Relays and what is between them.
struct Network {
    sites: HashMap<SocketAddr, Site>,
    now: Time,
    ring: KeyRing,
    minted: Cell<u32>,
}

/// What became of one datagram and all that it led to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// What transceivers got: who, from which relay, what.
    arrived: Vec<(String, String, Vec<u8>)>,
    /// What clients got: from which relay, who, what.
    delivered: Vec<(String, String, Vec<u8>)>,
    dropped: Vec<DropReason>,
    /// Datagrams that relays have sent.
    sent: usize,
}

impl Network {
    fn new() -> Network {
        let mut ring = KeyRing::default();
        ring.insert(0, &[0x11; 16], KeyState::Active);
        let ends = |texts: &[&str]| texts.iter().map(|text| address(text).into()).collect::<Vec<Endpoint>>();
        let clusters = Clusters::new([(7, ends(&SEVEN)), (8, ends(&[EIGHT]))].into()).expect("two clusters");
        let site = |internal: &str| {
            let (cluster, transceivers) = match internal {
                INGRESS => (None, vec![]),
                EIGHT => (Some(8), vec!["10.0.8.0/24:7000"]),
                _ => (Some(7), vec!["10.0.7.0/24:7000"]),
            };
            let policy = Policy {
                ring: ring.clone(),
                cluster,
                transceivers: Networks::parse(&transceivers).expect("networks"),
                peers: Networks::parse(&RELAYS).expect("networks"),
                clusters: clusters.clone(),
                ..Policy::default()
            };
            let limits = Limits {
                max_flows: 1000,
                idle: Duration::from_secs(60),
                claim_rate: 200,
                claim_burst: 1000,
                watch_legs: true,
            };
            let relay = Relay::new(ends(&[internal]), &limits, Hashing::new([9; 16]));
            Site { relay, policy, counters: Counters::default(), events: Events::default(), lives: true }
        };
        let sites = RELAYS.iter().map(|internal| (address(internal), site(internal))).collect();
        Network { sites, now: Time(1_000_000), ring, minted: Cell::default() }
    }

    fn pass(&mut self, millis: u64) {
        self.now = Time(self.now.0 + millis * 1000);
    }

    fn ufrag(&self, transceiver: &str) -> String {
        let cluster = if transceiver == T8 { 8 } else { 7 };
        self.ufrag_of(transceiver, cluster)
    }

    fn ufrag_of(&self, transceiver: &str, cluster: u16) -> String {
        let SocketAddr::V4(v4) = address(transceiver) else { panic!("an IPv4 address") };
        let (endpoint, port) = (u32::from(*v4.ip()), v4.port());
        // Each its own: one ufrag has 16 paths at most.
        self.minted.set(self.minted.get() + 1);
        let route = Route { kind: Kind::Endpoint, cluster, endpoint, port, nonce: self.minted.get(), key_id: 0 };
        String::from_utf8(self.ring.mint(&route).expect("a key").to_vec()).expect("ASCII")
    }

    fn turn<'a>(&self, site: &'a Site) -> Turn<'a> {
        Turn { now: self.now, policy: &site.policy, counters: &site.counters, events: &site.events }
    }

    /// A client sends to the VIP of a relay.
    fn client_sends(&self, relay: &str, client: &str, payload: &[u8]) -> Outcome {
        let site = &self.sites[&address(relay)];
        let (listener, source) = (0, address(client));
        let datagram = FromClient { listener, source, local: None, payload };
        let verdict = site.relay.handle_public(self.turn(site), datagram, &mut [0; stun::MAX_RESPONSE]);
        let header = spp::Header { client: source, proxy: address(relay) };
        let mut outcome = Outcome::default();
        let whole = [&spp::pack(&header), payload].concat();
        let waiting = self.act(address(relay), verdict, &whole, &mut outcome);
        self.carry(waiting, outcome)
    }

    /// Somebody sends a datagram to the internal socket of a relay.
    fn sends(&self, source: &str, relay: &str, datagram: Vec<u8>) -> Outcome {
        self.carry([(address(source), address(relay), datagram)].into(), Outcome::default())
    }

    fn carry(&self, mut waiting: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>, mut outcome: Outcome) -> Outcome {
        while let Some((source, to, datagram)) = waiting.pop_front() {
            assert!(outcome.sent < 20, "it goes round in circles");
            let Some(site) = self.sites.get(&to) else {
                outcome.arrived.push((to.to_string(), source.to_string(), datagram));
                continue;
            };
            if site.lives {
                let verdict = site.relay.handle_internal(self.turn(site), source, &datagram);
                waiting.extend(self.act(to, verdict, &datagram, &mut outcome));
            }
        }
        outcome
    }

    fn act(
        &self,
        relay: SocketAddr,
        verdict: Verdict,
        datagram: &[u8],
        outcome: &mut Outcome,
    ) -> VecDeque<(SocketAddr, SocketAddr, Vec<u8>)> {
        let hops: Vec<Endpoint> = match verdict {
            Verdict::Forward(hops) => hops.iter().copied().collect(),
            Verdict::Pass(proxy) => vec![proxy],
            Verdict::ToClient(delivery) => {
                let client = SocketAddr::from(delivery.client).to_string();
                outcome.delivered.push((relay.to_string(), client, datagram[spp::HEADER..].to_vec()));
                vec![]
            }
            Verdict::Drop(reason) => {
                outcome.dropped.push(reason);
                vec![]
            }
            Verdict::Answer(_) | Verdict::Hold(_) | Verdict::Consumed => vec![],
        };
        outcome.sent += hops.len();
        hops.into_iter().map(|hop| (relay, hop.into(), datagram.to_vec())).collect()
    }

    /// A check, its answer and a handshake flight: the path is set up. Returns the relay of the
    /// transceiver's cluster that it goes by.
    fn connect(&self, relay: &str, client: &str, transceiver: &str) -> String {
        let there = self.client_sends(relay, client, &check(&self.ufrag(transceiver)));
        let [(to, via, datagram)] = &there.arrived[..] else { panic!("{there:?}") };
        assert_eq!(to, transceiver);
        for payload in [scene::success(), dtls()] {
            let back = [&datagram[..spp::HEADER], &payload].concat();
            let back = self.sends(transceiver, via, back);
            assert_eq!(back.delivered, [(relay.to_string(), client.to_string(), payload)]);
        }
        via.clone()
    }

    fn media_arrives_at(&self, relay: &str, client: &str) -> Vec<(String, String)> {
        self.client_sends(relay, client, &rtp()).arrived.into_iter().map(|(to, via, _)| (to, via)).collect()
    }

    fn preferred(&self, client: &str) -> Vec<String> {
        let relays: Vec<Endpoint> = SEVEN.iter().map(|text| address(text).into()).collect();
        let order = preferred(&relays, &address(client).into());
        order.map(|relay| SocketAddr::from(*relay).to_string()).collect()
    }
}

#[test]
fn a_client_of_a_global_ingress_reaches_the_transceiver_of_its_ufrag_and_the_way_back_is_the_same() {
    let network = Network::new();
    for client in CLIENTS {
        let via = network.connect(INGRESS, client, T7);
        assert_eq!(via, network.preferred(client)[0]);
        assert_eq!(network.media_arrives_at(INGRESS, client), [(T7.to_string(), via)]);
    }
    assert_eq!(network.connect(INGRESS, CLIENTS[0], T8), EIGHT);
}

#[test]
fn the_header_names_the_client_and_the_ingress_at_every_hop() {
    let network = Network::new();
    let there = network.client_sends(INGRESS, CLIENTS[2], &check(&network.ufrag(T7)));
    let (header, _) = spp::unpack(&there.arrived[0].2).expect("SPP");
    assert_eq!((header.client, header.proxy), (address(CLIENTS[2]), address(INGRESS)));
    assert_eq!(there.sent, 2);
}

#[test]
fn a_cluster_relay_is_an_ingress_for_other_clusters_as_well() {
    let network = Network::new();
    assert_eq!(network.connect(EIGHT, CLIENTS[0], T8), EIGHT, "its own: one tier");
    let via = network.connect(EIGHT, CLIENTS[1], T7);
    assert!(SEVEN.contains(&via.as_str()), "another's: two");
}

#[test]
fn a_cluster_that_is_not_in_the_table_is_unknown() {
    let network = Network::new();
    let outcome = network.client_sends(INGRESS, CLIENTS[0], &check(&network.ufrag_of(T7, 9)));
    assert_eq!((outcome.dropped, outcome.sent), (vec![DropReason::ClusterUnknown], 0));
}

#[test]
fn what_a_relay_forwards_goes_to_a_transceiver_and_never_to_a_third_relay() {
    let mut network = Network::new();
    let header = spp::pack(&spp::Header { client: address(CLIENTS[0]), proxy: address(INGRESS) });
    let misled = [&header[..], &check(&network.ufrag(T8))].concat();
    assert_eq!(network.sends(INGRESS, SEVEN[0], misled).dropped, [DropReason::SecondHop]);
    // Nor by its path: a claim of a relay, though it may be there, is not followed.
    let key = _dataplane::core::address::PathKey { client: address(CLIENTS[0]).into(), ingress: 3479 };
    let site = &network.sites[&address(SEVEN[0])];
    assert!(site.relay.restore(network.turn(site), key, address(EIGHT)));
    let media = [&header[..], &rtp()].concat();
    assert_eq!(network.sends(INGRESS, SEVEN[0], media).dropped, [DropReason::SecondHop]);
    network.pass(1);
}

#[test]
fn a_lost_relay_of_a_cluster_moves_only_its_own_flows() {
    let mut network = Network::new();
    let clients: Vec<String> = (1..=40).map(|n| format!("198.51.100.{n}:4000")).collect();
    for client in &clients {
        network.connect(INGRESS, client, T7);
    }
    network.sites.get_mut(&address(SEVEN[0])).expect("there").lives = false;
    let media = |network: &Network| -> Vec<Vec<(String, String)>> {
        clients.iter().map(|client| network.media_arrives_at(INGRESS, client)).collect()
    };
    for _ in 0..32 {
        network.pass(100);
        let arrived = media(&network);
        for (client, arrived) in clients.iter().zip(arrived) {
            if network.preferred(client)[0] == SEVEN[1] {
                assert_eq!(arrived, [(T7.to_string(), SEVEN[1].to_string())]);
                // Something comes back, or it would be dead as well.
                let back = spp::pack(&spp::Header { client: address(client), proxy: address(INGRESS) });
                network.sends(T7, SEVEN[1], [&back[..], &rtp()].concat());
            }
        }
    }
    // The other relay has no claim of these paths; a check gives it one, in two tiers as in one.
    for client in clients.iter().filter(|client| network.preferred(client)[0] == SEVEN[0]) {
        assert_eq!(network.client_sends(INGRESS, client, &rtp()).dropped, [DropReason::NoRoute], "at the other relay");
        assert_eq!(network.connect(INGRESS, client, T7), SEVEN[1]);
        assert_eq!(network.media_arrives_at(INGRESS, client), [(T7.to_string(), SEVEN[1].to_string())]);
    }
    // It is back: some request goes to it as well, and its flows are its own again.
    network.sites.get_mut(&address(SEVEN[0])).expect("there").lives = true;
    network.pass(200);
    let client = clients.iter().find(|client| network.preferred(client)[0] == SEVEN[0]).expect("some");
    let there = network.client_sends(INGRESS, client, &check(&network.ufrag(T7)));
    assert_eq!(there.arrived.len(), 2, "by both");
    for (_, via, datagram) in &there.arrived {
        network.sends(T7, via, [&datagram[..spp::HEADER], &scene::success()].concat());
    }
    assert_eq!(network.connect(INGRESS, client, T7), SEVEN[0]);
}

/// Media every 20 ms; says whether any went to a relay of the cluster that does not know the path.
fn speak(network: &mut Network, client: &str, millis: u64) -> bool {
    let mut went_elsewhere = false;
    for _ in 0..millis / 20 {
        network.pass(20);
        went_elsewhere |= network.client_sends(INGRESS, client, &rtp()).dropped.contains(&DropReason::NoRoute);
    }
    went_elsewhere
}

#[test]
fn media_leaves_a_silent_relay_after_a_second_if_there_is_another() {
    let mut network = Network::new();
    let lost = network.connect(INGRESS, CLIENTS[0], T7);
    network.sites.get_mut(&address(&lost)).expect("there").lives = false;
    assert!(!speak(&mut network, CLIENTS[0], 980));
    assert!(speak(&mut network, CLIENTS[0], 100));
}

#[test]
fn a_relay_that_stood_in_for_another_and_did_not_know_the_path_gets_its_next_check() {
    for silence in [1_500, 2_500, 6_000, 20_000] {
        let mut network = Network::new();
        let lost = network.connect(INGRESS, CLIENTS[0], T7);
        network.sites.get_mut(&address(&lost)).expect("there").lives = false;
        speak(&mut network, CLIENTS[0], silence);
        let via = network.connect(INGRESS, CLIENTS[0], T7);
        assert_ne!(via, lost, "{silence} ms");
        assert_eq!(network.media_arrives_at(INGRESS, CLIENTS[0]), [(T7.to_string(), via)]);
    }
}

#[test]
fn a_remembered_relay_stands_for_any_of_its_cluster() {
    let network = Network::new();
    let site = &network.sites[&address(INGRESS)];
    for client in (1..=20).map(|n| format!("198.51.100.{n}:4000")) {
        let key = PathKey { client: address(&client).into(), ingress: address(INGRESS).port() };
        assert!(site.relay.restore(network.turn(site), key, address(SEVEN[0])));
        let mut hops = Vec::new();
        site.relay.flow(&key, |path, _| hops.extend(path.claims().map(|claim| SocketAddr::from(claim.next_hop))));
        assert_eq!(hops, [address(&network.preferred(&client)[0])]);
    }
}

#[test]
fn a_cluster_without_a_live_relay_is_down_and_revives() {
    let mut network = Network::new();
    network.sites.get_mut(&address(EIGHT)).expect("there").lives = false;
    let request = check(&network.ufrag(T8));
    let mut dropped = Vec::new();
    for _ in 0..200 {
        network.pass(20);
        dropped.extend(network.client_sends(INGRESS, CLIENTS[0], &request).dropped);
    }
    assert!(dropped.len() > 30 && dropped.iter().all(|reason| *reason == DropReason::ClusterDown), "{dropped:?}");
    network.sites.get_mut(&address(EIGHT)).expect("there").lives = true;
    network.pass(100);
    network.connect(INGRESS, CLIENTS[0], T8);
}

#[test]
fn announces_refresh_the_claims_of_both_tiers_and_bring_a_restarted_ingress_back() {
    let mut network = Network::new();
    let via = network.connect(INGRESS, CLIENTS[0], T7);
    let announce = spp::pack(&spp::Header { client: address(CLIENTS[0]), proxy: address(INGRESS) }).to_vec();
    for _ in 0..4 {
        network.pass(15_000); // a claim lives for 20 s
        assert_eq!(network.sends(T7, &via, announce.clone()).delivered, []);
    }
    assert_eq!(network.media_arrives_at(INGRESS, CLIENTS[0]), [(T7.to_string(), via.clone())]);
    let fresh = Network::new().sites.remove(&address(INGRESS)).expect("there");
    network.sites.insert(address(INGRESS), fresh);
    assert_eq!(network.media_arrives_at(INGRESS, CLIENTS[0]), []);
    network.sends(T7, &via, announce);
    assert_eq!(network.media_arrives_at(INGRESS, CLIENTS[0]), [(T7.to_string(), via)]);
}

#[test]
fn what_says_to_come_from_the_relay_itself_is_forged() {
    let network = Network::new();
    let header = spp::pack(&spp::Header { client: address(CLIENTS[0]), proxy: address(INGRESS) });
    let forged = [&header[..], &rtp()].concat();
    assert_eq!(network.sends(INGRESS, INGRESS, forged).dropped, [DropReason::SppDirection]);
    assert_eq!(network.client_sends(INGRESS, CLIENTS[0], &rtp()).dropped, [DropReason::NoRoute], "no circle");
}

#[derive(Clone, Debug)]
enum Step {
    Connect(usize, usize, bool),
    Media(usize, usize),
    /// From, to, proxy, client, what.
    Forged(usize, usize, usize, usize, usize),
    Lives(usize, bool),
    Silence(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4usize, 0..3usize, any::<bool>()).prop_map(|(r, c, t)| Step::Connect(r, c, t)),
        3 => (0..4usize, 0..3usize).prop_map(|(r, c)| Step::Media(r, c)),
        6 => (0..6usize, 0..4usize, 0..6usize, 0..3usize, 0..6usize).prop_map(|(f, t, p, c, w)| Step::Forged(f, t, p, c, w)),
        1 => (1..4usize, any::<bool>()).prop_map(|(r, lives)| Step::Lives(r, lives)),
        2 => (1..5_000u64).prop_map(Step::Silence),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_comes_goes_two_hops_at_most_and_to_nobody_else(steps in prop::collection::vec(step(), 1..120)) {
        let mut network = Network::new();
        let all: Vec<&str> = RELAYS.iter().copied().chain([T7, T8]).collect();
        for step in steps {
            match step {
                Step::Connect(r, c, t) => {
                    let transceiver = if t { T7 } else { T8 };
                    let request = check(&network.ufrag(transceiver));
                    let there = network.client_sends(RELAYS[r], CLIENTS[c], &request);
                    prop_assert!(there.sent <= 4, "two relays of a cluster at most, and what each sends");
                    for (to, via, datagram) in there.arrived {
                        prop_assert_eq!(&to, transceiver);
                        let back = network.sends(&to, &via, [&datagram[..spp::HEADER], &scene::success()].concat());
                        prop_assert!(back.sent <= 1);
                        let is_there = network.sites[&address(RELAYS[r])].lives;
                        let expected = (RELAYS[r].to_string(), CLIENTS[c].to_string(), scene::success());
                        prop_assert_eq!(back.delivered, if is_there { vec![expected] } else { vec![] });
                    }
                }
                Step::Media(r, c) => {
                    let there = network.client_sends(RELAYS[r], CLIENTS[c], &rtp());
                    prop_assert!(there.delivered.is_empty());
                    prop_assert!(there.sent <= 2 * 4);
                }
                Step::Forged(f, t, p, c, w) => {
                    let header = spp::pack(&spp::Header { client: address(CLIENTS[c]), proxy: address(all[p]) });
                    let what = [
                        check(&network.ufrag(T7)),
                        check(&network.ufrag(T8)),
                        rtp(),
                        scene::success(),
                        vec![],
                        message(stun::BINDING_REQUEST, &[]),
                    ];
                    let outcome = network.sends(all[f], RELAYS[t], [&header[..], &what[w]].concat());
                    // From a relay: to transceivers of this one's cluster, once each. From a
                    // transceiver: by one more relay to the client.
                    let most = if f < 4 { 4 } else { 1 };
                    prop_assert!(outcome.sent <= most);
                    for (to, via, _) in outcome.arrived {
                        prop_assert_eq!(via.as_str(), RELAYS[t], "not by a third relay");
                        prop_assert!(t > 0 && (to == T8) == (RELAYS[t] == EIGHT));
                    }
                }
                Step::Lives(r, lives) => network.sites.get_mut(&address(RELAYS[r])).expect("there").lives = lives,
                Step::Silence(millis) => network.pass(millis),
            }
        }
    }
}
