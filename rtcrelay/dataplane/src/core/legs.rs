//! Loss, jitter and round trip of each leg, read in passing.
//!
//! Sequence number, timestamp and SSRC of an SRTP packet are in the clear, and so are the
//! transaction of a STUN check and the first flights of DTLS. What they cannot tell is unknown
//! here, never guessed.

use std::time::Duration;

use super::demux::Class;
use super::stun::{self, Message};
use super::time::Time;

/// A sequence number further ahead is a new start (MAX_DROPOUT of RFC 3550 appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// A number less far behind is a late packet (MAX_MISORDER).
const MAX_MISORDER: u16 = 100;
/// Another SSRC takes the stream's place once it was silent for this long.
const SUCCESSION: Duration = Duration::from_secs(1);
/// How long timestamps are compared with the clock before their rate is believed.
const CLOCK_WATCH: Duration = Duration::from_secs(2);
/// The rates that audio and video use (RFC 3551, 7587).
const CLOCK_RATES: [u32; 5] = [8_000, 16_000, 24_000, 48_000, 90_000];

/// What one direction's packets looked like when they reached the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    ssrc: Option<u32>,
    /// Extended sequence numbers: the one before the first, and the highest.
    base: u64,
    highest: u64,
    received: u64,
    /// Expected and received of earlier sources and before restarts.
    expected_before: u64,
    received_before: u64,
    reordered: u64,
    last_at: Time,
    /// When and with which timestamp the stream began.
    began: (Time, u32),
    clock_rate: Option<u32>,
    /// Arrival minus timestamp of the last packet, in the clock's units.
    transit: u32,
    /// Sixteen times the jitter, in the clock's units (RFC 3550 appendix A.8).
    jitter_x16: u64,
    has_transit: bool,
}

impl Stream {
    /// Takes note of an RTP packet; `classify` said it is one.
    pub fn observe(&mut self, packet: &[u8], now: Time) {
        let Some(header) = packet.first_chunk::<12>() else { return };
        let sequence = u16::from_be_bytes([header[2], header[3]]);
        let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        if self.ssrc != Some(ssrc) {
            if self.ssrc.is_some() && now.since(self.last_at) < SUCCESSION {
                return; // a second source beside the first: only one is watched
            }
            self.restart(ssrc, sequence, timestamp, now);
            return;
        }
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead == 0 {
            return; // a copy
        }
        if ahead < MAX_DROPOUT {
            self.highest += u64::from(ahead);
        } else if ahead > u16::MAX - MAX_MISORDER {
            self.reordered += 1;
        } else {
            self.restart(ssrc, sequence, timestamp, now);
            return;
        }
        self.received += 1;
        self.last_at = now;
        if ahead < MAX_DROPOUT {
            self.time(timestamp, now);
        }
    }

    fn restart(&mut self, ssrc: u32, sequence: u16, timestamp: u32, now: Time) {
        let expected_before = self.expected();
        let received_before = self.received();
        *self = Stream {
            ssrc: Some(ssrc),
            base: u64::from(sequence) + (1 << 16) - 1,
            highest: u64::from(sequence) + (1 << 16),
            received: 1,
            expected_before,
            received_before,
            reordered: self.reordered,
            last_at: now,
            began: (now, timestamp),
            ..Stream::default()
        };
    }

    fn time(&mut self, timestamp: u32, now: Time) {
        let watched = now.since(self.began.0);
        let Some(rate) = self.clock_rate else {
            if watched >= CLOCK_WATCH {
                self.clock_rate = recognise(timestamp.wrapping_sub(self.began.1), watched);
                if self.clock_rate.is_none() {
                    self.began = (now, timestamp);
                }
            }
            return;
        };
        let arrival = (u128::from(now.0) * u128::from(rate) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if self.has_transit {
            let change = u64::from((transit.wrapping_sub(self.transit) as i32).unsigned_abs());
            self.jitter_x16 = self.jitter_x16 + change - (self.jitter_x16 + 8) / 16;
        }
        (self.transit, self.has_transit) = (transit, true);
    }

    fn expected(&self) -> u64 {
        self.expected_before + self.highest - self.base
    }

    fn received(&self) -> u64 {
        self.received_before + self.received
    }

    /// Packets that came, copies not counted, and packets that should have.
    pub fn packets(&self) -> (u64, u64) {
        (self.received(), self.expected())
    }

    /// Packets that came after a later one.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// The interarrival jitter; unknown until the clock's rate is.
    pub fn jitter(&self) -> Option<Duration> {
        let rate = u64::from(self.clock_rate.filter(|_| self.has_transit)?);
        Some(Duration::from_micros(self.jitter_x16 * 1_000_000 / rate / 16))
    }
}

/// The usual rate within 5 % of what was seen.
fn recognise(ticks: u32, during: Duration) -> Option<u32> {
    let seen = f64::from(ticks) / during.as_secs_f64();
    CLOCK_RATES.into_iter().find(|rate| (seen / f64::from(*rate) - 1.0).abs() < 0.05)
}

/// A question that passed, waiting for its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    /// The transaction, or 0 for none.
    tag: u64,
    at: Time,
    /// It passed twice, so the answer may be to either.
    repeated: bool,
}

