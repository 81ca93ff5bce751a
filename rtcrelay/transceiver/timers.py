"""Which session wants to be called, and when? One heap for all of them; no clock here."""

from __future__ import annotations

import heapq
from typing import Final, Protocol

SESSIONS_PER_TURN: Final = 256
"""Called at most per turn of the loop, so that a process full of sessions still reads its socket."""
_RESOLUTION_SECONDS: Final = 0.001
"""Nothing is called twice within this time, whatever deadline it asks for."""


class Timed(Protocol):
    """What has a deadline: a session."""

    def poll_timeout(self, now: float) -> float:
        """When `handle_timeout` wants to be called."""

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""


class _Entry:
    """A place in the heap. Emptied instead of removed when it is replaced, so that it keeps nothing alive."""

    __slots__ = ("deadline", "serial", "timed")

    def __init__(self, deadline: float, serial: int, timed: Timed) -> None:
        self.deadline, self.serial = deadline, serial
        self.timed: Timed | None = timed

    def __lt__(self, other: _Entry) -> bool:
        return (self.deadline, self.serial) < (other.deadline, other.serial)


class Timers:
    """The deadlines of all sessions. A deadline that moves into the future costs nothing until it was due."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._armed: dict[Timed, _Entry] = {}
        self._serial = 0

    def arm(self, timed: Timed, now: float) -> None:
        """Takes in something new, or looks whether its deadline is sooner than before."""
        deadline = max(timed.poll_timeout(now), now + _RESOLUTION_SECONDS)
        armed = self._armed.get(timed)
        if armed is not None:
            if armed.deadline <= deadline:
                return
            armed.timed = None
        self._serial += 1
        entry = self._armed[timed] = _Entry(deadline, self._serial, timed)
        heapq.heappush(self._heap, entry)
        self._sweep()

    def forget(self, timed: Timed) -> None:
        """Calls it no more."""
        entry = self._armed.pop(timed, None)
        if entry is not None:
            entry.timed = None

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None if there is nothing."""
        return self._heap[0].deadline if self._heap else None

    def handle_timeout(self, now: float) -> None:
        """Calls whatever is due, at most `SESSIONS_PER_TURN`."""
        for _ in range(SESSIONS_PER_TURN):
            if not self._heap or self._heap[0].deadline > now:
                return
            entry = heapq.heappop(self._heap)
            timed = entry.timed
            if timed is None:
                continue
            entry.deadline = float("-inf")  # what arms itself while it is called waits until after that
            try:
                timed.handle_timeout(now)
            finally:
                if self._armed.get(timed) is entry:
                    del self._armed[timed]
                    self.arm(timed, now)

    def _sweep(self) -> None:
        """Removes emptied entries once they are the larger part."""
        if len(self._heap) > 2 * len(self._armed) + 64:
            self._heap = [entry for entry in self._heap if entry.timed is not None]
            heapq.heapify(self._heap)
