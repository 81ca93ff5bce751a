"""Packets in order, with no wait while none is needed and at most two frames when one is."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay.audio.reorder import MAX_FRAMES, OpusPacket, ReorderBuffer


def packet(number: int) -> OpusPacket:
    return OpusPacket(b"\xf8x", number, 960 * number, False)


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []
        self.buffer = ReorderBuffer(lambda p, missing: self.heard.append((p.sequence, missing)))
        self.now = 100.0

    def take(self, numbers: Iterable[int], step: float = 0.02) -> Listener:
        for number in numbers:
            self.buffer.handle_packet(packet(number), self.now)
            self.now += step
        return self

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.02
            self.buffer.handle_time(self.now)

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.heard]


def test_packets_in_order_pass_at_once() -> None:
    listener = Listener()
    for number in range(7, 60):
        listener.take([number])
        assert listener.numbers[-1] == number
    assert listener.buffer.depth == 0
    assert [missing for _, missing in listener.heard] == [-1] + [0] * 52


def test_a_gap_is_not_waited_for_while_nothing_ever_came_late() -> None:
    assert Listener().take([1, 2, 5, 6]).heard == [(1, -1), (2, 0), (5, 2), (6, 0)]


def test_after_a_late_packet_a_gap_is_waited_for_and_the_next_one_is_put_right() -> None:
    listener = Listener().take([1, 2, 4, 3])
    assert listener.buffer.late == 1
    assert listener.buffer.depth == 2
    listener.take([5, 6, 8, 7, 9])
    assert listener.numbers == [1, 2, 4, 5, 6, 7, 8, 9]
    assert listener.buffer.late == 1


def test_a_lost_packet_is_waited_for_no_longer_than_the_depth() -> None:
    listener = Listener().take([1, 2, 4, 3, 5])
    listener.take([7])
    assert listener.numbers[-1] == 5
    listener.wait(0.041)
    assert listener.heard[-1] == (7, 1)


def test_the_wait_goes_away_again_when_packets_stay_in_order() -> None:
    listener = Listener().take([1, 2, 4, 3])
    assert listener.buffer.depth == 2
    for number in range(5, 5 + 50 * 21):
        listener.take([number])
        listener.buffer.handle_time(listener.now)
    assert listener.buffer.depth == 0


def test_jitter_alone_makes_it_wait() -> None:
    listener = Listener()
    for number in range(200):
        listener.buffer.handle_packet(packet(number), 100 + 0.02 * number + (0.03 if number % 2 else 0.0))
    assert listener.buffer.jitter_seconds == pytest.approx(0.03, abs=0.003)
    assert listener.buffer.depth == MAX_FRAMES


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_two_frames_put_three_packets_in_any_order_right(order: tuple[int, ...]) -> None:
    listener = Listener().take([1, 2, 4, 3, 5])
    listener.take((6 + number for number in order), step=0.001)
    listener.take([9])
    assert listener.numbers == [1, 2, 4, 5, 6, 7, 8, 9]


def test_another_source_is_heard_at_once() -> None:
    listener = Listener().take([60_000, 60_001, 5, 6])
    assert listener.heard == [(60_000, -1), (60_001, 0), (5, -1), (6, 0)]


def test_another_source_whose_numbers_lie_just_before_is_heard_after_a_few_packets() -> None:
    listener = Listener().take(range(500, 510)).take(range(400, 430))
    assert listener.numbers[-1] == 429
    assert len(listener.numbers) >= 30


@given(st.lists(st.integers(0, 2000), max_size=200), st.floats(0, 0.1))
def test_whatever_comes_nothing_is_passed_twice_in_a_row_and_little_is_kept(numbers: list[int], step: float) -> None:
    listener = Listener().take(numbers, step)
    assert len(listener.buffer._held) <= MAX_FRAMES
    assert len(listener.heard) + len(listener.buffer._held) <= len(numbers)
    assert all(missing >= -1 for _, missing in listener.heard)
