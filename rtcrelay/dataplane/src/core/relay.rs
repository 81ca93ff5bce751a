//! The relay's decision about one datagram.
//!
//! `handle_public` judges what a client sent, `handle_internal` what a transceiver or another
//! relay sent. Both take the time and return a verdict; they touch nothing but the tables. The
//! ten rules are those of the architecture document; comments name them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use super::address::{Endpoint, PathKey};
use super::claims::{Claims, Proof};
use super::clusters;
use super::demux::{self, Class, Packet};
use super::events::{Event, Events, What};
use super::health::{NextHops, Patience};
use super::legs::Legs;
use super::limit::Limiter;
use super::path::{Claim, MAX_CLAIMS, Path, Standing};
use super::policy::{Destination, Policy, To};
use super::probed::Probed;
use super::questions::{Questions, Reply};
use super::snapshot;
use super::spp;
use super::stun::{self, Message};
use super::table::{Hashing, locked};
use super::time::Time;
use crate::stats::{Counters, DropReason};

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it with its SPP header to each of these.
    Forward(Hops),
    /// Send this many bytes of the answer buffer back to the client.
    Answer(usize),
    /// Send the payload behind the SPP header to a client.
    ToClient(Delivery),
    /// Send the whole datagram, unchanged, to another relay.
    Pass(Endpoint),
    /// Keep it until `Relay::release` says where it goes, or for at most 20 ms.
    Hold(From),
    /// It told the relay something and goes nowhere.
    Consumed,
    /// Count it.
    Drop(DropReason),
}

/// Up to four next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hops {
    hops: [Option<Endpoint>; MAX_CLAIMS],
}

impl Hops {
    fn one(hop: Endpoint) -> Hops {
        Hops { hops: [Some(hop), None, None, None] }
    }

    /// The places of the next hops.
    pub fn all(&self) -> [Option<Endpoint>; MAX_CLAIMS] {
        self.hops
    }

    /// The next hops.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.hops.iter().flatten()
    }
}

/// Where a returning payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The public listener that sends it, by its number in the configuration.
    pub listener: usize,
    /// The client.
    pub client: Endpoint,
    /// The address to send from, if the listener is a wildcard and the client was heard on it.
    pub local: Option<IpAddr>,
}

/// A datagram from a client.
#[derive(Clone, Copy, Debug)]
pub struct FromClient<'a> {
    /// The number of the public listener.
    pub listener: usize,
    /// The source.
    pub source: SocketAddr,
    /// The address it was sent to, if the listener is a wildcard.
    pub local: Option<IpAddr>,
    /// The payload.
    pub payload: &'a [u8],
}

/// Where a packet towards transceivers comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From {
    /// Its path.
    pub key: PathKey,
    /// The address the client sent it to, if the listener is a wildcard.
    pub local: Option<IpAddr>,
    /// Whether another relay forwarded it.
    pub is_peer: bool,
}

/// What every decision needs.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// The time.
    pub now: Time,
    /// Keys and networks.
    pub policy: &'a Policy,
    /// The worker's counters.
    pub counters: &'a Counters,
    /// The worker's events.
    pub events: &'a Events,
}

/// Sizes and rates, fixed at start.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Paths at most.
    pub max_flows: usize,
    /// A path without packets for this long ends.
    pub idle: Duration,
    /// New claims a second from one IPv4 address or IPv6 /56.
    pub claim_rate: u32,
    /// New claims at once.
    pub claim_burst: u32,
    /// Whether loss, jitter and round trip of each leg are read in passing.
    pub watch_legs: bool,
}

/// Mapped-address answers a second, and at once, for one IPv4 /24 or IPv6 /56. A full bucket and
/// what flows into it within a second make the ten that rule 6 allows.
const ANSWER_RATE: u32 = 5;
/// Source networks whose rate is remembered; 16 bytes each.
const RATE_BUCKETS: usize = 16_384;

/// The tables of a relay, shared by its workers.
pub struct Relay {
    internals: Vec<Endpoint>,
    claims: Claims,
    next_hops: NextHops,
    answers: Mutex<Limiter>,
    questions: Questions,
    probed: Probed,
    hashing: Hashing,
}

