"""The event loop's lag, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rtcrelay.metrics.loop_lag import LoopLag


class VirtualLoop:
    """Timers that are called when told, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.armed: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, delay: float, callback: Callable[[], object], /) -> VirtualLoop:
        self.armed.append((self.now + delay, callback))
        return self

    def cancel(self) -> None:
        self.armed.clear()

    def run(self, late: float) -> None:
        """Calls what is armed, ``late`` seconds after it is due."""
        at, callback = self.armed.pop()
        self.now = at + late
        callback()


def lag_on(loop: VirtualLoop) -> LoopLag:
    return LoopLag("rtcrelay_test_event_loop_lag_seconds", loop, lambda: loop.now, interval=0.5)


def test_lag_is_the_time_by_which_the_timer_came_too_late() -> None:
    loop = VirtualLoop()
    with lag_on(loop) as lag:
        for late in (0.0, 0.03, 0.3):
            loop.run(late)
    assert lag.seconds.sum == pytest.approx(0.33)
    assert lag.seconds.count == 3
    within = dict(lag.seconds.buckets())
    assert (within["0.001"], within["0.02"], within["0.05"], within["0.5"]) == (1, 1, 2, 3)


def test_lag_does_not_add_up_over_samples() -> None:
    loop = VirtualLoop()
    with lag_on(loop) as lag:
        loop.run(0.2)
        loop.run(0.0)
    assert lag.seconds.sum == pytest.approx(0.2)


def test_a_timer_that_comes_early_is_no_lag() -> None:
    loop = VirtualLoop()
    with lag_on(loop) as lag:
        loop.run(-0.0009)
    assert (lag.seconds.count, lag.seconds.sum) == (1, 0.0)


def test_there_is_one_timer_and_none_afterwards() -> None:
    loop = VirtualLoop()
    with lag_on(loop):
        loop.run(0.0)
        loop.run(0.0)
        assert len(loop.armed) == 1
    assert loop.armed == []


def test_the_metric_has_the_name_it_was_given() -> None:
    (metric,) = lag_on(VirtualLoop()).collect()
    assert (metric.name, metric.type) == ("rtcrelay_test_event_loop_lag_seconds", "histogram")


async def test_a_real_loop_can_be_sampled() -> None:
    loop = asyncio.get_running_loop()
    with LoopLag("rtcrelay_test_event_loop_lag_seconds", loop, interval=0.0) as lag:
        async with asyncio.timeout(10):
            while lag.seconds.count < 3:  # noqa: ASYNC110  # the sampler has no event to wait for
                await asyncio.sleep(0)
    assert lag.seconds.sum >= 0.0


def test_the_worst_lag_is_asked_for_once() -> None:
    loop = VirtualLoop()
    with lag_on(loop) as lag:
        for late in (0.01, 0.3, 0.0):
            loop.run(late)
        assert lag.pull_worst() == pytest.approx(0.3)
        loop.run(0.02)
        assert lag.pull_worst() == pytest.approx(0.02)
        assert lag.pull_worst() == 0.0