impl Asked {
    fn ask(&mut self, tag: u64, now: Time) {
        if self.tag == tag {
            self.repeated = true;
        } else {
            *self = Asked { tag, at: now, repeated: false };
        }
    }

    fn answer(&mut self, tag: u64, now: Time) -> Option<Duration> {
        let known = self.tag == tag && !self.repeated;
        let took = now.since(self.at);
        if self.tag == tag {
            *self = Asked::default();
        }
        known.then_some(took)
    }
}

/// What a relay knows of a path's two legs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legs {
    /// From the client, as it reached the relay.
    pub from_client: Stream,
    /// From the transceiver, as it reached the relay.
    pub to_client: Stream,
    /// The last round trip relay - transceiver - relay, from a check and its answer.
    pub transceiver_round_trip: Option<Duration>,
    /// The last round trip relay - client - relay, from a check of the transceiver's or the last
    /// flights of the DTLS handshake. It includes the client's own time.
    pub client_round_trip: Option<Duration>,
    check: Asked,
    validation: Asked,
    finished: Asked,
}

/// Stands for a DTLS flight among the transactions.
const FINISHED: u64 = 1;
/// The content type of ChangeCipherSpec, with which both sides' last flights begin or go on.
const CHANGE_CIPHER_SPEC: u8 = 20;

impl Legs {
    /// Takes note of a packet on its way from the client.
    pub fn from_client(&mut self, class: Class, payload: &[u8], now: Time) {
        match class {
            Class::Rtp => self.from_client.observe(payload, now),
            Class::Stun => match transaction(payload) {
                Some((stun::BINDING_REQUEST, tag)) => self.check.ask(tag, now),
                Some((stun::BINDING_SUCCESS, tag)) => {
                    self.client_round_trip = self.validation.answer(tag, now).or(self.client_round_trip);
                }
                _ => {}
            },
            Class::Dtls if holds_change_cipher_spec(payload) => {
                self.client_round_trip = self.finished.answer(FINISHED, now).or(self.client_round_trip);
            }
            Class::Dtls | Class::Rtcp => {}
        }
    }

    /// Takes note of a packet on its way to the client.
    pub fn to_client(&mut self, class: Class, payload: &[u8], now: Time) {
        match class {
            Class::Rtp => self.to_client.observe(payload, now),
            Class::Stun => match transaction(payload) {
                Some((stun::BINDING_REQUEST, tag)) => self.validation.ask(tag, now),
                Some((stun::BINDING_SUCCESS, tag)) => {
                    self.transceiver_round_trip = self.check.answer(tag, now).or(self.transceiver_round_trip);
                }
                _ => {}
            },
            Class::Dtls if holds_change_cipher_spec(payload) => self.finished.ask(FINISHED, now),
            Class::Dtls | Class::Rtcp => {}
        }
    }
}

/// Kind and transaction of a STUN message; the last eight random bytes identify it.
fn transaction(payload: &[u8]) -> Option<(u16, u64)> {
    let message = Message::read(payload)?;
    let tag = message.transaction().last_chunk::<8>()?;
    Some((message.kind(), u64::from_be_bytes(*tag).max(2)))
}

