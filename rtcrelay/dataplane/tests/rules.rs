//! The ten rules of the relay, one sentence each.

mod scene;

use std::time::Duration;

use _dataplane::core::address::{Networks, PathKey};
use _dataplane::core::demux::MAX_PAYLOAD;
use _dataplane::core::events::{Event, What};
use _dataplane::core::relay::{From, FromClient, Limits, Verdict};
use _dataplane::core::stun::{self, BINDING_REQUEST, Message};
use _dataplane::core::ufrag::{KeyState, Kind, Route};
use _dataplane::stats::DropReason;
use scene::*;

// Rule 1: the first byte, then the length.

#[test]
fn only_stun_dtls_rtp_and_rtcp_pass() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    assert_eq!(to(&scene.public(CLIENT, &dtls())), [T1]);
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
    for (first, reason) in [
        (4, DropReason::FirstByte),
        (16, DropReason::Zrtp),
        (64, DropReason::TurnChannel),
        (80, DropReason::Quic),
        (192, DropReason::Quic),
    ] {
        assert_eq!(scene.public(CLIENT, &[first; 40]), dropped(reason));
    }
}

#[test]
fn the_longest_payload_has_1500_bytes_both_ways() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    let mut payload = vec![0x80; MAX_PAYLOAD];
    assert_eq!(to(&scene.public(CLIENT, &payload)), [T1]);
    assert!(matches!(scene.returns(T1, &payload), Verdict::ToClient(_)));
    payload.push(0);
    assert_eq!(scene.public(CLIENT, &payload), dropped(DropReason::Oversize));
    assert_eq!(scene.returns(T1, &payload), dropped(DropReason::Oversize));
}

#[test]
fn a_source_that_nobody_has_is_dropped() {
    let scene = Scene::new();
    for source in ["198.51.100.7:0", "224.0.0.1:9", "0.0.0.0:9", "[ff02::1]:9"] {
        assert_eq!(scene.public(source, &check(&scene.ufrag(T1))), dropped(DropReason::Source));
        assert_eq!(scene.internal(T1, source, INTERNAL, &rtp()), dropped(DropReason::SppClient));
    }
}

// Rule 2: a binding request is routed by its ufrag.

#[test]
fn a_request_goes_to_the_transceiver_its_ufrag_names_also_on_a_known_path() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    assert_eq!(to(&scene.public(CLIENT, &check(&scene.ufrag(T2)))), [T2]);
    assert_eq!(to(&scene.public(CLIENT, &check(&scene.ufrag(T1)))), [T1]);
}

#[test]
fn the_username_may_stand_anywhere_and_need_no_colon() {
    let scene = Scene::new();
    let ufrag = scene.ufrag(T1);
    let late = message(BINDING_REQUEST, &[(0x8022, b"software"), (0xC057, &[0; 5]), (6, ufrag.as_bytes())]);
    assert_eq!(to(&scene.public(CLIENT, &late)), [T1]);
}

#[test]
fn requests_over_a_kilobyte_pass_because_newer_clients_put_dtls_into_stun() {
    let scene = Scene::new();
    let username = format!("{}:abcd", scene.ufrag(T1));
    let long = message(BINDING_REQUEST, &[(6, username.as_bytes()), (0xC070, &[22; 1200])]);
    assert_eq!(to(&scene.public(CLIENT, &long)), [T1]);
}

