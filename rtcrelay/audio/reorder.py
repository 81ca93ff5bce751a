"""In which order is a voice heard? Packets that come early wait for up to two frames, if waiting has been worth it.

Nothing waits while packets come in order: a buffer that always waits costs its whole length always. After a packet
came too late, or while jitter makes that likely, a gap is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

MAX_FRAMES: Final = 2
"""Waited for at most."""
_CALM_SECONDS: Final = 10.0
"""Without a late packet for so long, the buffer waits one frame less."""
_JITTER_SECONDS: Final = (0.010, 0.020)
"""Interarrival jitter (RFC 3550) from which one frame, and two, are waited for: frames are 20 ms apart, so that only
jitter of that size puts them out of order."""
_RESTART_PACKETS: Final = 500
"""A sequence number this far from the expected one is another source's, or one that began anew."""
_RESTART_LATE: Final = 10
"""So are this many late packets in a row."""
_UNITS: Final = 48_000
_FRAME: Final = 0.02


class OpusPacket(NamedTuple):
    """One packet of the client's voice."""

    payload: bytes
    sequence: int
    """Of its source, extended over the roll-overs of 16 bits; grows, but packets may come late."""
    timestamp: int
    """In units of 1/48000 s, modulo 2**32."""
    marker: bool
    """True on the first packet after silence (RFC 7587 section 4.1)."""


Take: TypeAlias = Callable[[OpusPacket, int], None]
"""Called with each packet in order, and the number of packets that are missing before it (-1: a new source)."""


class ReorderBuffer:
    """One source's packets, put in order."""

    __slots__ = ("_depth_until", "_held", "_jitter", "_late_in_a_row", "_next", "_reorder_depth", "_take",
                 "_transit", "late")  # fmt: skip

    def __init__(self, take: Take) -> None:
        self.late = 0
        """Packets that came after their place had been given up."""
        self._take = take
        self._next: int | None = None
        self._held: dict[int, tuple[OpusPacket, float]] = {}
        self._jitter = 0.0
        self._transit: tuple[int, float] | None = None
        self._reorder_depth = 0
        self._depth_until = 0.0
        self._late_in_a_row = 0

    @property
    def depth(self) -> int:
        """Frames that a gap is waited for now, 0 to 2."""
        by_jitter = sum(self._jitter > limit for limit in _JITTER_SECONDS)
        return max(by_jitter, self._reorder_depth)

    @property
    def jitter_seconds(self) -> float:
        """Interarrival jitter (RFC 3550 appendix A.8)."""
        return self._jitter

    def handle_packet(self, packet: OpusPacket, now: float) -> None:
        """Takes a packet as it comes; passes on what is in order by now."""
        self._measure(packet.timestamp, now)
        expected = self._next
        if expected is None or abs(packet.sequence - expected) > _RESTART_PACKETS:
            self._restart(packet)
        elif packet.sequence == expected:
            self._late_in_a_row = 0
            self._pass(packet, 0)
            self._pass_held()
        elif packet.sequence < expected:
            self._handle_late(packet, expected - packet.sequence, now)
        else:
            self._late_in_a_row = 0
            self._held.setdefault(packet.sequence, (packet, now))
            if len(self._held) > self.depth:
                self._give_up()

    def handle_time(self, now: float) -> None:
        """Gives up gaps that were waited for long enough."""
        if self._held and now - min(at for _, at in self._held.values()) >= self.depth * _FRAME:
            self._give_up()
        if self._reorder_depth and now >= self._depth_until:
            self._reorder_depth -= 1
            self._depth_until = now + _CALM_SECONDS

    def close(self) -> None:
        """Passes nothing on any more, and lets go of who took it."""
        self._take = _drop
        self._held.clear()

    # -- inside

    def _measure(self, timestamp: int, now: float) -> None:
        if self._transit is not None:
            before, at = self._transit
            sent = ((timestamp - before + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000) / _UNITS
            difference = abs(now - at - sent)
            if difference < 1.0:  # more is a pause of the sender's or another origin
                self._jitter += (difference - self._jitter) / 16
        self._transit = timestamp, now

    def _handle_late(self, packet: OpusPacket, distance: int, now: float) -> None:
        self.late += 1
        self._late_in_a_row += 1
        if self._late_in_a_row >= _RESTART_LATE:
            self._restart(packet)
        elif distance <= MAX_FRAMES:
            self._reorder_depth = max(self._reorder_depth, distance)
            self._depth_until = now + _CALM_SECONDS

    def _restart(self, packet: OpusPacket) -> None:
        self._late_in_a_row = 0
        for sequence in sorted(self._held):
            self._take(self._held.pop(sequence)[0], 0)
        self._pass(packet, -1)

    def _give_up(self) -> None:
        """Passes on the first that waits, with the gap before it, and what follows it."""
        first = min(self._held)
        assert self._next is not None
        self._pass(self._held.pop(first)[0], first - self._next)
        self._pass_held()

    def _pass_held(self) -> None:
        while self._next in self._held:
            self._pass(self._held.pop(self._next)[0], 0)

    def _pass(self, packet: OpusPacket, missing: int) -> None:
        self._next = packet.sequence + 1
        self._take(packet, missing)


def _drop(packet: OpusPacket, missing: int) -> None:
    pass
