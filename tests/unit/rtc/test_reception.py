"""Loss and jitter of one source, as RFC 3550 counts them."""

from __future__ import annotations

import random

import pytest

from rtcrelay.rtc.reception import ReceivedSource
from rtcrelay.rtc.rtcp import SenderInfo

CLOCK = 48_000


def source() -> ReceivedSource:
    return ReceivedSource(7, CLOCK)


def receive(subject: ReceivedSource, numbers: list[int], now: float = 100.0) -> list[int]:
    """Each packet 20 ms after the one with the number before it."""
    return [subject.handle_packet(n & 0xFFFF, 960 * n & 0xFFFF_FFFF, now + 0.02 * n) for n in numbers]


def test_nothing_is_lost_when_everything_comes() -> None:
    subject = source()
    assert receive(subject, [5, 6, 7, 8]) == [5, 6, 7, 8]
    assert (subject.expected, subject.received, subject.lost) == (4, 4, 0)
    assert subject.jitter == pytest.approx(0, abs=1e-6)


def test_gaps_are_lost_packets_until_the_late_ones_come() -> None:
    subject = source()
    receive(subject, [1, 2, 5])
    assert subject.lost == 2
    assert receive(subject, [4]) == [4]
    assert subject.lost == 1


def test_double_packets_make_the_loss_smaller_as_the_standard_has_it() -> None:
    subject = source()
    receive(subject, [1, 2, 2, 2])
    assert subject.lost == -2


def test_a_packet_from_before_the_first_one_is_expected_too() -> None:
    subject = source()
    assert receive(subject, [0, 1]) == [0, 1]
    assert subject.handle_packet(65535, 0, 100.0) == -1
    assert (subject.expected, subject.lost) == (3, 0)


def test_numbers_grow_over_many_roll_overs() -> None:
    subject = source()
    for number in range(300_000):
        if number % 100:
            assert receive(subject, [number]) == [number]
    assert subject.highest == 299_999
    assert subject.lost == 2999  # the very first one is not missed
    assert subject.poll_block(200.0).highest_sequence == 299_999


def test_the_fraction_is_of_the_interval_and_the_sum_of_the_call() -> None:
    subject = source()
    receive(subject, [n for n in range(100) if n % 4 != 3])
    first = subject.poll_block(200.0)
    assert (first.lost, first.fraction_lost) == (24, 62)  # 24 of 99: the last one cannot be missed yet
    receive(subject, list(range(100, 200)))
    second = subject.poll_block(202.0)
    assert (second.lost, second.fraction_lost) == (25, 2)
    assert subject.last_fraction_lost == pytest.approx(1 / 101)


def test_a_fraction_is_never_below_zero_nor_over_its_byte() -> None:
    subject = source()
    receive(subject, [1, 2, 3])
    subject.poll_block(200.0)
    receive(subject, [3, 3])
    assert subject.poll_block(201.0).fraction_lost == 0
    receive(subject, [30_000])
    assert subject.poll_block(202.0).fraction_lost == 255


def test_news_is_a_packet_since_the_last_report() -> None:
    subject = source()
    before = subject.has_news
    receive(subject, [1])
    with_packet = subject.has_news
    subject.poll_block(200.0)
    assert (before, with_packet, subject.has_news) == (False, True, False)


def test_jitter_follows_the_standards_own_formula() -> None:
    subject, dice = source(), random.Random(1)
    judged, before = 0.0, None
    for number in range(1000):
        delay = dice.uniform(0, 0.03)
        now = 50 + 0.02 * number + delay
        subject.handle_packet(number, 960 * number, now)
        transit = now * CLOCK - 960 * number
        if before is not None:
            judged += (abs(transit - before) - judged) / 16
        before = transit
    assert subject.jitter == pytest.approx(judged)
    assert 300 < subject.jitter < 700  # the mean difference of two delays of 0 to 30 ms is 10 ms, 480 units


def test_jitter_knows_no_roll_over_of_the_timestamps() -> None:
    subject = source()
    for number in range(10):
        subject.handle_packet(number, (2**32 - 2000 + 960 * number) & 0xFFFF_FFFF, 10 + 0.02 * number)
    assert subject.jitter == pytest.approx(0, abs=1e-3)


def test_another_origin_of_the_timestamps_is_no_jitter() -> None:
    subject = source()
    receive(subject, [1, 2, 3])
    subject.handle_packet(4, 1_000_000_000, 100.08)
    assert subject.jitter == pytest.approx(0, abs=1e-6)
    subject.handle_packet(5, 1_000_000_960, 100.10)
    assert subject.jitter == pytest.approx(0, abs=1e-6)


def test_a_late_packet_is_no_jitter() -> None:
    subject = source()
    receive(subject, [1, 2, 4])
    subject.handle_packet(3, 960 * 3, 105.0)
    assert subject.jitter == pytest.approx(0, abs=1e-6)


def test_a_block_quotes_the_last_sender_report_and_how_long_ago_it_came() -> None:
    subject = source()
    receive(subject, [1])
    assert subject.poll_block(101.0)[5:] == (0, 0)
    subject.handle_sender_report(SenderInfo(0x1234_5678_9ABC_DEF0, 0, 0, 0), 101.0)
    assert subject.poll_block(102.5)[5:] == (0x5678_9ABC, 98_304)
