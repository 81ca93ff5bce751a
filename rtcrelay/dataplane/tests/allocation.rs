//! After start-up the core allocates nothing: not for new paths, nor for known ones, nor for drops. The
//! one exception is a path that a second next hop claims.

mod scene;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use _dataplane::core::relay::Limits;
use scene::*;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn no_packet_allocates() {
    let mut scene = Scene::with(Limits {
        max_flows: 4096,
        idle: Duration::from_secs(60),
        claim_rate: 1_000_000,
        claim_burst: 1_000_000,
        watch_legs: true,
    });
    let clients: Vec<String> = (0..20_000).map(|n| format!("198.51.{}.{}:4000", n / 200, n % 200 + 1)).collect();
    let packets = [check(&scene.ufrag(T1)), rtp(), dtls(), message(1, &[]), vec![9; 30]];
    let returning: Vec<Vec<u8>> = clients
        .iter()
        .flat_map(|client| [success(), rtp(), vec![]].map(|payload| with_header(client, INTERNAL, &payload)))
        .collect();
    let sources: Vec<_> = clients.iter().map(|client| address(client)).collect();
    let transceiver = address(T1);
    let mut answer = [0; _dataplane::core::stun::MAX_RESPONSE];
    assert!(allocations(|| drop(vec![0u8; 10])) > 0, "the counter counts");
    for round in 0..5 {
        // Tables fill, overflow, expire and fill again: their index must not grow for it.
        let count = allocations(|| {
            for (at, source) in sources.iter().enumerate() {
                for payload in &packets {
                    let datagram =
                        _dataplane::core::relay::FromClient { listener: 0, source: *source, local: None, payload };
                    scene.relay.handle_public(scene.turn(), datagram, &mut answer);
                }
                for datagram in &returning[3 * at..3 * at + 3] {
                    scene.relay.handle_internal(scene.turn(), transceiver, datagram);
                }
            }
            scene.relay.sweep(round, scene.now);
        });
        assert_eq!(count, 0, "round {round}");
        scene.pass(61_000);
    }
}

#[test]
fn only_a_second_claim_of_a_path_allocates_and_only_when_it_comes() {
    let scene = Scene::new();
    scene.connect(CLIENT, T1);
    let (second, media) = (check(&scene.ufrag(T2)), rtp());
    let returning = [success(), rtp(), vec![]].map(|payload| with_header(CLIENT, INTERNAL, &payload));
    let (client, transceivers) = (address(CLIENT), [address(T1), address(T2)]);
    let public = |payload: &[u8]| {
        let datagram = _dataplane::core::relay::FromClient { listener: 0, source: client, local: None, payload };
        scene.relay.handle_public(scene.turn(), datagram, &mut [0; _dataplane::core::stun::MAX_RESPONSE]);
    };
    assert_eq!(allocations(|| public(&second)), 1, "few paths have a second claim");
    let later = allocations(|| {
        for _ in 0..100 {
            public(&second);
            public(&media);
            for transceiver in transceivers {
                for datagram in &returning {
                    scene.relay.handle_internal(scene.turn(), transceiver, datagram);
                }
            }
        }
    });
    assert_eq!(later, 0);
    assert_eq!(scene.counter("claims_confirmed"), 2, "both are there");
}