impl Relay {
    /// A relay whose listener number n has the internal address `internals[n]`.
    pub fn new(internals: Vec<Endpoint>, limits: &Limits, hashing: Hashing) -> Relay {
        Relay {
            internals,
            claims: Claims::new(limits, hashing),
            next_hops: NextHops::new(hashing),
            answers: Mutex::new(Limiter::new(ANSWER_RATE, ANSWER_RATE, RATE_BUCKETS)),
            questions: Questions::new(hashing),
            probed: Probed::new(hashing),
            hashing,
        }
    }

    /// The internal address of a listener, which goes into the SPP header as the proxy.
    pub fn internal(&self, listener: usize) -> Endpoint {
        self.internals[listener]
    }

    /// Judges a datagram from a client. An answer is written into `answer`.
    pub fn handle_public(
        &self,
        turn: Turn<'_>,
        datagram: FromClient<'_>,
        answer: &mut [u8; stun::MAX_RESPONSE],
    ) -> Verdict {
        let client = Endpoint::from(datagram.source);
        if client.is_nobody() {
            return Verdict::Drop(DropReason::Source);
        }
        let key = PathKey { client, ingress: self.internals[datagram.listener].port };
        let from = From { key, local: datagram.local, is_peer: false };
        match self.judge(turn, from, datagram.payload) {
            Ok(Judged::Hops(hops)) => Verdict::Forward(hops),
            Ok(Judged::Hold) => Verdict::Hold(from),
            Ok(Judged::AsksForItsAddress(request)) => self.answer(turn, client, &request, answer),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// Judges a datagram that came to an internal socket, SPP header in front.
    pub fn handle_internal(&self, turn: Turn<'_>, source: SocketAddr, datagram: &[u8]) -> Verdict {
        self.judge_internal(turn, source.into(), datagram).unwrap_or_else(Verdict::Drop)
    }

    fn judge_internal(&self, turn: Turn<'_>, source: Endpoint, datagram: &[u8]) -> Result<Verdict, DropReason> {
        let (header, payload) = spp::unpack(datagram).map_err(|malformed| match malformed {
            spp::Malformed::Short => DropReason::SppShort,
            spp::Malformed::Magic => DropReason::SppMagic,
        })?;
        let (client, proxy) = (Endpoint::from(header.client), Endpoint::from(header.proxy));
        if client.is_nobody() {
            return Err(DropReason::SppClient);
        }
        let key = PathKey { client, ingress: proxy.port };
        if self.internals.contains(&source) {
            return Err(DropReason::SppDirection); // nobody sends to himself: it is forged
        }
        let mine = self.internals.iter().position(|internal| *internal == proxy);
        let (from_transceiver, from_peer) =
            (turn.policy.transceivers.contains(&source), turn.policy.peers.contains(&source));
        match mine {
            Some(listener) if from_transceiver || from_peer => {
                let local = self.returning(turn, key, source, payload)?;
                if payload.is_empty() {
                    return Ok(Verdict::Consumed);
                }
                Ok(Verdict::ToClient(Delivery { listener, client, local }))
            }
            None if from_transceiver && turn.policy.peers.contains(&proxy) => {
                self.returning(turn, key, source, payload)?;
                Ok(Verdict::Pass(proxy))
            }
            None if from_peer => {
                let from = From { key, local: None, is_peer: true };
                match self.judge(turn, from, payload)? {
                    Judged::Hops(hops) => Ok(Verdict::Forward(hops)),
                    Judged::Hold => Ok(Verdict::Hold(from)),
                    Judged::AsksForItsAddress(_) => Err(DropReason::NoRoute), // its ingress answers
                }
            }
            _ => Err(DropReason::SppDirection),
        }
    }

    /// Chooses the next hops of a client's payload (rules 1, 2, 3, 5, 6).
    fn judge<'a>(&self, turn: Turn<'_>, from: From, payload: &'a [u8]) -> Result<Judged<'a>, DropReason> {
        let packet = Packet { class: demux::classify(payload)?, payload };
        if packet.class == Class::Stun {
            let message = Message::read(payload).ok_or(DropReason::MalformedStun)?;
            if message.kind() == stun::BINDING_REQUEST {
                return match message.find(stun::USERNAME) {
                    Some(username) => self.route(turn, from, username.value, packet).map(Judged::Hops),
                    None => Ok(Judged::AsksForItsAddress(message)),
                };
            }
        }
        match self.follow(turn, from, packet) {
            Err(DropReason::NoRoute) => self.ask(turn, from.key),
            other => other.map(Judged::Hops),
        }
    }

    /// Asks the route cache for a path that nobody claims (rule 5). Never broadcasts, never guesses.
    fn ask<'a>(&self, turn: Turn<'_>, key: PathKey) -> Result<Judged<'a>, DropReason> {
        if self.claims.is_killed(&key, turn.now) {
            return Err(DropReason::Killed);
        }
        let exempt = turn.policy.admission_exempt.contains(&key.client);
        match self.questions.ask(&key, exempt, turn.now) {
            Reply::Drop => return Err(DropReason::NoRoute),
            Reply::Hold => {}
            Reply::AskAndHold => {
                turn.counters.questions.add(1);
                turn.events.push(Event { what: What::Asked, key, next_hop: None, alone: false });
            }
        }
        turn.counters.held.add(1);
        Ok(Judged::Hold)
    }