#[test]
fn every_way_of_being_no_route_has_its_reason() {
    let scene = Scene::new();
    let endpoint = u32::from_be_bytes([10, 0, 3, 1]);
    let good = Route { endpoint, port: 7000, ..route() };
    for (ufrag, reason) in [
        ("short".to_string(), DropReason::UfragForeign),
        (scene.mint(good).to_uppercase(), DropReason::UfragForeign),
        (scene.mint(good).replace(|_| true, "a"), DropReason::UfragForged),
        (format!("c{}", &scene.mint(good)[1..]), DropReason::UfragUnknownKey),
        (format!("b{}", &scene.mint(good)[1..]), DropReason::UfragRevokedKey),
        (scene.mint(Route { kind: Kind::Session, ..good }), DropReason::UfragKind),
        (scene.mint(Route { cluster: 8, ..good }), DropReason::ClusterUnknown),
        (scene.mint(Route { kind: Kind::Node, endpoint: 99, port: 0, ..good }), DropReason::NodeUnknown),
        (scene.mint(Route { kind: Kind::Node, endpoint: 43, port: 0, ..good }), DropReason::EndpointForbidden),
        (scene.mint(Route { port: 7001, ..good }), DropReason::EndpointForbidden),
        (scene.mint(Route { endpoint: 0x0808_0808, ..good }), DropReason::EndpointForbidden),
    ] {
        assert_eq!(scene.public(CLIENT, &check(&ufrag)), dropped(reason), "{ufrag}");
    }
    assert_eq!(scene.relay.flow_count(), 0);
}

#[test]
fn a_node_is_found_in_the_node_table() {
    let scene = Scene::new();
    let ufrag = scene.mint(Route { kind: Kind::Node, endpoint: 42, port: 0, ..route() });
    assert_eq!(to(&scene.public("[2001:db8::5]:4000", &check(&ufrag))), ["[2001:db8:3::9]:7000"]);
}

#[test]
fn a_probe_leaves_no_flow_and_no_claim() {
    let scene = Scene::new();
    let endpoint = u32::from_be_bytes([10, 0, 3, 1]);
    let ufrag = scene.mint(Route { kind: Kind::ProbeEndpoint, endpoint, port: 7000, ..route() });
    assert_eq!(to(&scene.public(CLIENT, &check(&ufrag))), [T1]);
    assert!(matches!(scene.returns(T1, &success()), Verdict::ToClient(_)));
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
    assert_eq!(scene.relay.flow_count(), 0);
}

// Rule 3: claims.

#[test]
fn media_waits_for_the_answer_to_the_first_check() {
    let scene = Scene::new();
    scene.public(CLIENT, &check(&scene.ufrag(T1)));
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
    scene.returns(T1, &success());
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
}

#[test]
fn an_answer_from_another_transceiver_confirms_nothing() {
    let scene = Scene::new();
    scene.public(CLIENT, &check(&scene.ufrag(T1)));
    scene.returns(T2, &success());
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
}

#[test]
fn requests_and_errors_that_return_confirm_nothing() {
    let scene = Scene::new();
    scene.public(CLIENT, &check(&scene.ufrag(T1)));
    for kind in [0x0001, 0x0011, 0x0111] {
        assert!(matches!(scene.returns(T1, &message(kind, &[])), Verdict::ToClient(_)));
    }
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
}

#[test]
fn a_spoofer_with_a_session_of_its_own_takes_no_path_away() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.returns(T1, &dtls());
    // The attacker's session lives at T2; it sends checks from the victim's address.
    scene.connect(CLIENT, T2);
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1, T2]);
    assert_eq!(scene.counter("fan_out"), 1);
}

#[test]
fn a_reused_port_works_at_once_and_the_old_claim_ends_by_itself() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.pass(15_000);
    scene.connect(CLIENT, T2);
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1, T2]);
    scene.pass(5_000);
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T2]);
}

#[test]
fn a_returning_packet_keeps_its_own_claim_alive() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    for _ in 0..10 {
        scene.pass(15_000);
        scene.returns(T1, &rtp());
        assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
    }
    scene.pass(20_000);
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
}

#[test]
fn a_pending_claim_ends_after_ten_seconds() {
    let mut scene = Scene::new();
    scene.public(CLIENT, &check(&scene.ufrag(T1)));
    scene.pass(10_000);
    scene.returns(T1, &success());
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
}

#[test]
fn indications_and_responses_of_a_client_follow_the_path_like_media() {
    let scene = Scene::new();
    for kind in [0x0011, 0x0101, 0x0111, 0x0003] {
        assert_eq!(scene.public(CLIENT, &message(kind, &[])), dropped(DropReason::NoRoute));
    }
    scene.connect(CLIENT, T1);
    for kind in [0x0011, 0x0101, 0x0111, 0x0003] {
        assert_eq!(to(&scene.public(CLIENT, &message(kind, &[]))), [T1]);
    }
}

