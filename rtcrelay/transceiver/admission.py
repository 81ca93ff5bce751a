"""Is there room for another session? By their number, by how late the event loop is, and by how late frames are.

Not by CPU: a process that uses all of its core and is in time can take more, one that shares its core and is late can
not. Each measure is a load from 0; at 1 and above new sessions are refused, so that autoscaling can aim at part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from rtcrelay.metrics.families import Histogram

Measure: TypeAlias = Literal["sessions", "event_loop_lag", "frame_lateness"]

WINDOW_SECONDS: Final = 5.0
"""What is judged is one to two windows old at most. Chosen: longer than a garbage collection, shorter than patience."""
LAG_SECONDS: Final = 0.1
LAG_PART: Final = 0.1
"""At most this part of the samples may be later than `LAG_SECONDS`: then one packet in ten waits for five frames, more
than clients' jitter buffers hold. (With 0.05 s a machine with five times its cores' work refused calls in between.)"""
LATENESS_SECONDS: Final = 0.02
LATENESS_PART: Final = 0.05
"""At most this part of the frames may be later than `LATENESS_SECONDS`, one frame."""
_MIN_SAMPLES: Final[Mapping[str, int]] = {"event_loop_lag": 50, "frame_lateness": 500}
"""Fewer say nothing."""
_SENTENCES: Final[Mapping[Measure, str]] = {
    "sessions": "this transceiver has as many calls as it takes",
    "event_loop_lag": "this transceiver is too late with its packets to take another call",
    "frame_lateness": "this transceiver is too late with its sound to take another call",
}


class _Recent:
    """The part of a histogram's values above a bound, of the last one to two windows."""

    def __init__(self, values: Histogram, bound: float, now: float) -> None:
        self._values, self._bound = values, bound
        self._old = self._newer = values.above(bound)
        self._at = now

    def roll(self, now: float) -> None:
        if now - self._at >= WINDOW_SECONDS:
            self._old, self._newer, self._at = self._newer, self._values.above(self._bound), now

    def part(self, least: int) -> float:
        late, count = self._values.above(self._bound)
        late, count = late - self._old[0], count - self._old[1]
        return late / count if count >= least else 0.0


class Admission:
    """Judges one process."""

    def __init__(self, lateness: Histogram, now: float) -> None:
        """``lateness``: of frames, as `FrameClock` has it."""
        self._frames = _Recent(lateness, LATENESS_SECONDS, now)
        self._lag: _Recent | None = None

    def watch_lag(self, lag: Histogram, now: float) -> None:
        """Takes the event loop's lag into account from now on."""
        self._lag = _Recent(lag, LAG_SECONDS, now)

    def handle_time(self, now: float) -> None:
        """To be called every now and then: forgets what is old."""
        self._frames.roll(now)
        if self._lag is not None:
            self._lag.roll(now)

    def loads(self, sessions: int, most: int) -> dict[Measure, float]:
        """How much of what is possible is used, by measure; 1 is all of it."""
        lag = self._lag.part(_MIN_SAMPLES["event_loop_lag"]) if self._lag is not None else 0.0
        late = self._frames.part(_MIN_SAMPLES["frame_lateness"])
        return {
            "sessions": sessions / most,
            "event_loop_lag": lag / LAG_PART,
            "frame_lateness": late / LATENESS_PART,
        }

    def refusal(self, sessions: int, most: int) -> str | None:
        """Why there is no room, as a sentence; None if there is."""
        for measure, load in self.loads(sessions, most).items():
            if load >= 1:
                return _SENTENCES[measure]
        return None
