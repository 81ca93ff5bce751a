//! The invariant: any bytes on either leg give a verdict, and nothing else happens.

mod scene;

use _dataplane::core::relay::Verdict;
use _dataplane::core::stun::{MAX_RESPONSE, Message};
use proptest::prelude::*;
use scene::*;

/// Bytes from nowhere, and valid packets with some of their bytes changed, cut or repeated:
/// those come further.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let scene = Scene::new();
    let seeds = vec![check(&scene.ufrag(T1)), success(), rtp(), dtls(), message(1, &[]), vec![]];
    let damaged = (
        prop::sample::select(seeds),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        0..80usize,
    )
        .prop_map(|(mut bytes, changes, extra)| {
            for (at, value) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            bytes.resize((bytes.len() + extra).saturating_sub(40), 0);
            bytes
        });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..1600), damaged]
}

fn source() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![CLIENT, T1, T2, PEER, INTERNAL, "[2001:db8:3::9]:7000"]);
    prop_oneof![
        known.prop_map(String::from),
        any::<(u32, u16)>().prop_map(|(ip, port)| format!("{}:{port}", std::net::Ipv4Addr::from(ip)))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_from_a_client_give_a_verdict(payloads in prop::collection::vec((source(), bytes()), 1..120)) {
        let mut scene = Scene::new();
        for (source, payload) in payloads {
            match scene.public(&source, &payload) {
                Verdict::Forward(hops) => prop_assert!(hops.iter().all(|hop| scene.policy.transceivers.contains(hop))),
                Verdict::Answer(length) => prop_assert!(length <= MAX_RESPONSE),
                Verdict::Drop(_) => {}
                other => prop_assert!(false, "not a verdict about a client's packet: {other:?}"),
            }
            scene.pass(100);
        }
    }

    #[test]
    fn any_bytes_on_the_internal_leg_give_a_verdict(
        datagrams in prop::collection::vec((source(), source(), source(), bytes(), any::<bool>()), 1..120)
    ) {
        let mut scene = Scene::new();
        for (from, client, proxy, payload, framed) in datagrams {
            let datagram = if framed { with_header(&client, &proxy, &payload) } else { payload };
            let verdict = scene.relay.handle_internal(scene.turn(), address(&from), &datagram);
            let trusted = scene.policy.transceivers.contains(&address(&from).into()) || scene.policy.peers.contains(&address(&from).into());
            prop_assert!(trusted || matches!(verdict, Verdict::Drop(_)), "{verdict:?}");
            prop_assert!(!matches!(verdict, Verdict::Answer(_)));
            scene.pass(100);
        }
    }

    #[test]
    fn any_bytes_are_a_stun_message_or_are_not(payload in bytes()) {
        if let Some(message) = Message::read(&payload) {
            let total: usize = message.attributes().map(|a| 4 + a.value.len().next_multiple_of(4)).sum();
            prop_assert_eq!(total + 20, payload.len());
            let _ = message.fingerprint_is_right();
        }
    }
}
