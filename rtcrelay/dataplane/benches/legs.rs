//! What watching the legs costs: `cargo bench --bench legs`.
//!
//! The same relay with and without `watch_legs`, in turns; what passes is RTP, for that is watched
//! most. See `loopback` for the figure.

#[path = "loopback/mod.rs"]
mod loopback;

use loopback::{ROUNDS, median, with_relay};

fn main() {
    println!("{:>6} {:>6}  {:>12} {:>12} {:>7}", "flows", "burst", "watched ns", "not ns", "ratio");
    for (flows, burst) in [(1, 1), (1000, 8), (1000, 64)] {
        let (mut ratios, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..2 * ROUNDS {
            // In turns also who is first: a machine that warms up favours neither.
            let (watched, not) = if round % 2 == 0 {
                let watched = with_relay(flows, burst, true);
                (watched, with_relay(flows, burst, false))
            } else {
                let not = with_relay(flows, burst, false);
                (with_relay(flows, burst, true), not)
            };
            ratios.push(watched / not);
            with.push(watched);
            without.push(not);
        }
        println!(
            "{flows:>6} {burst:>6}  {:>12.0} {:>12.0} {:>7.3}",
            median(&mut with),
            median(&mut without),
            median(&mut ratios)
        );
    }
}
