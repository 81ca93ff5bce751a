"""When is the next 20 ms of sound due? One clock for all sessions that speak by themselves.

No clock of its own and no task: a `timers.Timed` among the sessions. Sessions are spread over the 20 ms, so that
the process does a little often instead of everything at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from rtcrelay.metrics.families import Histogram
from rtcrelay.transceiver.counters import Count, Counters

FRAME_SECONDS: Final = 0.02
SLOTS: Final = 10
"""Parts of a frame at which sessions are called: 2 ms, twice the resolution of uvloop's timers."""
MAX_LATE_FRAMES: Final = 5
"""Made up for after a pause of the process; what is older is left out, as a live source would."""


class Ticket:
    """A place on the clock."""

    __slots__ = ("first", "on_frame", "slot")

    def __init__(self, on_frame: Callable[[int], None], slot: int, first: int) -> None:
        self.on_frame, self.slot, self.first = on_frame, slot, first


class FrameClock:
    """Calls each taker once per frame.

    ``lateness`` holds, for each frame, the seconds from when it was due until its taker had sent it.
    """

    def __init__(self, counters: Counters, clock: Callable[[], float], rearm: Callable[[], None]) -> None:
        """``clock``: the one of every ``now`` here. ``rearm``: looks at `poll_timeout`, which is sooner now."""
        self.lateness = Histogram()
        self._counters, self._clock, self._rearm = counters, clock, rearm
        self._origin = clock()
        self._takers: list[dict[Ticket, None]] = [{} for _ in range(SLOTS)]
        self._next = [0] * SLOTS

    def add(self, on_frame: Callable[[int], None]) -> Ticket:
        """Calls ``on_frame`` every 20 ms with the number of frames since its first, which is the next one due.

        What it raises is the caller's loss: it is expected not to.
        """
        slot = min(range(SLOTS), key=lambda number: len(self._takers[number]))
        if not self._takers[slot]:
            self._next[slot] = max(0, math.ceil((self._clock() - self._due(slot, 0)) / FRAME_SECONDS))
        ticket = Ticket(on_frame, slot, self._next[slot])
        self._takers[slot][ticket] = None
        self._rearm()
        return ticket

    def remove(self, ticket: Ticket) -> None:
        """Calls it no more. Safe to call again."""
        self._takers[ticket.slot].pop(ticket, None)

    def poll_timeout(self, now: float) -> float:
        """When the next slot with takers is due; infinity if there is none."""
        due = [self._due(slot, self._next[slot]) for slot in range(SLOTS) if self._takers[slot]]
        return min(due, default=math.inf)

    def handle_timeout(self, now: float) -> None:
        """Calls the takers of every slot that is due, each once: a backlog takes several turns."""
        for slot, takers in enumerate(self._takers):
            if takers and self._due(slot, self._next[slot]) <= now:
                self._skip(slot, now)
                self._call(slot)

    def _due(self, slot: int, number: int) -> float:
        return self._origin + (number + slot / SLOTS) * FRAME_SECONDS

    def _skip(self, slot: int, now: float) -> None:
        late = int((now - self._due(slot, self._next[slot])) / FRAME_SECONDS) - MAX_LATE_FRAMES
        if late > 0:
            self._next[slot] += late
            self._counters.counts[Count.FRAMES_SKIPPED] += late * len(self._takers[slot])

    def _call(self, slot: int) -> None:
        number = self._next[slot]
        self._next[slot] = number + 1
        due, clock, observe = self._due(slot, number), self._clock, self.lateness.observe
        for ticket in tuple(self._takers[slot]):
            ticket.on_frame(number - ticket.first)
            observe(max(0.0, clock() - due))