    /// Where a held packet goes now; `NoRoute` while nobody has answered.
    pub fn release(&self, turn: Turn<'_>, from: From, payload: &[u8]) -> Result<Hops, DropReason> {
        self.follow(turn, from, Packet { class: demux::classify(payload)?, payload })
    }

    /// Takes an answer of the route cache. Refuses a next hop outside the policy's networks, and
    /// a path that has a confirmed claim: what packets prove beats what a cache remembers. A relay
    /// of another cluster stands for any of that cluster's.
    pub fn restore(&self, turn: Turn<'_>, key: PathKey, next_hop: SocketAddr) -> bool {
        let mut next_hop = Endpoint::from(next_hop);
        if let Some(relays) = turn.policy.clusters.beside(&next_hop) {
            let Ok((relay, _)) = self.choose(turn, &key, relays, false) else { return false };
            next_hop = relay;
        }
        let known = turn.policy.transceivers.contains(&next_hop) || turn.policy.peers.contains(&next_hop);
        known && !key.client.is_nobody() && self.claims.restore(turn, key, next_hop)
    }

    /// Ends a path; see `killed`. Says whether it was there.
    pub fn kill(&self, turn: Turn<'_>, key: PathKey) -> bool {
        self.claims.kill(turn, key)
    }

    /// The paths that had a packet within the last `within`, or all, as bytes for `load`.
    pub fn snapshot(&self, now: Time, within: Option<Duration>) -> Vec<u8> {
        let mut writer = snapshot::Writer::new(now);
        let is_recent = |path: &Path| within.is_none_or(|within| now.since(path.last_packet()) <= within);
        self.claims.paths().list(0, usize::MAX, |path, _| {
            if is_recent(path) {
                writer.push(path);
            }
        });
        writer.finish()
    }

    /// Takes over the paths of a snapshot; returns how many there was room for.
    pub fn load(&self, bytes: &[u8], now: Time) -> Result<usize, snapshot::Malformed> {
        let mut reader = snapshot::Reader::new(bytes, now)?;
        let mut taken = 0;
        while let Some(path) = reader.pull()? {
            taken += usize::from(self.claims.take_over(path, now));
        }
        Ok(taken)
    }

    /// Says whether there is a route cache to ask.
    pub fn set_route_cache(&self, there: bool) {
        self.questions.set_answered(there);
    }

    /// Routes a binding request by its ufrag, also on a known path.
    fn route(&self, turn: Turn<'_>, from: From, username: &[u8], packet: Packet<'_>) -> Result<Hops, DropReason> {
        let From { key, local, .. } = from;
        let ufrag = username.split(|byte| *byte == b':').next().unwrap_or_default();
        let Destination { to, probe, key_id } = turn.policy.resolve(ufrag)?;
        let (next_hop, hops) = match to {
            To::Transceiver(next_hop) => (next_hop, None),
            // The hop rule: what a relay forwards goes to a transceiver, so loops cannot be.
            To::Cluster(_) if from.is_peer => return Err(DropReason::SecondHop),
            To::Cluster(relays) => {
                let (relay, hops) = self.choose(turn, &key, relays, true)?;
                (relay, Some(hops))
            }
        };
        if probe {
            self.probed.note(key, local, turn.now);
            turn.counters.probes.add(1);
        } else {
            let ufrag = self.ufrag_hash(ufrag);
            let claim = Claim::without_ufrag(next_hop, Standing::Pending, turn.now);
            let claim = Claim { ufrag, key_id: Some(key_id), local, ..claim };
            self.claims.open(turn, key, claim, |path, legs| note_from_client((path, legs), turn.now, local, packet))?;
            turn.counters.routed_by_ufrag.add(1);
        }
        match hops {
            Some(hops) => Ok(hops),
            None if self.next_hops.sending(&next_hop, true, Patience::LONG, turn.now) => Ok(Hops::one(next_hop)),
            None => Err(DropReason::NextHopDead),
        }
    }

