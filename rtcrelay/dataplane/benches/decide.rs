//! What one decision costs, without sockets: `cargo bench --bench decide`.
//!
//! A forwarded packet costs the kernel about two microseconds; the decision should be lost in that.

#[path = "../tests/scene/mod.rs"]
mod scene;

use std::hint::black_box;
use std::time::Duration;

use _dataplane::core::relay::{FromClient, Limits};
use _dataplane::core::stun::MAX_RESPONSE;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use scene::*;

/// A relay with this many connected clients, and their addresses in an order unlike the table's.
fn connected(flows: usize) -> (Scene, Vec<String>) {
    let scene = Scene::with(Limits {
        max_flows: 2 * flows,
        idle: Duration::from_secs(60),
        claim_rate: 1_000_000,
        claim_burst: 1_000_000,
        watch_legs: true,
    });
    let clients: Vec<String> = (0..flows)
        .map(|n| format!("198.{}.{}.{}:{}", 18 + n % 2, n / 2 % 250, n / 500 % 250 + 1, 1024 + n % 60_000))
        .collect();
    for (n, client) in clients.iter().enumerate() {
        scene.public(client, &check(&scene.ufrag_with(T1, n as u32)));
        scene.internal(T1, client, INTERNAL, &dtls());
    }
    (scene, clients)
}

fn decide(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    for flows in [1_000, 100_000] {
        let (scene, clients) = connected(flows);
        let mut answer = [0; MAX_RESPONSE];
        let sources: Vec<_> = clients.iter().map(|client| address(client)).collect();
        let returning: Vec<_> = clients.iter().map(|client| with_header(client, INTERNAL, &rtp())).collect();
        let (media, request) = (rtp(), check(&scene.ufrag(T1)));
        let mut at = 0;
        let mut next = move || {
            at = (at + 7919) % flows; // a prime: every flow in turn, none beside the last
            at
        };
        let mut public = |source, payload: &[u8]| {
            let datagram = FromClient { listener: 0, source, local: None, payload };
            scene.relay.handle_public(scene.turn(), black_box(datagram), &mut answer)
        };
        group.bench_function(format!("media in, {flows} flows"), |b| b.iter(|| public(sources[next()], &media)));
        group.bench_function(format!("check in, {flows} flows"), |b| b.iter(|| public(sources[next()], &request)));
        let transceiver = address(T1);
        group.bench_function(format!("media out, {flows} flows"), |b| {
            b.iter(|| scene.relay.handle_internal(scene.turn(), transceiver, black_box(&returning[next()])));
        });
        group.bench_function(format!("junk in, {flows} flows"), |b| b.iter(|| public(sources[next()], &[4; 160])));
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