#[test]
fn the_same_address_towards_two_vips_is_two_paths() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    assert_eq!(scene.public_at(1, CLIENT, &rtp()), dropped(DropReason::NoRoute));
    assert_eq!(to(&scene.public_at(1, CLIENT, &check(&scene.ufrag(T2)))), [T2]);
    scene.internal(T2, CLIENT, SECOND_INTERNAL, &success());
    assert_eq!(to(&scene.public_at(1, CLIENT, &rtp())), [T2]);
    assert_eq!(to(&scene.public_at(0, CLIENT, &rtp())), [T1]);
}

// Rule 4: learning from what returns.

#[test]
fn a_relay_without_memory_has_it_back_with_the_next_returning_packet_or_announce() {
    for returning in [rtp(), dtls(), Vec::new()] {
        let scene = Scene::new();
        assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
        scene.returns(T1, &returning);
        assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
        assert_eq!(scene.counter("claims_learned"), 1);
    }
}

#[test]
fn a_returning_packet_never_joins_or_replaces_another_confirmed_claim() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.returns(T2, &rtp());
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
}

// Rule 6: requests without USERNAME.

#[test]
fn a_request_without_username_is_answered_by_the_relay() {
    let scene = Scene::new();
    let request = message(BINDING_REQUEST, &[]);
    let mut answer = [0; stun::MAX_RESPONSE];
    let source = address("[2001:db8::7]:4000");
    let datagram = FromClient { listener: 0, source, local: None, payload: &request };
    let Verdict::Answer(length) = scene.relay.handle_public(scene.turn(), datagram, &mut answer) else {
        panic!("no answer")
    };
    let answer = Message::read(&answer[..length]).expect("a message");
    assert_eq!(answer.transaction(), b"transaction!");
    assert_eq!(answer.find(stun::XOR_MAPPED_ADDRESS).expect("an address").value.len(), 20);
    assert_eq!(scene.relay.flow_count(), 0);
}

#[test]
fn at_most_ten_answers_a_second_go_to_one_network() {
    let mut scene = Scene::new();
    let request = message(BINDING_REQUEST, &[]);
    let answered = |scene: &Scene, last: u8| {
        (0..50)
            .filter(|port| {
                let source = format!("198.51.100.{last}:{}", 4000 + port);
                matches!(scene.public(&source, &request), Verdict::Answer(_))
            })
            .count()
    };
    let mut in_a_second = answered(&scene, 1);
    assert_eq!(answered(&scene, 2), 0, "the same /24");
    assert!(matches!(scene.public("198.51.101.1:4000", &request), Verdict::Answer(_)));
    for _ in 0..9 {
        scene.pass(100);
        in_a_second += answered(&scene, 2);
    }
    assert!((9..=10).contains(&in_a_second), "{in_a_second}");
}

#[test]
fn a_draining_relay_answers_nobody_who_asks_and_forwards_as_before() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.policy.draining = true;
    assert_eq!(scene.public(CLIENT, &message(BINDING_REQUEST, &[])), dropped(DropReason::Draining));
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
    scene.connect("198.51.100.8:4000", T1);
}

#[test]
fn a_request_with_a_wrong_fingerprint_has_no_answer() {
    let scene = Scene::new();
    let request = message(BINDING_REQUEST, &[(stun::FINGERPRINT, &[1, 2, 3, 4])]);
    assert_eq!(scene.public(CLIENT, &request), dropped(DropReason::StunFingerprint));
}

// Rule 8: bounds.

#[test]
fn one_address_opens_claims_at_a_limited_rate_and_has_confirmed_ones_back() {
    let scene = Scene::with(Limits {
        max_flows: 1000,
        idle: Duration::from_secs(60),
        claim_rate: 1,
        claim_burst: 5,
        watch_legs: true,
    });
    let from = |port: u16| format!("198.51.100.7:{port}");
    let check = check(&scene.ufrag(T1));
    for port in 1..=5 {
        assert_eq!(to(&scene.public(&from(port), &check)), [T1]);
    }
    assert_eq!(scene.public(&from(6), &check), dropped(DropReason::AdmissionRate));
    assert_eq!(to(&scene.public(&from(1), &check)), [T1], "a known claim takes no token");
    assert_eq!(to(&scene.public("198.51.100.8:6", &check)), [T1], "another address has its own");
    scene.internal(T1, &from(1), INTERNAL, &success());
    assert_eq!(to(&scene.public(&from(6), &check)), [T1]);
}

