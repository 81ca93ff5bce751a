//! What must hold for any bytes. Each function takes bytes and panics if it does not.
//!
//! Two drivers: `cargo +nightly fuzz run NAME`, guided by coverage, and the test `fuzz`, which runs
//! for a fixed time with any compiler.
#![allow(dead_code, reason = "each fuzz target uses one function")]

#[path = "../../tests/scene/mod.rs"]
pub mod scene;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use _dataplane::core::address::Endpoint;
use _dataplane::core::demux::MAX_PAYLOAD;
use _dataplane::core::relay::{FromClient, Verdict};
use _dataplane::core::spp;
use _dataplane::core::stun::{self, MAX_RESPONSE, Message};
use _dataplane::core::table::{Entry, Hashing, Table};
use _dataplane::core::time::Time;
use _dataplane::core::ufrag::{KeyRing, KeyState};
use _dataplane::io::groups::{Datagram, GROUP, GROUP_BYTES, Groups, QUEUE};
use _dataplane::io::segments;
use scene::{CLIENT, INTERNAL, PEER, SECOND_INTERNAL, Scene, T1, T2, address, with_header};

/// A message's attributes fill it exactly, and an answer to it is a message about the same thing.
pub fn stun(bytes: &[u8]) {
    let Some(message) = Message::read(bytes) else { return };
    let total: usize = message.attributes().map(|a| 4 + a.value.len().next_multiple_of(4)).sum();
    assert_eq!(total + 20, bytes.len());
    let has_fingerprint = message.fingerprint_is_right().is_some();
    let mut answer = [0; MAX_RESPONSE];
    let length = stun::write_binding_success(&message, address(CLIENT), &mut answer);
    let answer = Message::read(&answer[..length]).expect("a message");
    assert_eq!((answer.kind(), answer.transaction()), (stun::BINDING_SUCCESS, message.transaction()));
    assert_eq!(answer.fingerprint_is_right(), has_fingerprint.then_some(true));
}

/// What opens is minted to the same characters again.
pub fn ufrag(bytes: &[u8]) {
    let mut ring = KeyRing::default();
    for id in 0..8 {
        ring.insert(id, &[id; 16], KeyState::Accept);
    }
    if let Ok(route) = ring.open(bytes) {
        assert_eq!(ring.mint(&route).expect("it was minted once").as_slice(), bytes);
    }
    // One block decrypts to anything; what it says must survive minting, whatever the check.
    if bytes.len() >= 16 {
        let route = _dataplane::core::ufrag::Route {
            kind: _dataplane::core::ufrag::Kind::from_number(bytes[0] & 15).unwrap_or(scene::route().kind),
            cluster: u16::from_be_bytes([bytes[1], bytes[2]]),
            endpoint: u32::from_be_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]),
            port: u16::from_be_bytes([bytes[7], bytes[8]]),
            nonce: u32::from_be_bytes([0, bytes[9], bytes[10], bytes[11]]),
            key_id: bytes[12] & 7,
        };
        let is_sound = route.kind.names_node() == (route.port == 0);
        let minted = ring.mint(&route).expect("a key");
        assert_eq!(ring.open(&minted).ok(), is_sound.then_some(route));
    }
}

/// A header is 38 bytes, and packs again to the same address.
pub fn spp(bytes: &[u8]) {
    if let Ok((header, payload)) = spp::unpack(bytes) {
        assert_eq!(payload, &bytes[spp::HEADER..]);
        let packed = spp::pack(&header);
        assert_eq!(spp::unpack(&packed), Ok((header, &b""[..])));
        assert_eq!((&packed[..2], &packed[34..]), (&bytes[..2], &bytes[34..38]), "ports and magic stay");
    }
}

const SOURCES: [&str; 8] =
    [CLIENT, T1, T2, PEER, INTERNAL, SECOND_INTERNAL, "198.51.100.8:1024", "[2001:db8:3::9]:7000"];

