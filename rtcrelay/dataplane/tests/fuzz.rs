//! The fuzz targets with any compiler, for a fixed time each: seeds and what comes of changing them.
//!
//! `RTCRELAY_FUZZ_SECONDS=60` runs each for longer. Guided by coverage: `fuzz/README.md`.

#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn run(name: &str, target: fn(&[u8]), seeds: &[Vec<u8>]) {
    let seconds = std::env::var("RTCRELAY_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut runner = TestRunner::default();
    let anything = prop::collection::vec(any::<u8>(), 0..600);
    let changed = (prop::sample::select(seeds.to_vec()), prop::collection::vec((any::<u16>(), any::<u8>()), 0..6));
    let changed = (changed, -40..40i32).prop_map(|((mut bytes, changes), more)| {
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = usize::from(at) % bytes.len();
                bytes[at] = value;
            }
        }
        bytes.resize(bytes.len().saturating_add_signed(more as isize), 0);
        bytes
    });
    let bytes = prop_oneof![anything, changed];
    let mut tried = 0;
    while Instant::now() < end {
        let input = bytes.new_tree(&mut runner).expect("bytes").current();
        if std::panic::catch_unwind(|| target(&input)).is_err() {
            panic!("{name} fails with {input:02x?}");
        }
        tried += 1;
    }
    assert!(tried > 100, "{name}: only {tried} inputs");
}

#[test]
fn any_bytes_are_a_stun_message_or_not() {
    let request = targets::scene::check("abcdefgh");
    run("stun", targets::stun, &[request, targets::scene::success(), targets::scene::message(1, &[(0x8028, &[0; 4])])]);
}

#[test]
fn any_bytes_are_a_ufrag_or_not() {
    run("ufrag", targets::ufrag, &[b"abcdefghijklmnopqrstuvwxyz2".to_vec(), vec![0; 16]]);
}

#[test]
fn any_bytes_are_an_spp_datagram_or_not() {
    let header = targets::scene::with_header(targets::scene::CLIENT, targets::scene::INTERNAL, b"payload");
    run("spp", targets::spp, &[header]);
}

#[test]
fn any_packets_give_verdicts_that_keep_the_rules() {
    let steps = [[0u8, 0, 0, 0], [0x81, 0x20, 1, 0], [0, 0, 2, 0], [0x81, 0x20, 3, 0], [0x83, 0x28, 2, 0]].concat();
    run("handle", targets::handle, &[steps.clone(), steps.repeat(6)]);
}

#[test]
fn any_datagrams_are_grouped_in_order_and_any_buffer_is_cut_whole() {
    run("groups", targets::groups, &[[7u8; 200].to_vec(), (0..=255).collect()]);
}

#[test]
fn the_table_holds_what_a_simple_map_holds() {
    run("table", targets::table, &[vec![0; 300], (0..=255).cycle().take(900).collect()]);
}