    /// Chooses a relay of a cluster for a packet, and counts the packet as sent: the first live
    /// one in the client's order; if none is, the first whose silence proves nothing yet, for one
    /// that stood in for another may not have known the path. A request goes to dead ones as well,
    /// at the rate of `NextHops`, so that they revive: returns the choice, and all it goes to.
    fn choose(
        &self,
        turn: Turn<'_>,
        key: &PathKey,
        relays: &[Endpoint],
        is_request: bool,
    ) -> Result<(Endpoint, Hops), DropReason> {
        let patience = Patience::with_one_of(relays.len());
        let (mut chosen, mut dead) = (None, [None; MAX_CLAIMS]);
        for relay in clusters::preferred(relays, &key.client) {
            if self.next_hops.is_alive(relay, patience, turn.now) {
                chosen = Some(*relay);
                break;
            }
            if chosen.is_none() && self.next_hops.is_alive(relay, Patience::LONG, turn.now) {
                chosen = Some(*relay);
            } else if let Some(place) = dead.iter_mut().find(|place| place.is_none())
                && is_request
                && self.next_hops.sending(relay, true, patience, turn.now)
            {
                *place = Some(*relay);
            }
        }
        if let Some(chosen) = chosen {
            self.next_hops.sending(&chosen, is_request, patience, turn.now);
            dead.rotate_right(1);
            dead[0] = Some(chosen);
        }
        dead[0].map(|first| (first, Hops { hops: dead })).ok_or(DropReason::ClusterDown)
    }

    /// Sends any other packet to every confirmed claim of its path that the policy still allows.
    fn follow(&self, turn: Turn<'_>, from: From, packet: Packet<'_>) -> Result<Hops, DropReason> {
        let mut result = Err(DropReason::NoRoute);
        self.claims.with_path(&from.key, |path, legs| {
            path.expire_claims(turn.now);
            let mut hops = [None; MAX_CLAIMS];
            for (at, claim) in path.confirmed().enumerate() {
                match self.next_hop(turn, &from, &claim) {
                    // One relay may stand in for another that has a claim beside its own.
                    Ok(next_hop) if hops.contains(&Some(next_hop)) => {}
                    Ok(next_hop) => hops[at] = Some(next_hop),
                    Err(reason) => result = Err(reason),
                }
            }
            let copies = hops.iter().flatten().count() as u64;
            if copies > 0 {
                note_from_client((path, legs), turn.now, from.local, packet);
                turn.counters.routed_by_path.add(1);
                turn.counters.fan_out.add(copies - 1);
                result = Ok(Hops { hops });
            }
        });
        result
    }

    /// Where a claim's packets go: to its next hop, if the policy still allows that; if that is a
    /// dead relay of another cluster, to one that lives.
    fn next_hop(&self, turn: Turn<'_>, from: &From, claim: &Claim) -> Result<Endpoint, DropReason> {
        let Turn { policy, now, .. } = turn;
        let mut relays = None;
        if !policy.transceivers.contains(&claim.next_hop) {
            if from.is_peer {
                return Err(DropReason::SecondHop);
            }
            if !policy.peers.contains(&claim.next_hop) {
                return Err(DropReason::EndpointForbidden);
            }
            relays = policy.clusters.beside(&claim.next_hop);
        }
        if claim.key_id.is_some_and(|id| policy.ring.is_revoked(id)) {
            return Err(DropReason::UfragRevokedKey);
        }
        let patience = Patience::with_one_of(relays.map_or(1, <[_]>::len));
        if self.next_hops.sending(&claim.next_hop, false, patience, now) {
            return Ok(claim.next_hop);
        }
        let (relay, _) = self.choose(turn, &from.key, relays.ok_or(DropReason::NextHopDead)?, false)?;
        Ok(relay)
    }

