"""Which speech packets came back, when, and which never did.

Echoes are matched by payload: an echo may renumber packets, and in the recording every frame is
different. Sequence numbers are judged apart, because they show the loss on the way back alone.
Law: no clock here; `now` is in seconds of any monotonic clock.
"""

from __future__ import annotations

from collections import deque

from rtcrelay.client.timings import Gap, RoundTrip
from rtcrelay.rtc.rtp import SequenceExtender

LATE_SECONDS = 3.0
"""An echo later than this is lost. Shorter than the recording, so that its next turn cannot be mistaken."""
GAP_SECONDS = 0.06
"""Silence from here on is remembered as a gap: two missing packets of 20 ms."""
KEPT_ROUND_TRIPS = 65_536
KEPT_GAPS = 256
KEPT_ARRIVALS = 512


class EchoTally:
    """Counts one call's audio."""

    def __init__(self) -> None:
        self.sent = self.received = self.echoed = self.duplicated = self.unreturned = 0
        self._waiting: dict[bytes, float] = {}
        self._returned: set[bytes] = set()
        self._round_trips: deque[float] = deque(maxlen=KEPT_ROUND_TRIPS)
        self._gaps: deque[tuple[float, float]] = deque(maxlen=KEPT_GAPS)
        self._last_at: float | None = None
        self._arrivals: deque[float] = deque(maxlen=KEPT_ARRIVALS)
        self._sequences = SequenceExtender()
        self._first_sequence = 0

    def on_sent(self, payload: bytes, now: float) -> None:
        """A speech packet was sent."""
        self.sent += 1
        self._expire(now)
        if self._waiting.pop(payload, None) is not None:
            self.unreturned += 1
        # The newest is last, so that `_expire` may stop at the first that is young.
        self._waiting[payload] = now
        self._returned.discard(payload)

    def on_received(self, sequence: int, payload: bytes, now: float) -> bool:
        """An authenticated packet arrived (16-bit sequence number). True if it is an echo of ours."""
        extended = self._sequences.extend(sequence)
        if not self.received:
            self._first_sequence = extended
        self.received += 1
        if self._last_at is not None and now - self._last_at >= GAP_SECONDS:
            self._gaps.append((self._last_at, now))
        self._last_at = now
        self._arrivals.append(now)
        sent_at = self._waiting.pop(payload, None)
        if sent_at is not None and now - sent_at <= LATE_SECONDS:
            self.echoed += 1
            self._round_trips.append(now - sent_at)
            self._returned.add(payload)
            return True
        if sent_at is not None:
            self.unreturned += 1
        elif payload in self._returned:
            self.duplicated += 1
        return False

    @property
    def lost(self) -> int:
        """Packets missing from the server's sequence numbers so far, not below zero."""
        highest = self._sequences.highest
        return 0 if highest is None else max(0, highest - self._first_sequence + 1 - self.received)

    def longest_gap(self, since: float, now: float) -> Gap | None:
        """The longest silence that ended after `since`, the present one included; None below `GAP_SECONDS`."""
        gaps = [gap for gap in self._gaps if gap[1] >= since]
        if self._last_at is not None and now - self._last_at >= GAP_SECONDS:
            gaps.append((self._last_at, now))
        if not gaps:
            return None
        start, end = max(gaps, key=lambda gap: gap[1] - gap[0])
        return Gap(start, (end - start) * 1000)

    def recent_arrivals(self) -> tuple[float, ...]:
        """When the last `KEPT_ARRIVALS` packets came, oldest first."""
        return tuple(self._arrivals)

    def round_trip(self) -> RoundTrip:
        """Over the last `KEPT_ROUND_TRIPS` echoes."""
        values = sorted(value * 1000 for value in self._round_trips)
        if not values:
            return RoundTrip()
        last = len(values) - 1
        return RoundTrip(values[0], values[last // 2], values[round(last * 0.99)], values[last])

    def settle(self, now: float) -> None:
        """Counts what is late by now as unreturned; call it before reading the counts."""
        self._expire(now)

    def _expire(self, now: float) -> None:
        while self._waiting:
            payload = next(iter(self._waiting))
            if now - self._waiting[payload] <= LATE_SECONDS:
                return
            del self._waiting[payload]
            self.unreturned += 1