#[test]
fn when_the_table_is_full_known_paths_keep_working() {
    let scene = Scene::with(Limits {
        max_flows: 10,
        idle: Duration::from_secs(60),
        claim_rate: 200,
        claim_burst: 1000,
        watch_legs: true,
    });
    for port in 1..=10 {
        scene.connect(&format!("198.51.100.7:{port}"), T1);
    }
    assert_eq!(scene.public("198.51.100.7:11", &check(&scene.ufrag(T1))), dropped(DropReason::TableFull));
    for port in 1..=10 {
        assert_eq!(to(&scene.public(&format!("198.51.100.7:{port}"), &rtp())), [T1]);
    }
    let new = "198.51.100.7:11";
    assert!(matches!(scene.internal(T1, new, INTERNAL, &rtp()), Verdict::ToClient(_)), "returning needs no table");
}

#[test]
fn a_full_table_has_room_again_when_its_paths_are_idle() {
    let mut scene = Scene::with(Limits {
        max_flows: 10,
        idle: Duration::from_secs(60),
        claim_rate: 200,
        claim_burst: 1000,
        watch_legs: true,
    });
    for port in 1..=10 {
        scene.connect(&format!("198.51.100.7:{port}"), T1);
    }
    scene.pass(60_000);
    assert_eq!(to(&scene.public("198.51.100.7:11", &check(&scene.ufrag(T1)))), [T1]);
}

#[test]
fn the_seventeenth_path_of_one_ufrag_takes_the_place_of_the_least_recently_confirmed() {
    let mut scene = Scene::new();
    let from = |last: u8| format!("198.51.100.{last}:4000");
    for last in 1..=16 {
        scene.connect(&from(last), T1);
        scene.pass(10);
    }
    scene.connect(&from(1), T1); // confirmed again: now the second is the oldest
    scene.pass(10);
    scene.connect(&from(17), T1);
    assert_eq!(scene.public(&from(2), &rtp()), dropped(DropReason::NoRoute));
    for last in [1, 3, 16, 17] {
        assert_eq!(to(&scene.public(&from(last), &rtp())), [T1]);
    }
}

#[test]
fn sixteen_paths_are_one_ufrags_bound_and_not_a_transceivers() {
    let scene = Scene::new();
    for last in 1..=40 {
        let client = format!("198.51.100.{last}:4000");
        let ufrag = scene.ufrag_with(T1, last);
        assert_eq!(to(&scene.public(&client, &check(&ufrag))), [T1]);
        scene.internal(T1, &client, INTERNAL, &success());
    }
    for last in 1..=40 {
        assert_eq!(to(&scene.public(&format!("198.51.100.{last}:4000"), &rtp())), [T1]);
    }
}

#[test]
fn at_most_four_next_hops_have_a_path_and_a_fifth_session_displaces_the_least_recently_confirmed() {
    let mut scene = Scene::new();
    let transceivers = [1, 2, 3, 4, 5].map(|last| format!("10.0.3.{last}:7000"));
    for transceiver in &transceivers[..4] {
        scene.connect(CLIENT, transceiver);
        scene.returns(transceiver, &dtls());
        scene.pass(10);
    }
    scene.connect(CLIENT, &transceivers[4]);
    assert_eq!(to(&scene.public(CLIENT, &rtp())), transceivers[..4], "an accepted check displaces no session");
    scene.returns(&transceivers[4], &dtls());
    let mut hops = to(&scene.public(CLIENT, &rtp()));
    hops.sort();
    assert_eq!(hops, transceivers[1..]);
}