/// Any packets from anywhere, alone or put together by the kernel, give verdicts that send nothing to
/// where it may not go.
pub fn handle(bytes: &[u8]) {
    let mut scene = Scene::new();
    let (mut rest, mut answer) = (bytes, [0; MAX_RESPONSE]);
    while let Some((step, after)) = rest.split_first_chunk::<4>() {
        let length = usize::from(step[3]).min(after.len());
        let (payload, after) = after.split_at(length);
        rest = after;
        let source = |bits: u8| SOURCES[usize::from(bits & 7)];
        let payload = match step[2] & 7 {
            0 => scene::check(&scene.ufrag(T1)),
            1 => scene::success(),
            2 => scene::rtp(),
            3 => scene::dtls(),
            _ => payload.to_vec(),
        };
        scene.pass(u64::from(step[2] >> 3) * 300);
        if step[0] & 0x80 == 0 {
            let (listener, source) = (usize::from(step[0] >> 6 & 1), address(source(step[0])));
            let datagram = FromClient { listener, source, local: None, payload: &payload };
            match scene.relay.handle_public(scene.turn(), datagram, &mut answer) {
                Verdict::Forward(hops) => assert!(
                    hops.iter()
                        .all(|hop| { scene.policy.transceivers.contains(hop) || scene.policy.peers.contains(hop) })
                ),
                Verdict::Answer(length) => assert!(length <= MAX_RESPONSE),
                Verdict::Drop(_) | Verdict::Hold(_) => {}
                other => panic!("not a verdict about a client's packet: {other:?}"),
            }
        } else {
            let datagram = with_header(source(step[1]), source(step[1] >> 3), &payload);
            // As GRO would deliver it, three times, the last one perhaps cut short.
            let buffer = [&datagram[..], &datagram, &datagram[..datagram.len() - usize::from(step[1] >> 6)]].concat();
            for range in segments(buffer.len(), Some(datagram.len())) {
                judge_internal(&scene, address(source(step[0])), &buffer[range]);
            }
            judge_internal(&scene, address(source(step[0])), &payload);
        }
    }
    scene.relay.sweep(0, scene.now);
}

fn judge_internal(scene: &Scene, source: SocketAddr, datagram: &[u8]) {
    let verdict = scene.relay.handle_internal(scene.turn(), source, datagram);
    let from = Endpoint::from(source);
    let (transceivers, peers) = (&scene.policy.transceivers, &scene.policy.peers);
    match verdict {
        Verdict::ToClient(delivery) => {
            let (header, payload) = spp::unpack(datagram).expect("a header");
            assert_eq!(delivery.client, Endpoint::from(header.client), "by its own header");
            assert!(!payload.is_empty() && payload.len() <= MAX_PAYLOAD);
            assert!(transceivers.contains(&from) || peers.contains(&from));
        }
        Verdict::Forward(hops) => {
            assert!(peers.contains(&from) && hops.iter().all(|hop| transceivers.contains(hop)), "the hop rule");
        }
        Verdict::Pass(to) => assert!(transceivers.contains(&from) && peers.contains(&to)),
        Verdict::Answer(_) => panic!("an answer to the internal leg"),
        Verdict::Consumed | Verdict::Hold(_) | Verdict::Drop(_) => {}
    }
}

/// Every datagram is in one group, of one destination, as the kernel can cut it; a flow's order stays.
/// And a buffer is cut into pieces that are all of it.
pub fn groups(bytes: &[u8]) {
    let Some((first, datagrams)) = bytes.split_first_chunk::<4>() else { return };
    let (length, size) =
        (usize::from(u16::from_be_bytes([first[0], first[1]])), u16::from_be_bytes([first[2], first[3]]));
    let mut end = 0;
    for range in segments(length, Some(usize::from(size))) {
        assert!(range.start == end && (range.end > range.start || length == 0));
        end = range.end;
    }
    assert_eq!(end, length);
    let datagrams: Vec<Datagram> = datagrams.chunks_exact(3).take(QUEUE).map(datagram).collect();
    let mut groups = Groups::default();
    if size & 1 == 1 {
        groups.learn(size, Some(22)); // EINVAL
    }
    for _ in 0..2 {
        groups.form(datagrams.len(), |at| datagrams[at]);
        check_groups(&groups, &datagrams);
    }
}

fn datagram(three: &[u8]) -> Datagram {
    let to = SocketAddr::from(([10, 0, 3, three[0] >> 6], 7000)).into();
    let length = usize::from(u16::from_be_bytes([three[1] & 7, three[2]])).min(1538);
    Datagram { length, to, from: None, flow: u32::from(three[0] & 63) | u32::from(three[1] >> 3) << 8 }
}

