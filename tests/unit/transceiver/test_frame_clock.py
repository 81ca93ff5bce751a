"""One clock for all sessions that speak by themselves, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from rtcrelay.transceiver.counters import Count, Counters
from rtcrelay.transceiver.frame_clock import FRAME_SECONDS, MAX_LATE_FRAMES, SLOTS, FrameClock, Ticket


class Bench:
    """A clock whose time is the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rearmed = 0
        self.counters = Counters()
        self.clock = FrameClock(self.counters, lambda: self.now, self._rearm)
        self.called: list[tuple[str, int, float]] = []

    def _rearm(self) -> None:
        self.rearmed += 1

    def taker(self, name: str) -> Callable[[int], None]:
        return lambda number: self.called.append((name, number, round(self.now, 6)))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.clock.poll_timeout(self.now)) <= end:
            self.now = max(self.now, at)
            self.clock.handle_timeout(self.now)
        self.now = end


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nobody_is_due_without_takers(bench: Bench) -> None:
    assert bench.clock.poll_timeout(100.0) == math.inf
    ticket = bench.clock.add(bench.taker("a"))
    assert bench.clock.poll_timeout(100.0) < 100.0 + FRAME_SECONDS
    bench.clock.remove(ticket)
    bench.clock.remove(ticket)
    assert bench.clock.poll_timeout(100.0) == math.inf


def test_a_taker_is_called_every_20_ms_with_its_own_count(bench: Bench) -> None:
    bench.clock.add(bench.taker("a"))
    bench.run(1.0)
    assert [number for _, number, _ in bench.called] == list(range(len(bench.called)))
    assert len(bench.called) in (50, 51)
    times = [at for _, _, at in bench.called]
    assert {round(b - a, 6) for a, b in pairwise(times)} == {0.02}
    assert bench.rearmed == 1


def test_one_who_comes_later_begins_at_its_own_zero(bench: Bench) -> None:
    for name in "abcdefghijk":  # the eleventh shares a slot with the first
        bench.clock.add(bench.taker(name))
        bench.run(0.5)
    assert next(number for name, number, _ in bench.called if name == "k") == 0


def test_takers_are_spread_over_the_frame(bench: Bench) -> None:
    for index in range(2 * SLOTS):
        bench.clock.add(bench.taker(str(index)))
    bench.run(FRAME_SECONDS + 0.001)
    bench.called.clear()
    bench.run(FRAME_SECONDS)
    times = [at for _, _, at in bench.called]
    assert len(times) == 2 * SLOTS
    assert len(set(times)) == SLOTS
    assert all(times.count(at) == 2 for at in times)


def test_a_short_pause_of_the_process_is_made_up_for(bench: Bench) -> None:
    bench.clock.add(bench.taker("a"))
    bench.run(0.1)
    bench.now += 0.07
    bench.run(0.1)
    assert [number for _, number, _ in bench.called] == list(range(len(bench.called)))
    assert len(bench.called) in (13, 14)
    assert bench.counters.counts[Count.FRAMES_SKIPPED] == 0


def test_a_long_pause_leaves_frames_out_and_their_numbers_too(bench: Bench) -> None:
    bench.clock.add(bench.taker("a"))
    bench.run(0.1)
    last = bench.called[-1][1]
    bench.now += 1.0
    bench.clock.handle_timeout(bench.now)
    first = bench.called[-1][1]
    assert first - last in (50 - MAX_LATE_FRAMES - 1, 50 - MAX_LATE_FRAMES)
    assert bench.counters.counts[Count.FRAMES_SKIPPED] == first - last - 1
    bench.run(1.0)
    assert bench.called[-1][1] in (last + 100, last + 101)


def test_one_call_of_the_timer_calls_each_taker_once_at_most(bench: Bench) -> None:
    for name in "abc":
        bench.clock.add(bench.taker(name))
    bench.now += 0.5
    bench.clock.handle_timeout(bench.now)
    assert sorted(name for name, _, _ in bench.called) == ["a", "b", "c"]


def test_one_that_leaves_in_its_own_call_harms_nobody(bench: Bench) -> None:
    tickets: dict[str, Ticket] = {}

    def leave(number: int) -> None:
        bench.clock.remove(tickets["a"])

    tickets["a"] = bench.clock.add(leave)
    bench.clock.add(bench.taker("b"))
    bench.run(0.2)
    assert len(bench.called) in (10, 11)


def test_lateness_is_from_when_a_frame_was_due_until_it_was_sent(bench: Bench) -> None:
    def slow(number: int) -> None:
        bench.now += 0.003

    bench.clock.add(slow)
    bench.run(1.0)
    assert bench.clock.lateness.count in (49, 50, 51)
    assert bench.clock.lateness.sum == pytest.approx(0.003 * bench.clock.lateness.count)