#[test]
fn paths_without_an_answer_give_way_when_the_table_is_full() {
    let limits =
        Limits { max_flows: 20, idle: Duration::from_secs(60), claim_rate: 200, claim_burst: 1000, watch_legs: true };
    let scene = Scene::with(limits);
    for port in 1..=10 {
        scene.connect(&format!("198.51.100.7:{port}"), T1);
    }
    for port in 1..=500 {
        scene.public(&format!("192.0.2.1:{port}"), &check(&scene.ufrag(T1)));
    }
    scene.connect("198.51.100.8:4000", T1);
    scene.internal(T1, "198.51.100.9:4000", INTERNAL, &rtp());
    for client in ["198.51.100.7:1", "198.51.100.7:10", "198.51.100.8:4000", "198.51.100.9:4000"] {
        assert_eq!(to(&scene.public(client, &rtp())), [T1], "{client}");
    }
}

#[test]
fn one_session_with_many_addresses_does_not_fill_the_table() {
    let limits =
        Limits { max_flows: 50, idle: Duration::from_secs(60), claim_rate: 200, claim_burst: 1000, watch_legs: true };
    let scene = Scene::with(limits);
    for last in 1..=200 {
        scene.connect(&format!("198.51.100.{last}:4000"), T1);
    }
    let other = scene.ufrag_with(T2, 9);
    assert_eq!(to(&scene.public("192.0.2.1:4000", &check(&other))), [T2]);
}

#[test]
fn exempt_sources_open_claims_without_a_limit() {
    let limits =
        Limits { max_flows: 1000, idle: Duration::from_secs(60), claim_rate: 1, claim_burst: 1, watch_legs: true };
    let mut scene = Scene::with(limits);
    scene.policy.admission_exempt = Networks::parse(&["198.51.100.0/24"]).expect("a network");
    for port in 1..=100 {
        assert_eq!(to(&scene.public(&format!("198.51.100.7:{port}"), &check(&scene.ufrag(T1)))), [T1]);
    }
}

#[test]
fn an_ipv6_site_shares_one_rate() {
    let limits =
        Limits { max_flows: 1000, idle: Duration::from_secs(60), claim_rate: 1, claim_burst: 1, watch_legs: true };
    let scene = Scene::with(limits);
    let check = check(&scene.ufrag(T1));
    assert_eq!(to(&scene.public("[2001:db8:0:100::1]:4000", &check)), [T1]);
    assert_eq!(scene.public("[2001:db8:0:1ff::9]:4000", &check), dropped(DropReason::AdmissionRate), "the same /56");
    assert_eq!(to(&scene.public("[2001:db8:0:200::1]:4000", &check)), [T1], "another /56");
}

// A policy that changes.

#[test]
fn a_transceiver_taken_out_of_the_networks_gets_no_more_packets() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.policy.transceivers = Networks::parse(&["10.0.4.0/24"]).expect("a network");
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::EndpointForbidden));
}

#[test]
fn a_revoked_key_ends_the_way_of_the_flows_it_opened() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.policy.ring.insert(0, &[0x11; 16], KeyState::Revoked);
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::UfragRevokedKey));
}

// Rule 9: wildcard listeners.

fn public_to(scene: &Scene, source: &str, local: &str, payload: &[u8]) -> Verdict {
    let local = Some(local.parse().expect("an address"));
    let datagram = FromClient { listener: 0, source: address(source), local, payload };
    scene.relay.handle_public(scene.turn(), datagram, &mut [0; stun::MAX_RESPONSE])
}

fn answered_from(scene: &Scene, client: &str, payload: &[u8]) -> Option<String> {
    match scene.internal(T1, client, INTERNAL, payload) {
        Verdict::ToClient(delivery) => delivery.local.map(|ip| ip.to_string()),
        other => panic!("not returned: {other:?}"),
    }
}

#[test]
fn answers_come_from_the_address_that_the_last_accepted_check_went_to() {
    let scene = Scene::new();
    let check = check(&scene.ufrag(T1));
    public_to(&scene, CLIENT, "203.0.113.1", &check);
    assert_eq!(answered_from(&scene, CLIENT, &success()), Some("203.0.113.1".into()));
    public_to(&scene, CLIENT, "203.0.113.2", &check);
    assert_eq!(answered_from(&scene, CLIENT, &rtp()), Some("203.0.113.1".into()), "not accepted yet");
    assert_eq!(answered_from(&scene, CLIENT, &success()), Some("203.0.113.2".into()));
}