fn check_groups(groups: &Groups, datagrams: &[Datagram]) {
    let mut place = vec![None; datagrams.len()];
    let mut position = 0;
    for group in groups.all() {
        let members: Vec<usize> = groups.members(group).collect();
        assert_eq!(members.len(), usize::from(group.count));
        assert!(members.len() <= GROUP && members.iter().map(|at| datagrams[*at].length).sum::<usize>() <= GROUP_BYTES);
        let (last, others) = members.split_last().expect("no group is empty");
        assert!(others.iter().all(|at| datagrams[*at].length == usize::from(group.size)));
        assert!(datagrams[*last].length <= usize::from(group.size));
        assert!(others.is_empty() || datagrams[*last].length > 0);
        for at in members {
            assert_eq!(datagrams[at].to, datagrams[usize::from(group.first)].to);
            assert_eq!(place[at].replace(position), None, "twice");
            position += 1;
        }
    }
    let mut last: BTreeMap<u32, usize> = BTreeMap::new();
    for (datagram, place) in datagrams.iter().zip(place) {
        let place = place.expect("every datagram leaves");
        assert!(last.insert(datagram.flow, place).is_none_or(|before| before < place), "the order of a flow");
    }
}

/// A path as small as can be: a number and when it was last seen.
struct Number(u16, Time);

impl Entry for Number {
    type Key = u16;
    type Aside = u16;

    fn key(&self) -> u16 {
        self.0
    }

    fn hash(key: &u16, hashing: &Hashing) -> u64 {
        // Few hashes: the table must live with collisions.
        hashing.of(&(key & 63).to_be_bytes())
    }

    fn is_over(&mut self, now: Time, idle: Duration) -> bool {
        now.since(self.1) >= idle
    }
}

const MAXIMUM: usize = 24;
const IDLE: Duration = Duration::from_secs(1);

/// The table holds what a simple map holds.
pub fn table(bytes: &[u8]) {
    let table = Table::<Number>::with_aside(MAXIMUM, IDLE, Hashing::new([7; 16]), true);
    let mut model: BTreeMap<u16, Time> = BTreeMap::new();
    let mut now = Time(1);
    for step in bytes.chunks_exact(3) {
        let number = u16::from_be_bytes([step[1], step[2]]) & 0xFF;
        match step[0] % 5 {
            0 | 1 => touch(&table, &mut model, number, now),
            2 => assert_eq!(seen(&table, number), model.get(&number).copied()),
            3 => now = now.after(Duration::from_millis(u64::from(step[1]) * 4)),
            _ => {
                table.sweep(0, now, MAXIMUM);
                model.retain(|_, seen| now.since(*seen) < IDLE);
            }
        }
        assert_eq!(table.len(), model.len());
    }
    let mut listed = BTreeMap::new();
    let mut cursor = 0;
    loop {
        cursor = table.list(cursor, 5, |entry, aside| {
            assert!(listed.insert(entry.0, entry.1).is_none());
            assert_eq!(aside, Some(&entry.0), "beside its own entry");
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(listed, model);
}

/// Sees a number now, whether it is known or not.
fn touch(table: &Table<Number>, model: &mut BTreeMap<u16, Time>, number: u16, now: Time) {
    let (hash, mut shard) = table.shard(&number);
    if let Some(found) = shard.find(&number, hash) {
        found.1 = now;
        assert!(model.insert(number, now).is_some());
        return;
    }
    let was_full = model.len() >= MAXIMUM;
    let is_in = shard.insert(Number(number, now), hash, now).is_some();
    if let Some((_, Some(aside))) = shard.find_both(&number, hash) {
        assert_eq!(std::mem::replace(aside, number), 0, "as new");
    }
    drop(shard); // the table is asked again below
    assert!(is_in || was_full);
    if was_full {
        // One that is over gave way, if there was one: which?
        let gone: Vec<u16> = model.keys().copied().filter(|key| seen(table, *key).is_none()).collect();
        assert_eq!(gone.len(), usize::from(is_in));
        gone.iter().for_each(|key| assert!(now.since(model.remove(key).expect("known")) >= IDLE));
    }
    if is_in {
        assert!(model.insert(number, now).is_none());
    }
}

fn seen(table: &Table<Number>, number: u16) -> Option<Time> {
    let (hash, mut shard) = table.shard(&number);
    shard.find(&number, hash).map(|found| found.1)
}
