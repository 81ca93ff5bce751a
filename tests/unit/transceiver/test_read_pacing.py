"""A busy socket is looked at by the clock, a quiet one when the kernel says so; with a loop of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from rtcrelay.transceiver.read_pacing import BUSY_TURNS, POLL_SECONDS, QUIET_POLLS, PacedReader


class FakeHandle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """As much of an event loop as is used."""

    def __init__(self) -> None:
        self.reader: Callable[[], None] | None = None
        self.due: tuple[float, Callable[[], None], FakeHandle] | None = None

    def add_reader(self, fileno: int, callback: Callable[[], None]) -> None:
        assert self.reader is None
        self.reader = callback

    def remove_reader(self, fileno: int) -> None:
        assert self.reader is not None
        self.reader = None

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeHandle:
        handle = FakeHandle()
        self.due = (delay, callback, handle)
        return handle

    def call_soon(self, callback: Callable[[], None]) -> FakeHandle:
        return self.call_later(0.0, callback)

    def fire(self) -> float:
        """Calls what is due; returns after what delay it was."""
        assert self.due is not None
        delay, callback, handle = self.due
        self.due = None
        assert not handle.cancelled
        callback()
        return delay


class Bench:
    def __init__(self) -> None:
        self.now = 10.0
        self.found: tuple[int, bool] = (1, False)
        self.drained = 0
        self.loop = FakeLoop()
        loop = cast(asyncio.AbstractEventLoop, self.loop)
        self.reader = PacedReader(loop, 7, self._drain, lambda: self.now)

    def _drain(self) -> tuple[int, bool]:
        self.drained += 1
        return self.found

    def wake(self, times: int, every: float) -> None:
        for _ in range(times):
            if self.loop.reader is not None:
                self.loop.reader()
            self.now += every


@pytest.fixture
def bench() -> Bench:
    return Bench()


def busy(bench: Bench) -> None:
    bench.wake(BUSY_TURNS, 0.0005)
    assert bench.reader.is_polling
    assert bench.loop.reader is None


def test_a_quiet_socket_is_read_at_once(bench: Bench) -> None:
    bench.wake(1000, 0.02)
    assert bench.drained == 1000
    assert not bench.reader.is_polling


def test_a_busy_socket_is_polled_every_two_milliseconds(bench: Bench) -> None:
    busy(bench)
    bench.found = (20, False)
    assert [bench.loop.fire() for _ in range(100)] == [POLL_SECONDS] * 100


def test_a_full_turn_is_followed_by_the_next_at_once(bench: Bench) -> None:
    busy(bench)
    bench.found = (64, True)
    bench.loop.fire()
    assert bench.loop.fire() == 0.0


def test_a_socket_that_has_become_quiet_wakes_us_again(bench: Bench) -> None:
    busy(bench)
    for found in ((0, False), (1, False), (2, False)):  # the last one is no quiet poll: counting begins anew
        bench.found = found
        bench.loop.fire()
    bench.found = (1, False)
    for _ in range(QUIET_POLLS):
        bench.loop.fire()
    assert not bench.reader.is_polling
    assert bench.loop.reader is not None
    assert bench.loop.due is None
    bench.wake(5, 0.02)
    assert not bench.reader.is_polling


def test_nothing_is_read_after_the_end(bench: Bench) -> None:
    bench.reader.close()
    bench.reader.close()
    assert bench.loop.reader is None


def test_the_end_stops_the_polling_too(bench: Bench) -> None:
    busy(bench)
    assert bench.loop.due is not None
    bench.reader.close()
    assert bench.loop.due[2].cancelled


def test_a_reader_that_is_closed_while_it_reads_stays_closed(bench: Bench) -> None:
    busy(bench)
    original = bench.reader._drain

    def closing() -> tuple[int, bool]:
        bench.reader.close()
        return original()

    bench.reader._drain = closing
    assert bench.loop.due is not None
    bench.loop.due[1]()
    assert bench.loop.reader is None
