//! Claims against a simple model: any order of checks, answers, sessions, announces and silences
//! gives the next hops that rule 3 says, and nothing else.

mod scene;

use std::collections::BTreeMap;

use _dataplane::core::relay::Verdict;
use _dataplane::stats::DropReason;
use proptest::prelude::*;
use scene::*;

const CLIENTS: [&str; 3] = ["198.51.100.1:4000", "198.51.100.1:4001", "[2001:db8::1]:4000"];
const TRANSCEIVERS: [&str; 3] = [T1, T2, "10.0.3.3:7000"];
/// More packets to a next hop than this without one back, and it may count as dead.
const UNANSWERED: usize = 20;

#[derive(Clone, Copy, Debug)]
enum Step {
    Check(usize, usize),
    Success(usize, usize),
    Session(usize, usize),
    Announce(usize, usize),
    Media(usize),
    Silence(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..CLIENTS.len(), 0..TRANSCEIVERS.len());
    prop_oneof![
        3 => pair().prop_map(|(c, t)| Step::Check(c, t)),
        3 => pair().prop_map(|(c, t)| Step::Success(c, t)),
        2 => pair().prop_map(|(c, t)| Step::Session(c, t)),
        1 => pair().prop_map(|(c, t)| Step::Announce(c, t)),
        3 => (0..CLIENTS.len()).prop_map(Step::Media),
        2 => prop_oneof![1..50u64, 1000..25_000u64].prop_map(Step::Silence),
        1 => Just(Step::Sweep),
    ]
}

/// When each claim was opened (pending) or last confirmed, in milliseconds.
#[derive(Default)]
struct Model {
    now: u64,
    pending: BTreeMap<(usize, usize), u64>,
    confirmed: BTreeMap<(usize, usize), u64>,
}

impl Model {
    fn expire(&mut self) {
        let now = self.now;
        self.pending.retain(|_, opened| now - *opened < 10_000);
        self.confirmed.retain(|_, at| now - *at < 20_000);
    }

    fn check(&mut self, pair: (usize, usize)) {
        if !self.confirmed.contains_key(&pair) {
            self.pending.entry(pair).or_insert(self.now);
        }
    }

    fn answer(&mut self, pair: (usize, usize), founds: bool) {
        let is_first = !self.confirmed.keys().any(|(client, _)| *client == pair.0);
        if self.confirmed.contains_key(&pair) || self.pending.remove(&pair).is_some() || (founds && is_first) {
            self.confirmed.insert(pair, self.now);
        }
    }

    fn next_hops(&self, client: usize) -> Vec<String> {
        let of = self.confirmed.keys().filter(|(holder, _)| *holder == client);
        of.map(|(_, transceiver)| TRANSCEIVERS[*transceiver].to_string()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn next_hops_are_those_of_the_model(steps in prop::collection::vec(step(), 1..150)) {
        let mut scene = Scene::new();
        let mut model = Model::default();
        let mut unanswered = [0; TRANSCEIVERS.len()];
        for step in steps {
            model.expire();
            match step {
                Step::Check(c, t) if unanswered[t] < UNANSWERED => {
                    unanswered[t] += 1;
                    prop_assert_eq!(to(&scene.public(CLIENTS[c], &check(&scene.ufrag(TRANSCEIVERS[t])))), [TRANSCEIVERS[t]]);
                    model.check((c, t));
                }
                Step::Success(c, t) | Step::Session(c, t) | Step::Announce(c, t) => {
                    unanswered[t] = 0;
                    let payload = match step {
                        Step::Success(..) => success(),
                        Step::Session(..) => dtls(),
                        _ => Vec::new(),
                    };
                    let verdict = scene.internal(TRANSCEIVERS[t], CLIENTS[c], INTERNAL, &payload);
                    prop_assert_eq!(verdict == Verdict::Consumed, payload.is_empty());
                    model.answer((c, t), !matches!(step, Step::Success(..)));
                }
                Step::Media(c) if unanswered.iter().all(|count| *count < UNANSWERED) => {
                    let expected = model.next_hops(c);
                    match scene.public(CLIENTS[c], &rtp()) {
                        Verdict::Drop(reason) => prop_assert_eq!((reason, expected.len()), (DropReason::NoRoute, 0)),
                        forwarded => {
                            let mut hops = to(&forwarded);
                            hops.sort();
                            prop_assert_eq!(hops, expected);
                        }
                    }
                    for (_, t) in model.confirmed.keys().filter(|(holder, _)| *holder == c) {
                        unanswered[*t] += 1;
                    }
                }
                Step::Silence(millis) => {
                    scene.pass(millis);
                    model.now += millis;
                }
                Step::Sweep => scene.relay.sweep(0, scene.now),
                Step::Check(..) | Step::Media(_) => {}
            }
        }
    }
}