#[test]
fn a_spoofed_media_packet_does_not_move_the_address_that_answers_come_from() {
    let scene = Scene::new();
    public_to(&scene, CLIENT, "203.0.113.1", &check(&scene.ufrag(T1)));
    scene.returns(T1, &success());
    public_to(&scene, CLIENT, "203.0.113.2", &rtp());
    assert_eq!(answered_from(&scene, CLIENT, &rtp()), Some("203.0.113.1".into()));
}

#[test]
fn a_probe_is_answered_from_the_address_it_went_to() {
    let scene = Scene::new();
    let endpoint = u32::from_be_bytes([10, 0, 3, 1]);
    let ufrag = scene.mint(Route { kind: Kind::ProbeEndpoint, endpoint, port: 7000, ..route() });
    public_to(&scene, CLIENT, "203.0.113.3", &check(&ufrag));
    assert_eq!(answered_from(&scene, CLIENT, &success()), Some("203.0.113.3".into()));
    assert_eq!(scene.relay.flow_count(), 0);
}

// Rule 10: dead next hops.

#[test]
fn announces_keep_a_transceiver_alive_that_sends_nothing_else() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    for _ in 0..200 {
        assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
        scene.pass(50);
        scene.returns(T1, b"");
    }
}

#[test]
fn media_to_a_dead_transceiver_is_dropped_and_a_check_revives_it() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.pass(10); // so long after an answer nothing counts
    for _ in 0..30 {
        assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
        scene.pass(100);
    }
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NextHopDead));
    scene.connect(CLIENT, T1);
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
}

#[test]
fn an_icmp_error_shortens_the_wait_and_alone_proves_nothing() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.pass(10); // so long after an answer nothing counts
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
    scene.relay.icmp_error(address(T1), scene.now);
    for _ in 0..25 {
        assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
        scene.pass(40);
    }
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NextHopDead));
}

#[test]
fn one_dead_claim_does_not_stop_the_other() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    scene.connect(CLIENT, T2);
    for _ in 0..40 {
        scene.public(CLIENT, &rtp());
        scene.returns(T2, &rtp());
        scene.pass(100);
    }
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T2]);
}

// Wire 2: the directions of the internal socket.

#[test]
fn a_payload_returns_to_the_client_from_the_listener_of_its_proxy() {
    let scene = Scene::new();
    for (proxy, listener) in [(INTERNAL, 0), (SECOND_INTERNAL, 1)] {
        let Verdict::ToClient(delivery) = scene.internal(T1, CLIENT, proxy, &rtp()) else { panic!("not returned") };
        assert_eq!((delivery.listener, delivery.client), (listener, address(CLIENT).into()));
    }
}

#[test]
fn an_announce_is_never_sent_to_a_client() {
    let scene = Scene::new();
    assert_eq!(scene.returns(T1, b""), Verdict::Consumed);
    assert_eq!(scene.counter("announces"), 1);
}

#[test]
fn what_a_transceiver_returns_to_another_relay_is_passed_on_unchanged() {
    let scene = Scene::new();
    for payload in [rtp(), Vec::new()] {
        assert_eq!(scene.internal(T1, CLIENT, PEER, &payload), Verdict::Pass(address(PEER).into()));
    }
    let stranger = "10.8.0.1:3481";
    assert_eq!(scene.internal(T1, CLIENT, stranger, &rtp()), dropped(DropReason::SppDirection));
}

#[test]
fn what_another_relay_forwards_is_routed_and_followed_here() {
    let scene = Scene::new();
    let check = check(&scene.ufrag(T1));
    assert_eq!(to(&scene.internal(PEER, CLIENT, PEER, &check)), [T1]);
    assert_eq!(scene.internal(PEER, CLIENT, PEER, &rtp()), dropped(DropReason::NoRoute));
    assert_eq!(scene.internal(T1, CLIENT, PEER, &success()), Verdict::Pass(address(PEER).into()));
    assert_eq!(to(&scene.internal(PEER, CLIENT, PEER, &rtp())), [T1]);
    let asks = message(BINDING_REQUEST, &[]);
    assert_eq!(scene.internal(PEER, CLIENT, PEER, &asks), dropped(DropReason::NoRoute), "its own ingress answers");
}

