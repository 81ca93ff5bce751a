"""The loop's one timer, on both kinds of loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from rtcrelay.transceiver.timer_driver import TimerDriver
from rtcrelay.transceiver.timers import Timers


class Owner:
    def __init__(self) -> None:
        self.timers = Timers()
        self.on_rearm: Callable[[], None] = lambda: None


class Thing:
    """Wants to be called at once, then never again."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.called = asyncio.Event()

    def poll_timeout(self, now: float) -> float:
        return self.at

    def handle_timeout(self, now: float) -> None:
        self.at = now + 1000
        self.called.set()


async def scenario() -> None:
    loop, owner = asyncio.get_running_loop(), Owner()
    with TimerDriver(owner, loop):
        things = [Thing(loop.time() + delay) for delay in (0.02, -1.0, 0.0, 0.01, 0.0004)]
        for thing in things:
            owner.timers.arm(thing, loop.time() - 2.0)  # some deadlines are over when they are armed
            owner.on_rearm()
        async with asyncio.timeout(5):
            for thing in things:
                await thing.called.wait()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_deadlines_that_are_over_or_to_come_are_met(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(scenario())
