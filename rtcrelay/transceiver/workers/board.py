"""How do the workers of a service fare? Each writes it where all of them and the parent can read it.

The board is memory that parent and workers share: nobody is asked, and nobody waits. Law: the parent writes which
process a worker is and clears what a dead one left; the worker writes all else. A reader may see one number newer than
another, which does no harm.
"""

from __future__ import annotations

import mmap
import time
from enum import IntEnum
from typing import Final, NamedTuple

from rtcrelay.metrics.families import Metric, counters, gauges

STILL_SECONDS: Final = 1.0
"""A worker that has not written for so long gets nothing from the others. It writes ten times a second."""
_NUMBER_BYTES: Final = 8


class _Field(IntEnum):
    PID = 0
    STARTS = 1
    READIES = 2
    TICK = 3
    SESSIONS = 4
    IS_SERVING = 5
    HAS_ROOM = 6


class Row(NamedTuple):
    """One worker."""

    worker: int
    """Its number, from 0."""
    pid: int
    """0: it does not run."""
    starts: int
    """How often it was started."""
    readies: int
    """How often it said that it is ready: after its start, and after each reload."""
    tick_ns: int
    """When it wrote last, by CLOCK_MONOTONIC."""
    sessions: int
    """Its live sessions."""
    is_serving: int
    """1 if it does not drain, else 0."""
    has_room: int
    """1 if it takes calls now, else 0."""

    @property
    def is_turning(self) -> bool:
        """Whether it runs and is not stuck."""
        return self.pid != 0 and time.monotonic_ns() - self.tick_ns < STILL_SECONDS * 1e9


class Board:
    """The rows of all workers. To be made before they are forked."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        memory = mmap.mmap(-1, workers * len(_Field) * _NUMBER_BYTES)  # shared and anonymous; zeros
        self._numbers = memoryview(memory).cast("q")

    def rows(self) -> list[Row]:
        """All of them, in order."""
        return [self.row(worker) for worker in range(self.workers)]

    def row(self, worker: int) -> Row:
        """One of them."""
        first = worker * len(_Field)
        return Row(worker, *self._numbers[first : first + len(_Field)])

    def begin(self, worker: int) -> None:
        """A process will be started for it."""
        self._set(worker, _Field.STARTS, self.row(worker).starts + 1)

    def set_pid(self, worker: int, pid: int) -> None:
        """It is this process."""
        self._set(worker, _Field.PID, pid)

    def clear(self, worker: int) -> None:
        """It is dead."""
        for field in _Field:
            if field is not _Field.STARTS:
                self._set(worker, field, 0)

    def say_ready(self, worker: int) -> None:
        """It has started, or reloaded."""
        self._set(worker, _Field.READIES, self.row(worker).readies + 1)

    def write(self, worker: int, sessions: int, *, is_serving: bool, has_room: bool) -> None:
        """How it fares now."""
        self._set(worker, _Field.SESSIONS, sessions)
        self._set(worker, _Field.IS_SERVING, is_serving)
        self._set(worker, _Field.HAS_ROOM, has_room)
        self._set(worker, _Field.TICK, time.monotonic_ns())

    def collect(self) -> list[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`."""
        rows = self.rows()
        return [
            gauges(
                "rtcrelay_transceiver_worker_up",
                "1 for a worker that runs and whose event loop turns, else 0.",
                ["worker"],
                {str(row.worker): row.is_turning for row in rows},
            ),
            counters(
                "rtcrelay_transceiver_worker_starts_total",
                "How often a process was started for a worker.",
                ["worker"],
                {str(row.worker): row.starts for row in rows},
            ),
        ]

    def _set(self, worker: int, field: _Field, number: int) -> None:
        self._numbers[worker * len(_Field) + field] = number
