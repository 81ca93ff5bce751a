//! What the second tier costs: `cargo bench --bench tiers`.
//!
//! A client's packets go by one relay to the transceiver, or by an ingress relay and a relay of
//! the cluster, and back the same way; in turns. The figure is the CPU time of all relays' threads
//! per packet and way, so with two tiers it is that of two relays. See `loopback`.

#[path = "loopback/mod.rs"]
mod loopback;

use std::time::Duration;

use _dataplane::core::address::Networks;
use _dataplane::core::clusters::Clusters;
use _dataplane::core::policy::Policy;
use loopback::{Echo, ROUNDS, WORKER, clients, found, measure, median, relay, with_relay};

fn main() {
    println!("{:>6} {:>6}  {:>12} {:>12} {:>7}", "flows", "burst", "two tiers ns", "one tier ns", "ratio");
    for (flows, burst) in [(1, 1), (1000, 8), (1000, 64)] {
        let (mut ratios, mut twos, mut ones) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (two, one) = (with_two_tiers(flows, burst), with_relay(flows, burst, true));
            ratios.push(two / one);
            twos.push(two);
            ones.push(one);
        }
        println!(
            "{flows:>6} {burst:>6}  {:>12.0} {:>12.0} {:>7.2}",
            median(&mut twos),
            median(&mut ones),
            median(&mut ratios)
        );
    }
}

fn with_two_tiers(flows: usize, burst: usize) -> f64 {
    let echo = Echo::start();
    let transceiver = echo.socket.local_addr().expect("bound");
    let networks = |texts: &[String]| Networks::parse(texts).expect("networks");
    let exactly = |address: &std::net::SocketAddr| networks(&[address.to_string()]);
    // Who is whose peer is known once both have their ports.
    let (ingress, cluster) = (relay(Policy::default(), true), relay(Policy::default(), true));
    let ((vip, inner), (_, outer)) = (ingress.listeners()[0], cluster.listeners()[0]);
    let clusters = Clusters::new([(7, vec![outer.into()])].into()).expect("one cluster");
    ingress.reload(Policy { peers: exactly(&outer), clusters, ..Policy::default() }.into());
    let transceivers = exactly(&transceiver);
    cluster.reload(Policy { cluster: Some(7), transceivers, peers: exactly(&inner), ..Policy::default() }.into());
    let clients = clients(flows, vip);
    found(&echo, &clients, inner, outer);
    while ingress.relay().flow_count() < flows || cluster.relay().flow_count() < flows {
        std::thread::sleep(Duration::from_millis(1));
    }
    measure(WORKER, &clients, burst)
}