/// Whether a record of a datagram is a ChangeCipherSpec of epoch 0.
fn holds_change_cipher_spec(mut payload: &[u8]) -> bool {
    while let Some((header, rest)) = payload.split_first_chunk::<13>() {
        if header[0] == CHANGE_CIPHER_SPEC {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        payload = rest.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(sequence: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 111];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0; 40]);
        packet
    }

    fn at(millis: f64) -> Time {
        Time(1_000_000 + (millis * 1000.0) as u64)
    }

    /// 20 ms packets 0 to `count`, each at the time `arrival` says, none lost unless it says none.
    fn stream(count: u64, start: u16, rate: u32, arrival: impl Fn(u64) -> Option<f64>) -> Stream {
        let mut stream = Stream::default();
        let mut arrivals: Vec<(u64, f64)> = (0..count).filter_map(|n| Some((n, arrival(n)?))).collect();
        arrivals.sort_by(|a, b| a.1.total_cmp(&b.1));
        for (n, millis) in arrivals {
            let timestamp = 4_294_000_000u32.wrapping_add(n as u32 * rate / 50);
            stream.observe(&rtp(start.wrapping_add(n as u16), timestamp, 7), at(millis));
        }
        stream
    }

    #[test]
    fn a_steady_stream_has_no_loss_and_no_jitter() {
        let stream = stream(500, 65_400, 48_000, |n| Some(n as f64 * 20.0));
        assert_eq!(stream.packets(), (500, 500));
        assert_eq!(stream.reordered(), 0);
        assert_eq!(stream.jitter(), Some(Duration::ZERO));
    }

    #[test]
    fn every_tenth_packet_lost_is_a_tenth_lost() {
        let stream = stream(1001, 65_400, 48_000, |n| (n % 10 != 5).then_some(n as f64 * 20.0));
        assert_eq!(stream.packets(), (901, 1001));
    }

    #[test]
    fn packets_that_change_places_are_reordered_and_not_lost() {
        let stream = stream(500, 100, 48_000, |n| Some(n as f64 * 20.0 + if n % 50 == 7 { 25.0 } else { 0.0 }));
        assert_eq!(stream.packets(), (500, 500));
        assert_eq!(stream.reordered(), 10);
    }

    #[test]
    fn copies_count_once() {
        let mut stream = Stream::default();
        for n in 0..10 {
            stream.observe(&rtp(n, 0, 7), at(f64::from(n)));
            stream.observe(&rtp(n, 0, 7), at(f64::from(n)));
        }
        assert_eq!(stream.packets(), (10, 10));
    }

    #[test]
    fn jitter_is_that_of_rfc_3550_at_any_usual_clock_rate() {
        // Arrivals alternate between 4 ms early and late: |D| is 8 ms, which the filter approaches.
        for rate in CLOCK_RATES {
            let stream = stream(1000, 5, rate, |n| Some(n as f64 * 20.0 + if n % 2 == 0 { 4.0 } else { 0.0 } + 5.0));
            let jitter = stream.jitter().expect("known").as_secs_f64();
            assert!((jitter - 0.004).abs() < 0.0005, "{rate}: {jitter}");
        }
    }

    #[test]
    fn the_jitter_of_an_unusual_clock_is_unknown() {
        assert_eq!(stream(500, 5, 31_000, |n| Some(n as f64 * 20.0)).jitter(), None);
        assert_eq!(stream(50, 5, 48_000, |n| Some(n as f64 * 20.0)).jitter(), None, "not watched for long enough");
    }

    #[test]
    fn a_second_source_beside_the_first_is_not_mixed_in_and_a_successor_is_added() {
        let mut stream = Stream::default();
        for n in 0..100u16 {
            stream.observe(&rtp(n, 0, 7), at(f64::from(n) * 20.0));
            stream.observe(&rtp(n.wrapping_mul(77), 0, 8), at(f64::from(n) * 20.0 + 1.0));
        }
        assert_eq!(stream.packets(), (100, 100));
        for n in 0..50u16 {
            stream.observe(&rtp(9000 + 2 * n, 0, 8), at(4000.0 + f64::from(n)));
        }
        assert_eq!(stream.packets(), (150, 199));
    }

    #[test]
    fn a_jump_of_the_sequence_is_a_new_start_and_not_a_loss() {
        let mut stream = Stream::default();
        stream.observe(&rtp(1, 0, 7), at(0.0));
        stream.observe(&rtp(30_000, 0, 7), at(20.0));
        stream.observe(&rtp(30_001, 0, 7), at(40.0));
        assert_eq!(stream.packets(), (3, 3));
    }

    fn stun(kind: u16, transaction: u8) -> Vec<u8> {
        let mut message = kind.to_be_bytes().to_vec();
        message.extend([0, 0]);
        message.extend(stun::COOKIE);
        message.extend([transaction; 12]);
        message
    }

    #[test]
    fn a_check_and_its_answer_time_the_transceivers_leg_and_a_repeated_check_does_not() {
        let mut legs = Legs::default();
        legs.from_client(Class::Stun, &stun(1, 9), at(0.0));
        legs.to_client(Class::Stun, &stun(0x101, 8), at(1.0));
        assert_eq!(legs.transceiver_round_trip, None, "another transaction");
        legs.to_client(Class::Stun, &stun(0x101, 9), at(3.0));
        assert_eq!(legs.transceiver_round_trip, Some(Duration::from_millis(3)));
        legs.from_client(Class::Stun, &stun(1, 10), at(10.0));
        legs.from_client(Class::Stun, &stun(1, 10), at(60.0));
        legs.to_client(Class::Stun, &stun(0x101, 10), at(61.0));
        assert_eq!(legs.transceiver_round_trip, Some(Duration::from_millis(3)), "to which of them?");
    }

    #[test]
    fn a_validation_or_the_last_dtls_flights_time_the_clients_leg() {
        let mut legs = Legs::default();
        let mut flight = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 9, 9];
        flight.extend([20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1]);
        legs.to_client(Class::Dtls, &flight, at(0.0));
        legs.from_client(Class::Dtls, &flight[..15], at(10.0));
        assert_eq!(legs.client_round_trip, None);
        legs.from_client(Class::Dtls, &flight[15..], at(80.0));
        assert_eq!(legs.client_round_trip, Some(Duration::from_millis(80)));
        legs.to_client(Class::Stun, &stun(1, 9), at(100.0));
        legs.from_client(Class::Stun, &stun(0x101, 9), at(130.0));
        assert_eq!(legs.client_round_trip, Some(Duration::from_millis(30)));
    }

    #[test]
    fn a_flight_that_was_repeated_times_nothing() {
        let mut legs = Legs::default();
        let flight = [20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1];
        legs.to_client(Class::Dtls, &flight, at(0.0));
        legs.to_client(Class::Dtls, &flight, at(150.0));
        legs.from_client(Class::Dtls, &flight, at(200.0));
        assert_eq!(legs.client_round_trip, None);
    }
}
