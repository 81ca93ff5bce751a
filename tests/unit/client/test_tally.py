"""The tally tells echoed, lost, late and repeated speech apart."""

from __future__ import annotations

import pytest

from rtcrelay.client.tally import GAP_SECONDS, LATE_SECONDS, EchoTally
from rtcrelay.client.timings import RoundTrip


def test_an_echo_is_matched_by_its_payload_whatever_its_sequence_number() -> None:
    tally = EchoTally()
    tally.on_sent(b"one", 10.0)
    assert tally.on_received(40_000, b"one", 10.025)
    assert (tally.sent, tally.received, tally.echoed) == (1, 1, 1)
    assert tally.round_trip().p50_ms == pytest.approx(25.0)


def test_somebody_elses_audio_is_received_but_not_echoed() -> None:
    tally = EchoTally()
    tally.on_sent(b"one", 0.0)
    assert not tally.on_received(1, b"a tone", 0.01)
    assert (tally.received, tally.echoed, tally.duplicated) == (1, 0, 0)


def test_speech_that_comes_back_twice_is_duplicated() -> None:
    tally = EchoTally()
    tally.on_sent(b"one", 0.0)
    tally.on_received(1, b"one", 0.01)
    assert not tally.on_received(2, b"one", 0.02)
    assert (tally.echoed, tally.duplicated) == (1, 1)


def test_the_next_turn_of_the_recording_is_no_duplicate() -> None:
    tally = EchoTally()
    tally.on_sent(b"one", 0.0)
    tally.on_received(1, b"one", 0.01)
    tally.on_sent(b"one", 7.1)
    assert tally.on_received(2, b"one", 7.11)
    assert (tally.echoed, tally.duplicated) == (2, 0)


def test_speech_is_unreturned_only_after_the_time_for_late_echoes() -> None:
    tally = EchoTally()
    tally.on_sent(b"one", 0.0)
    tally.settle(LATE_SECONDS)
    assert tally.unreturned == 0
    tally.settle(LATE_SECONDS + 0.001)
    assert tally.unreturned == 1


def test_an_echo_that_is_too_late_counts_once_as_unreturned() -> None:
    tally = EchoTally()
    tally.on_sent(b"one", 0.0)
    assert not tally.on_received(1, b"one", LATE_SECONDS + 1)
    tally.settle(LATE_SECONDS + 2)
    assert (tally.echoed, tally.unreturned, tally.duplicated) == (0, 1, 0)


@pytest.mark.parametrize(
    ("sequences", "lost"),
    [
        ([], 0),
        ([7], 0),
        ([7, 8, 9], 0),
        ([7, 9], 1),
        ([7, 9, 8], 0),
        ([65_534, 65_535, 0, 1], 0),
        ([65_534, 2], 3),
        ([65_535, 65_534, 0], 0),
    ],
)
def test_loss_follows_the_sequence_numbers_across_their_wrap(sequences: list[int], lost: int) -> None:
    tally = EchoTally()
    for sequence in sequences:
        tally.on_received(sequence, b"", 0.0)
    assert tally.lost == lost


def test_a_steady_stream_has_no_gap() -> None:
    tally = EchoTally()
    for number in range(10):
        tally.on_received(number, b"", number * 0.02)
    assert tally.longest_gap(0.0, 0.2) is None


def test_the_longest_gap_is_found_and_so_is_the_present_one() -> None:
    tally = EchoTally()
    for number, at in enumerate([0.0, 0.1, 0.12, 0.42, 0.44]):
        tally.on_received(number, b"", at)
    gap = tally.longest_gap(0.0, 0.45)
    assert gap is not None
    assert gap.start_s == pytest.approx(0.12)
    assert gap.length_ms == pytest.approx(300.0)
    present = tally.longest_gap(0.43, 1.44)
    assert present is not None
    assert present.length_ms == pytest.approx(1000.0)


def test_silence_below_the_threshold_is_no_gap() -> None:
    tally = EchoTally()
    tally.on_received(0, b"", 0.0)
    tally.on_received(1, b"", GAP_SECONDS - 0.001)
    assert tally.longest_gap(0.0, GAP_SECONDS) is None


def test_without_an_echo_every_round_trip_is_zero() -> None:
    assert EchoTally().round_trip() == RoundTrip(0.0, 0.0, 0.0, 0.0)


def test_round_trip_percentiles_are_those_of_the_sorted_values() -> None:
    tally = EchoTally()
    for number in range(1, 101):
        tally.on_sent(bytes([number]), 0.0)
        tally.on_received(number, bytes([number]), number / 1000)
    round_trip = tally.round_trip()
    assert round_trip.min_ms == pytest.approx(1)
    assert round_trip.max_ms == pytest.approx(100)
    assert round_trip.p50_ms == pytest.approx(50)
    assert round_trip.p99_ms == pytest.approx(99)