#[test]
fn what_another_relay_returns_goes_to_the_client() {
    let scene = Scene::new();
    assert!(matches!(scene.internal(PEER, CLIENT, INTERNAL, &rtp()), Verdict::ToClient(_)));
}

#[test]
fn what_another_relay_forwards_never_goes_to_a_relay() {
    let scene = Scene::new();
    // A peer returns a packet: it claims the path. Another relay of the same VIP forwards one.
    scene.internal(PEER, CLIENT, INTERNAL, &rtp());
    let twin = "10.9.0.2:3479";
    assert_eq!(scene.internal(twin, CLIENT, twin, &rtp()), dropped(DropReason::SecondHop));
}

#[test]
fn strangers_on_the_internal_socket_are_dropped() {
    let scene = Scene::new();
    for (source, proxy) in [("10.0.3.1:7001", INTERNAL), ("192.0.2.1:7000", INTERNAL), ("192.0.2.1:7000", PEER)] {
        assert_eq!(scene.internal(source, CLIENT, proxy, &rtp()), dropped(DropReason::SppDirection));
    }
    let good = with_header(CLIENT, INTERNAL, &rtp());
    let judge = |bytes: &[u8]| scene.relay.handle_internal(scene.turn(), address(T1), bytes);
    assert_eq!(judge(&good[..37]), dropped(DropReason::SppShort));
    assert_eq!(judge(&[&[0x57], &good[1..]].concat()), dropped(DropReason::SppMagic));
}

// Rule 5: a path that nobody claims.

fn taken(scene: &Scene) -> Vec<(What, Option<String>, bool)> {
    let mut events = Vec::new();
    scene.events.take(100, &mut events);
    let name = |event: &Event| event.next_hop.map(|hop| std::net::SocketAddr::from(hop).to_string());
    events.iter().map(|event| (event.what, name(event), event.alone)).collect()
}

fn from_client() -> From {
    From { key: PathKey { client: address(CLIENT).into(), ingress: 3479 }, local: None, is_peer: false }
}

#[test]
fn without_a_route_cache_a_packet_nobody_claims_is_dropped_at_once() {
    let scene = Scene::new();
    scene.events.listen(true);
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
    assert_eq!(taken(&scene), []);
}

#[test]
fn the_route_cache_is_asked_once_and_its_answer_releases_what_was_held() {
    let mut scene = Scene::new();
    scene.events.listen(true);
    scene.relay.set_route_cache(true);
    assert_eq!(scene.public(CLIENT, &rtp()), Verdict::Hold(from_client()));
    assert_eq!(scene.public(CLIENT, &rtp()), Verdict::Hold(from_client()));
    assert_eq!(taken(&scene), [(What::Asked, None, false)]);
    assert!(scene.relay.release(scene.turn(), from_client(), &rtp()).is_err());
    scene.pass(5);
    assert!(scene.relay.restore(scene.turn(), from_client().key, address(T1)));
    assert!(scene.relay.release(scene.turn(), from_client(), &rtp()).is_ok());
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
}

#[test]
fn the_internal_leg_asks_and_holds_as_well() {
    let scene = Scene::new();
    scene.events.listen(true);
    scene.relay.set_route_cache(true);
    let key = PathKey { ingress: 3481, ..from_client().key };
    assert_eq!(scene.internal(PEER, CLIENT, PEER, &rtp()), Verdict::Hold(From { key, local: None, is_peer: true }));
    assert_eq!(scene.internal(T1, CLIENT, PEER, &message(0x0111, &[])), Verdict::Pass(address(PEER).into()));
}

#[test]
fn a_remembered_route_outside_the_allowed_networks_is_refused() {
    let scene = Scene::new();
    for next_hop in ["10.0.3.1:7001", "192.0.2.1:7000"] {
        assert!(!scene.relay.restore(scene.turn(), from_client().key, address(next_hop)));
    }
    assert_eq!(scene.relay.flow_count(), 0);
}

