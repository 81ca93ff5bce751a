"""One way of a link: when does each packet come out at the other end, if at all?

Law: no socket and no clock here. ``now`` is in nanoseconds of a monotonic clock.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from rtcrelay.lab.world import Impairment

_NS_PER_MS = 1_000_000
MOST_JITTER = 10
"""An addition is at most so many times its mean: one packet in 22,000 would be later."""
MOST_WAITING = 100_000
"""Packets under way in one direction; what comes beside them is lost as by a full queue."""


@dataclass(slots=True)
class Counts:
    """What became of the packets of one direction."""

    sent: int = 0
    """Let out at the other end."""
    lost: int = 0
    """By the link's loss."""
    overflowed: int = 0
    """For which the rate's queue had no room."""
    reordered: int = 0
    """Held back, and so overtaken."""
    bytes: int = 0
    """Of those sent."""
    late_ns: list[int] = field(default_factory=list)
    """How much after they were due packets were sent, of the last `LATE_MEMORY`: the emulator's own error."""


class Direction:
    """The packets on their way from one end to the other."""

    def __init__(self, impairment: Impairment, seed: str) -> None:
        """``seed``: the same seed and the same packets at the same times have the same fate."""
        self.counts = Counts()
        self._random = random.Random(seed)  # noqa: S311  # repeatable, not secret
        self._waiting: list[tuple[int, int, bytes]] = []
        self._serial = 0
        self._free_at = self._last_due = 0
        self.change(impairment)

    def change(self, impairment: Impairment) -> None:
        """Treats packets differently from now on; those under way arrive as they would have."""
        self.impairment = impairment
        self._delay = round(impairment.delay_ms * _NS_PER_MS)
        self._jitter = impairment.jitter_ms * _NS_PER_MS
        self._loss, self._reorder = impairment.loss_percent / 100, impairment.reorder_percent / 100
        self._held = round(impairment.reorder_ms * _NS_PER_MS)
        self._ns_per_byte = 8000 / impairment.rate_mbit if impairment.rate_mbit else 0.0
        self._queue = round(impairment.queue_ms * _NS_PER_MS)

    def push(self, packet: bytes, now: int) -> None:
        """Takes a packet in at one end."""
        if self._loss and self._random.random() < self._loss:
            self.counts.lost += 1
            return
        leaves = now
        if self._ns_per_byte:
            leaves = max(now, self._free_at)
            if leaves - now > self._queue:
                self.counts.overflowed += 1
                return
            leaves = self._free_at = leaves + round(len(packet) * self._ns_per_byte)
        if len(self._waiting) >= MOST_WAITING:
            self.counts.overflowed += 1
            return
        due = leaves + self._delay
        if self._jitter:
            due += min(round(self._random.expovariate(1) * self._jitter), round(MOST_JITTER * self._jitter))
        if self._reorder and self._random.random() < self._reorder:
            self.counts.reordered += 1
            due += self._held
        else:
            due = self._last_due = max(due, self._last_due)
        self._serial += 1
        heapq.heappush(self._waiting, (due, self._serial, packet))

    def poll(self, now: int) -> bytes | None:
        """The next packet that is due at the other end, or None."""
        if not self._waiting or self._waiting[0][0] > now:
            return None
        due, _, packet = heapq.heappop(self._waiting)
        counts = self.counts
        counts.sent += 1
        counts.bytes += len(packet)
        counts.late_ns.append(now - due)
        if len(counts.late_ns) > 2 * LATE_MEMORY:
            del counts.late_ns[:LATE_MEMORY]
        return packet

    def poll_timeout(self) -> int | None:
        """When the next packet is due; None: none is under way."""
        return self._waiting[0][0] if self._waiting else None


LATE_MEMORY = 10_000
