"""Who wakes the sessions? One timer of the event loop, armed at the soonest deadline of all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from rtcrelay.transceiver.timers import Timers


class Owner(Protocol):
    """What has timers: a transceiver."""

    timers: Timers
    on_rearm: Callable[[], None]


class TimerDriver:
    """Keeps the loop's timer in step with `Timers`, from entering the context to leaving it."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner, self._loop = owner, loop
        self._handle: asyncio.Handle | None = None
        # Not asked of the handle: for a deadline that is already over, uvloop's has no `when`.
        self._armed_at = float("inf")

    def __enter__(self) -> None:
        self._owner.on_rearm = self._rearm
        self._rearm()

    def __exit__(self, *_: object) -> None:
        self._owner.on_rearm = lambda: None
        if self._handle is not None:
            self._handle.cancel()

    def _rearm(self) -> None:
        at = self._owner.timers.poll_timeout()
        if at is None or at >= self._armed_at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._armed_at = at
        self._handle = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._handle, self._armed_at = None, float("inf")
        # uvloop counts in milliseconds and may fire a little early: then the same deadline is armed again.
        try:
            self._owner.timers.handle_timeout(time.monotonic())
        finally:
            self._rearm()  # whatever one session's time-out raises, the others' are served