#[test]
fn a_remembered_route_never_beats_a_confirmed_claim() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    assert!(!scene.relay.restore(scene.turn(), from_client().key, address(T2)));
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
}

#[test]
fn a_remembered_route_ends_like_any_claim_that_nothing_confirms() {
    let mut scene = Scene::new();
    assert!(scene.relay.restore(scene.turn(), from_client().key, address(T1)));
    scene.pass(20_000);
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::NoRoute));
}

#[test]
fn an_established_route_is_told_once_and_again_after_one_and_a_quarter_idle_times() {
    let mut scene = Scene::new();
    scene.events.listen(true);
    scene.connect(CLIENT, T1);
    assert_eq!(taken(&scene), [(What::Opened, Some(T1.into()), false)]);
    for second in 0..76 {
        scene.returns(T1, &rtp());
        let expected = match second {
            0 => vec![(What::Established, Some(T1.into()), true)],
            75 => vec![(What::Refreshed, Some(T1.into()), true)],
            _ => vec![],
        };
        assert_eq!(taken(&scene), expected, "second {second}");
        scene.pass(1000);
    }
}

#[test]
fn of_two_strong_claims_none_is_alone_until_the_other_ends() {
    let mut scene = Scene::new();
    scene.events.listen(true);
    scene.connect(CLIENT, T1);
    scene.returns(T1, &dtls());
    scene.connect(CLIENT, T2);
    taken(&scene);
    scene.returns(T2, &dtls());
    assert_eq!(taken(&scene), [(What::Established, Some(T2.into()), false)]);
    for _ in 0..19 {
        scene.pass(1000);
        scene.returns(T1, &rtp());
        assert_eq!(taken(&scene), []);
    }
    scene.pass(1000);
    scene.returns(T1, &rtp());
    assert_eq!(taken(&scene), [(What::Refreshed, Some(T1.into()), true)]);
}

// Beside the rules: an operator ends a path.

#[test]
fn a_path_that_is_not_there_is_not_kept_away() {
    let scene = Scene::new();
    let key = PathKey { client: address(CLIENT).into(), ingress: 3479 };
    assert!(!scene.relay.kill(scene.turn(), key));
    assert!(matches!(scene.returns(T1, &rtp()), Verdict::ToClient(_)));
    assert!(scene.relay.kill(scene.turn(), key));
    assert!(!scene.relay.kill(scene.turn(), key), "it is gone");
    assert_eq!(scene.returns(T1, &rtp()), dropped(DropReason::Killed), "and still kept away");
    assert_eq!(scene.relay.flow_count(), 0);
}

#[test]
fn what_returns_for_a_killed_path_is_dropped_for_five_seconds() {
    let mut scene = Scene::new();
    scene.connect(CLIENT, T1);
    let key = PathKey { client: address(CLIENT).into(), ingress: 3479 };
    assert!(scene.relay.kill(scene.turn(), key));
    scene.pass(4999);
    for payload in [rtp(), success(), vec![]] {
        assert_eq!(scene.returns(T1, &payload), dropped(DropReason::Killed));
    }
    assert_eq!(scene.public(CLIENT, &rtp()), dropped(DropReason::Killed));
    assert!(!scene.relay.restore(scene.turn(), key, address(T1)), "a memory does not bring it back either");
    assert_eq!(scene.relay.flow_count(), 0);
    scene.pass(1);
    assert!(matches!(scene.returns(T1, &rtp()), Verdict::ToClient(_)));
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T1]);
}

#[test]
fn a_check_brings_a_killed_path_back_at_once() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    let key = PathKey { client: address(CLIENT).into(), ingress: 3479 };
    assert!(scene.relay.kill(scene.turn(), key));
    scene.connect(CLIENT, T2);
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T2]);
    assert!(matches!(scene.returns(T1, &rtp()), Verdict::ToClient(_)), "a stray packet passes as ever");
    assert_eq!(to(&scene.public(CLIENT, &rtp())), [T2]);
}
