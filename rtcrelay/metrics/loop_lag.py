"""How late does the event loop call what is due? One timer asks, over and over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from rtcrelay.metrics.families import Histogram, Metric, histogram

INTERVAL_SECONDS: Final = 0.1
"""Chosen: a pause of 20 ms is noticed one time in five, for ten calls a second that do next to nothing."""


class _Handle(Protocol):
    def cancel(self) -> None: ...


class Timers(Protocol):
    """As much of an event loop as is needed."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> _Handle:
        """Calls back after ``delay`` seconds, or later."""


class LoopLag:
    """Samples the lag from entering the context to leaving it.

    Lag is the time by which the timer was called too late: what a packet that came meanwhile had to wait too. The
    loop's own clock stands still while callbacks run (uvloop's does), so another one is read.
    """

    def __init__(
        self,
        name: str,
        loop: Timers,
        clock: Callable[[], float] = time.monotonic,
        interval: float = INTERVAL_SECONDS,
        on_sample: Callable[[float], object] = lambda now: None,
    ) -> None:
        """``name``: of the metric, ending in ``_event_loop_lag_seconds``. ``clock`` and ``interval`` in seconds;
        ``on_sample`` is called after each sample with the time."""
        self.seconds = Histogram()
        """The samples so far."""
        self._name, self._loop, self._clock, self._interval = name, loop, clock, interval
        self._on_sample = on_sample
        self._handle: _Handle | None = None
        self._due = self._worst = 0.0

    def __enter__(self) -> LoopLag:
        self._arm()
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def collect(self) -> list[Metric]:
        """See `pages.MetricsSource`."""
        return [histogram(self._name, "Time by which the event loop was late, sampled by a timer.", self.seconds)]

    def pull_worst(self) -> float:
        """The longest lag since the last call, in seconds."""
        worst, self._worst = self._worst, 0.0
        return worst

    def _arm(self) -> None:
        self._due = self._clock() + self._interval
        self._handle = self._loop.call_later(self._interval, self._fire)

    def _fire(self) -> None:
        # A timer in whole milliseconds may come a little early, which is no lag.
        now = self._clock()
        lag = max(0.0, now - self._due)
        self._worst = max(self._worst, lag)
        self.seconds.observe(lag)
        self._on_sample(now)
        self._arm()