    /// Learns from a packet on its way to a client (rules 3 and 4); returns the address that the
    /// client sent to, where a wildcard listener has seen it.
    fn returning(
        &self,
        turn: Turn<'_>,
        key: PathKey,
        source: Endpoint,
        payload: &[u8],
    ) -> Result<Option<IpAddr>, DropReason> {
        let (proof, packet) = if payload.is_empty() {
            turn.counters.announces.add(1);
            (Proof::Strong, None)
        } else {
            let packet = Packet { class: demux::classify(payload)?, payload };
            (proof_of(packet)?, Some(packet))
        };
        self.next_hops.returned(&source, turn.now);
        let local = self.claims.confirm(turn, key, source, proof, packet)?;
        Ok(local.or_else(|| self.probed.local(&key, turn.now)))
    }

    /// Answers a binding request without USERNAME (rule 6).
    fn answer(
        &self,
        turn: Turn<'_>,
        client: Endpoint,
        request: &Message<'_>,
        answer: &mut [u8; stun::MAX_RESPONSE],
    ) -> Verdict {
        if turn.policy.draining {
            return Verdict::Drop(DropReason::Draining);
        }
        if request.fingerprint_is_right() == Some(false) {
            return Verdict::Drop(DropReason::StunFingerprint);
        }
        let network = self.hashing.of(&client.prefix(24));
        if !locked(&self.answers).admit(network, turn.now) {
            return Verdict::Drop(DropReason::StunRateLimited);
        }
        turn.counters.stun_answered.add(1);
        Verdict::Answer(stun::write_binding_success(request, client.into(), answer))
    }

    /// Notes an ICMP error about an internal destination.
    pub fn icmp_error(&self, next_hop: SocketAddr, now: Time) {
        self.next_hops.icmp_error(&next_hop.into(), now);
    }

    /// Expires a bounded piece of the tables; `round` counts the calls.
    pub fn sweep(&self, round: usize, now: Time) {
        self.claims.sweep(round, now);
        self.questions.sweep(round, now);
        self.next_hops.sweep(round, now);
        self.probed.sweep(round, now);
    }

    /// Shows a path, if it is there.
    pub fn with_path(&self, key: &PathKey, show: impl FnOnce(&Path)) {
        self.claims.with_path(key, |path, _| show(path));
    }

    /// What claims know a ufrag by.
    pub fn ufrag_hash(&self, ufrag: &[u8]) -> u64 {
        self.hashing.of(ufrag).max(1)
    }

    /// Paths in the table.
    pub fn flow_count(&self) -> usize {
        self.claims.paths().len()
    }

    /// Next hops whose health is known.
    pub fn next_hop_count(&self) -> usize {
        self.next_hops.count()
    }

    /// Shows one path, if it is there.
    pub fn flow(&self, key: &PathKey, show: impl FnOnce(&Path, Option<&Legs>)) {
        self.claims.with_path(key, |path, legs| show(path, legs.as_deref()));
    }

    /// Shows up to `limit` paths from a cursor on; returns the next cursor, 0 at the end.
    pub fn flows(&self, cursor: u64, limit: usize, show: impl FnMut(&Path, Option<&Legs>)) -> u64 {
        self.claims.paths().list(cursor, limit, show)
    }
}

enum Judged<'a> {
    Hops(Hops),
    Hold,
    AsksForItsAddress(Message<'a>),
}

/// What a packet of a transceiver says about its session.
fn proof_of(packet: Packet<'_>) -> Result<Proof, DropReason> {
    if packet.class != Class::Stun {
        return Ok(Proof::Strong);
    }
    match Message::read(packet.payload).ok_or(DropReason::MalformedStun)?.kind() {
        stun::BINDING_SUCCESS => Ok(Proof::Weak),
        _ => Ok(Proof::None),
    }
}

/// A check that is accepted decides where answers come from (`Path::prove`); until one was, any
/// packet's address is better than none.
fn note_from_client(
    (path, legs): (&mut Path, Option<&mut Legs>),
    now: Time,
    local: Option<IpAddr>,
    packet: Packet<'_>,
) {
    path.note_from_client(legs, packet, now);
    if path.local().is_none() {
        path.set_local(local);
    }
}
