"""One unbroken RTP stream, whatever a backend does."""

from __future__ import annotations

import secrets
from itertools import pairwise

import pytest

from rtcrelay.rtc.offer_answer import AudioOffer
from rtcrelay.rtc.rtp import RtpPacket, read_rtp
from rtcrelay.rtc.srtp import PROFILES, Srtp
from rtcrelay.transceiver.audio import AudioOut

SPEECH = b"\xf8speech"
"""20 ms, 960 units."""
SILENCE = b"\xf8"


class Stream:
    """Writes at times of the test's own and reads what was written."""

    def __init__(self) -> None:
        self.out = AudioOut(AudioOffer(111, 10, "sendrecv"), 7)

    def write(
        self, now: float, timestamp: int | None = None, *, payload: bytes = SPEECH, marker: bool = False
    ) -> RtpPacket:
        packet = read_rtp(self.out.write(payload, timestamp, marker, now))
        assert packet is not None
        assert packet.timestamp == self.out.timestamp
        return packet


@pytest.fixture
def stream() -> Stream:
    return Stream()


def step(before: RtpPacket, after: RtpPacket) -> int:
    return (after.timestamp - before.timestamp + 2**31) % 2**32 - 2**31


def test_packets_follow_each_other_by_their_duration(stream: Stream) -> None:
    first, second, long, last = (
        stream.write(10.00),
        stream.write(10.02),
        stream.write(10.04, payload=b"\x18" + bytes(50)),  # 60 ms
        stream.write(10.10),
    )
    assert (step(first, second), step(second, long), step(long, last)) == (960, 960, 2880)
    assert [(packet.sequence - first.sequence) & 0xFFFF for packet in (first, second, long, last)] == [0, 1, 2, 3]


def test_the_first_packet_of_a_call_is_marked_and_no_other_without_silence(stream: Stream) -> None:
    assert [stream.write(10 + 0.02 * n).marker for n in range(5)] == [True, False, False, False, False]


def test_after_silence_the_timestamp_has_moved_on_and_the_packet_is_marked(stream: Stream) -> None:
    before = stream.write(10.0)
    after = stream.write(12.02)
    assert step(before, after) == 960 + 2 * 48_000
    assert after.marker
    assert after.sequence == (before.sequence + 1) & 0xFFFF
    assert not stream.write(12.04).marker


def test_a_backend_that_is_a_little_late_makes_no_silence(stream: Stream) -> None:
    before = stream.write(10.0)
    late = stream.write(10.08)
    assert step(before, late) == 960
    assert not late.marker


def test_a_burst_of_many_seconds_is_followed_by_silence_only_when_it_is_over(stream: Stream) -> None:
    first = stream.write(10.0)
    for _ in range(249):  # 5 s at once
        last = stream.write(10.0)
    assert step(first, last) == 249 * 960
    following = stream.write(15.0)
    assert (step(last, following), following.marker) == (960, False)
    after_silence = stream.write(16.02)
    assert (step(following, after_silence), after_silence.marker) == (51 * 960, True)


def test_timestamps_of_the_backends_own_are_kept_apart_from_their_origin(stream: Stream) -> None:
    packets = [stream.write(10 + 0.02 * n, 5_000_000 + 960 * n) for n in (0, 1, 3, 2, 4)]
    assert [step(packets[0], packet) // 960 for packet in packets] == [0, 1, 3, 2, 4]
    assert [packet.marker for packet in packets] == [True, False, False, False, False]


def test_lost_packets_of_an_echo_are_no_silence(stream: Stream) -> None:
    marked = [stream.write(10 + 0.02 * n, 960 * n).marker for n in range(500) if n % 10 not in (3, 4)]
    assert sum(marked) == 1


def test_dtx_of_an_echo_keeps_its_gaps_and_marks_the_next_word_only(stream: Stream) -> None:
    speech = stream.write(10.0, 0)
    noise = stream.write(10.4, 19_200, payload=SILENCE)
    noises = stream.write(10.8, 38_400, payload=SILENCE)
    word = stream.write(10.82, 39_360)
    assert [step(speech, packet) for packet in (noise, noises, word)] == [19_200, 38_400, 39_360]
    assert [packet.marker for packet in (noise, noises, word)] == [False, False, True]


def test_another_origin_of_the_backends_timestamps_is_no_gap_for_the_client(stream: Stream) -> None:
    before = stream.write(10.0, 1000)
    after = stream.write(10.02, 3_000_000_000)
    assert step(before, after) == 960
    assert after.marker
    assert step(after, stream.write(10.04, 3_000_000_960)) == 960


def test_a_pause_of_an_hour_is_an_hour_in_the_timestamps(stream: Stream) -> None:
    before = stream.write(10.0, 1000)
    after = stream.write(3610.0, 1000 + 3600 * 48_000)
    assert step(before, after) == 3600 * 48_000


def test_what_the_backend_marks_is_marked(stream: Stream) -> None:
    stream.write(10.0)
    assert stream.write(10.02, marker=True).marker


def test_a_call_of_two_days_rolls_over_without_a_gap(stream: Stream) -> None:
    """Sequence numbers 131 times, timestamps twice; every packet of the first and last hour, few between."""
    before = stream.write(0.02, 0)
    for number in [*range(1, 180_000), *range(180_000, 8_460_000, 1000), *range(8_460_000, 8_640_000)]:
        after = stream.write(0.02 + 0.02 * number, 960 * number & 0xFFFF_FFFF)
        assert after.sequence == (before.sequence + 1) & 0xFFFF
        before = after
    assert step(before, stream.write(0.02 + 0.02 * 8_640_000)) == 960


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_srtp_follows_the_sequence_over_its_roll_overs(stream: Stream, profile: object) -> None:
    assert profile in PROFILES
    chosen = next(each for each in PROFILES if each is profile)
    material = secrets.token_bytes(2 * (chosen.key_bytes + chosen.salt_bytes))
    server, client = Srtp(chosen, material, "client"), Srtp(chosen, material, "server")
    for number in range(140_000):
        plain = stream.out.write(SPEECH, 960 * number, False, 0.02 * number + 1)
        packet = server.protect(plain)
        assert packet is not None
        if number % 500:  # some are lost, also around the roll-over
            assert client.unprotect(packet) == plain


def test_a_client_that_asks_for_pauses_gets_the_first_packet_of_silence_and_its_length_in_the_next_word() -> None:
    stream = Stream()
    stream.out = AudioOut(AudioOffer(111, 10, "sendrecv", wants_dtx=True), 7)
    word, silence = stream.write(10.0), stream.write(10.02, payload=SILENCE)
    assert [stream.out.write(SILENCE, None, False, 10.04 + 0.02 * n) for n in range(100)] == [b""] * 100
    comfort = stream.write(12.04, payload=b"\xf8\x01\x02")
    again = stream.write(12.06, payload=SILENCE)
    assert (silence.sequence - word.sequence, comfort.sequence - silence.sequence) == (1, 1)
    assert (step(silence, comfort), step(comfort, again)) == (101 * 960, 960)
    assert (silence.marker, comfort.marker) == (False, True)


def test_a_client_that_does_not_ask_for_pauses_gets_every_packet(stream: Stream) -> None:
    packets = [stream.write(10 + 0.02 * n, payload=SILENCE) for n in range(50)]
    assert [step(*pair) for pair in pairwise(packets)] == [960] * 49
