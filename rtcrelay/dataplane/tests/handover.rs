//! The path table survives its process: snapshot and load.

mod scene;

use std::time::Duration;

use _dataplane::core::relay::Verdict;
use _dataplane::core::snapshot::Malformed;
use _dataplane::core::time::Time;
use proptest::prelude::*;
use scene::*;

/// A relay with a weak, a strong, a pending and a learned claim, and one path with two claims.
fn lived_in() -> Scene {
    let mut scene = Scene::new();
    scene.connect("198.51.100.1:4000", T1);
    scene.pass(1000);
    scene.connect("[2001:db8::5]:4000", T1);
    scene.internal(T1, "[2001:db8::5]:4000", INTERNAL, &dtls());
    scene.public("198.51.100.3:4000", &check(&scene.ufrag(T1)));
    scene.internal(T2, "198.51.100.4:4000", INTERNAL, b"");
    scene.connect(CLIENT, T1);
    scene.connect(CLIENT, T2);
    scene.pass(1000);
    scene
}

fn all_paths(scene: &Scene) -> Vec<String> {
    let mut paths = Vec::new();
    scene.relay.flows(0, 1000, |path, _| {
        let mut claims: Vec<_> =
            path.claims().map(|c| (c.next_hop.bytes(), c.standing, scene.now.since(c.since), c.key_id)).collect();
        claims.sort();
        let ages = (scene.now.since(path.first_seen()), scene.now.since(path.last_packet()));
        let counts = (path.packets_in, path.bytes_in, path.packets_out, path.bytes_out);
        paths.push(format!("{:?} {ages:?} {counts:?} {:?} {claims:?}", path.key, path.local()));
    });
    paths.sort();
    paths
}

#[test]
fn a_loaded_snapshot_is_the_table_it_was_taken_of() {
    let old = lived_in();
    let mut new = Scene::new();
    new.now = Time(77_000_000); // another process, another clock
    assert_eq!(new.relay.load(&old.relay.snapshot(old.now, None), new.now), Ok(5));
    assert_eq!(all_paths(&new), all_paths(&old));
    assert_eq!(to(&new.public("198.51.100.1:4000", &rtp())), [T1]);
    assert_eq!(to(&new.public(CLIENT, &rtp())), [T1, T2]);
}

#[test]
fn a_second_snapshot_holds_only_what_changed_and_replaces_it() {
    let mut old = lived_in();
    let mut new = Scene::new();
    new.now = Time(77_000_000);
    new.relay.load(&old.relay.snapshot(old.now, None), new.now).expect("a snapshot");
    old.pass(500);
    new.pass(500);
    old.public("198.51.100.1:4000", &rtp());
    old.connect("198.51.100.9:4000", T2);
    let changes = old.relay.snapshot(old.now, Some(Duration::from_millis(400)));
    assert_eq!(new.relay.load(&changes, new.now), Ok(2));
    assert_eq!(all_paths(&new), all_paths(&old));
}

#[test]
fn a_claim_taken_over_belongs_to_its_ufrag_again_after_the_next_check() {
    let old = lived_in();
    let mut new = Scene::new();
    new.relay.load(&old.relay.snapshot(old.now, None), new.now).expect("a snapshot");
    for last in 20..=35 {
        new.connect(&format!("198.51.100.{last}:4000"), T1);
        new.pass(10);
    }
    new.connect("198.51.100.1:4000", T1);
    assert!(matches!(new.public("198.51.100.20:4000", &rtp()), Verdict::Drop(_)), "the seventeenth path displaced it");
}

#[test]
fn a_snapshot_of_another_version_or_cut_short_is_refused() {
    let old = lived_in();
    let snapshot = old.relay.snapshot(old.now, None);
    let load = |bytes: &[u8]| Scene::new().relay.load(bytes, Time(9));
    assert_eq!(load(b""), Err(Malformed::Name));
    assert_eq!(load(b"rtcrelay snapshot 2\n"), Err(Malformed::Name));
    assert_eq!(load(&snapshot[..20]), Ok(0));
    assert_eq!(load(&snapshot[..snapshot.len() - 1]), Err(Malformed::Path));
    assert_eq!(load(&snapshot[..21]), Err(Malformed::Path));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_bytes_behind_the_name_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let scene = Scene::new();
        let _ = scene.relay.load(&[&b"rtcrelay snapshot 1\n"[..], &bytes].concat(), scene.now);
        scene.public(CLIENT, &rtp());
    }
}
