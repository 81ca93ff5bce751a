//! What the path table costs: `cargo bench --bench flows`.
//!
//! Memory at a million flows, new flows a second, the time of a packet of a known flow by number of
//! flows, one and two threads on one table with all returns in one of them, and the longest stop
//! while 100,000 flows expire.

#[path = "../tests/scene/mod.rs"]
mod scene;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use _dataplane::core::address::Networks;
use _dataplane::core::relay::{FromClient, Limits, Turn};
use _dataplane::core::spp;
use _dataplane::core::stun::MAX_RESPONSE;
use scene::{INTERNAL, Scene, T1, address, check, rtp, success};

fn main() {
    for watch_legs in [false, true] {
        let before = resident();
        let scene = filled(1_000_000, watch_legs, "a million");
        let bytes = (resident() - before) as f64 / scene.relay.flow_count() as f64;
        println!("memory, legs {}: {bytes:.0} bytes per flow", if watch_legs { "watched" } else { "not watched" });
    }
    for flows in [1_000, 100_000] {
        let scene = filled(flows, false, "");
        known(&scene, flows);
    }
    expire();
    together();
}

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

fn client(flow: usize) -> SocketAddr {
    SocketAddr::from(([100, 64 + (flow >> 16) as u8, (flow >> 8) as u8, flow as u8], 5004))
}

/// A table with confirmed flows, each of a ufrag of its own.
fn filled(flows: usize, watch_legs: bool, tell: &str) -> Scene {
    let limits = Limits {
        max_flows: flows.max(262_144).next_power_of_two(),
        idle: Duration::from_secs(60),
        claim_rate: 200,
        claim_burst: 1000,
        watch_legs,
    };
    let mut scene = Scene::with(limits);
    scene.policy.admission_exempt = Networks::parse(&["100.64.0.0/10"]).expect("a network");
    // In one piece, which goes back to the kernel: it is not the table's memory.
    let length = check(&scene.ufrag(T1)).len();
    let checks: Vec<u8> = (0..flows).flat_map(|flow| check(&scene.ufrag_with(T1, flow as u32))).collect();
    let (transceiver, success) = (address(T1), success());
    let begin = Instant::now();
    for (flow, check) in checks.chunks_exact(length).enumerate() {
        public(&scene, client(flow), check);
        scene.relay.handle_internal(scene.turn(), transceiver, &framed(client(flow), &success));
    }
    if !tell.is_empty() {
        let rate = flows as f64 / begin.elapsed().as_secs_f64();
        println!("{tell} new flows: {rate:.0} a second, check, answer and all");
    }
    scene
}

fn public(scene: &Scene, source: SocketAddr, payload: &[u8]) {
    let datagram = FromClient { listener: 0, source, local: None, payload };
    black_box(scene.relay.handle_public(scene.turn(), datagram, &mut [0; MAX_RESPONSE]));
}

fn framed(client: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let header = spp::Header { client, proxy: address(INTERNAL) };
    [&spp::pack(&header), payload].concat()
}

fn known(scene: &Scene, flows: usize) {
    const PACKETS: usize = 2_000_000;
    let (media, transceiver) = (rtp(), address(T1));
    let order: Vec<SocketAddr> = (0..PACKETS).map(|at| client(at.wrapping_mul(7919) % flows)).collect();
    let begin = Instant::now();
    order.iter().for_each(|source| public(scene, *source, &media));
    let up = begin.elapsed().as_nanos() as f64 / PACKETS as f64;
    let mut datagram = framed(client(0), &media);
    let begin = Instant::now();
    for source in &order {
        datagram[14..18].copy_from_slice(&spp::octets(source.ip())[12..]);
        black_box(scene.relay.handle_internal(scene.turn(), transceiver, &datagram));
    }
    let down = begin.elapsed().as_nanos() as f64 / PACKETS as f64;
    println!("{flows} known flows: {up:.0} ns a packet up, {down:.0} ns down");
}

fn expire() {
    let mut scene = filled(100_000, false, "");
    scene.pass(61_000);
    let (mut longest, mut pieces) = (Duration::ZERO, 0);
    while scene.relay.flow_count() > 0 {
        let begin = Instant::now();
        scene.relay.sweep(pieces, scene.now);
        longest = longest.max(begin.elapsed());
        pieces += 1;
    }
    println!("100,000 flows expire: {pieces} pieces, the longest stop {} us", longest.as_micros());
}

/// One thread with all packets, and two: one with the clients', one with all that return.
fn together() {
    const PACKETS: usize = 2_000_000;
    let scene = filled(1_000, false, "");
    let (media, transceiver) = (rtp(), address(T1));
    let returning: Vec<Vec<u8>> = (0..1000).map(|flow| framed(client(flow), &media)).collect();
    let up = |turn: Turn<'_>, at: usize| {
        let datagram = FromClient { listener: 0, source: client(at % 1000), local: None, payload: &media };
        black_box(scene.relay.handle_public(turn, datagram, &mut [0; MAX_RESPONSE]));
    };
    let down = |turn: Turn<'_>, at: usize| {
        black_box(scene.relay.handle_internal(turn, transceiver, &returning[at % 1000]));
    };
    let begin = Instant::now();
    for at in 0..PACKETS {
        up(scene.turn(), at);
        down(scene.turn(), at);
    }
    let one = begin.elapsed();
    let (relay_policy, relay_now, barrier) = (&scene.policy, scene.now, &Barrier::new(2));
    let run = |work: &(dyn Fn(Turn<'_>, usize) + Sync)| {
        let (counters, events) = Default::default();
        let turn = Turn { now: relay_now, policy: relay_policy, counters: &counters, events: &events };
        barrier.wait();
        let begin = Instant::now();
        (0..PACKETS).for_each(|at| work(turn, at));
        begin.elapsed()
    };
    let two = std::thread::scope(|threads| {
        let upward = threads.spawn(|| run(&up));
        let downward = threads.spawn(|| run(&down));
        upward.join().expect("finished").max(downward.join().expect("finished"))
    });
    let rate = |time: Duration| 2.0 * PACKETS as f64 / time.as_secs_f64() / 1e6;
    println!("one worker {:.2} million packets a second, two on one table {:.2}", rate(one), rate(two));
}
