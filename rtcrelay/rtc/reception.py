"""How well does one RTP source arrive? Loss and jitter as RFC 3550 counts them (sections 6.4.1, A.1, A.3, A.8).

No clock and no bytes: numbers of packets in, a report block out.
"""

from __future__ import annotations

from typing import Final

from rtcrelay.rtc.rtcp import ReportBlock, SenderInfo, middle_bits

_ABSURD_JITTER: Final = 5.0
"""Seconds: a difference of transit times beyond it is a new timestamp origin, no jitter. Chromium's figure."""


class ReceivedSource:
    """One source (SSRC) that sends to us."""

    __slots__ = (
        "_base",
        "_clock_hz",
        "_expected_before",
        "_received_before",
        "_sender_report",
        "_sender_report_at",
        "_transit",
        "highest",
        "jitter",
        "last_fraction_lost",
        "received",
        "ssrc",
    )

    def __init__(self, ssrc: int, clock_hz: int) -> None:
        self.ssrc = ssrc
        self.highest = -1
        """The highest sequence number so far, extended over the roll-overs of 16 bits; -1 before the first."""
        self.received = 0
        """Packets, late and double ones included (RFC 3550 section 6.4.1)."""
        self.jitter = 0.0
        """In units of the payload's clock."""
        self.last_fraction_lost = 0.0
        """Between the last two reports, 0 to 1."""
        self._clock_hz = clock_hz
        self._base = 0
        self._transit = 0.0
        self._expected_before = self._received_before = 0
        self._sender_report = 0
        self._sender_report_at = 0.0

    def handle_packet(self, sequence: int, timestamp: int, now: float) -> int:
        """Counts an authentic packet, in any order. Returns its extended sequence number: the nearest to the
        highest one that ends in these 16 bits."""
        self.received += 1
        highest = self.highest
        arrival = now * self._clock_hz - timestamp
        if highest < 0:
            self.highest = self._base = sequence
            self._transit = arrival
            return sequence
        distance = (sequence - highest) & 0xFFFF
        if distance >= 0x8000 or distance == 0:
            # Late or double. Neither counts for jitter, as in Chromium. Before the first roll-over a packet from
            # before the first one would be negative: it takes its place before all others.
            extended = highest + distance - (0x10000 if distance else 0)
            self._base = min(self._base, extended)
            return extended
        self.highest = highest + distance
        self._on_transit(arrival)
        return self.highest

    def handle_sender_report(self, sender: SenderInfo, now: float) -> None:
        """The source's own report came."""
        self._sender_report, self._sender_report_at = middle_bits(sender.ntp), now

    @property
    def expected(self) -> int:
        """Packets that the sequence numbers promise."""
        return self.highest - self._base + 1 if self.received else 0

    @property
    def lost(self) -> int:
        """Packets that did not come; negative if some came twice."""
        return self.expected - self.received

    @property
    def has_news(self) -> bool:
        """Whether a packet came since the last report."""
        return self.received > self._received_before

    def poll_block(self, now: float) -> ReportBlock:
        """The report block for now; it begins a new interval for the fraction of lost packets."""
        expected, lost = self.expected, self.lost
        expected_now, received_now = expected - self._expected_before, self.received - self._received_before
        self._expected_before, self._received_before = expected, self.received
        lost_now = max(0, expected_now - received_now)
        self.last_fraction_lost = lost_now / expected_now if expected_now > 0 else 0.0
        has_report = self._sender_report_at > 0
        return ReportBlock(
            self.ssrc,
            min(255, int(self.last_fraction_lost * 256)),
            lost,
            self.highest & 0xFFFF_FFFF,
            int(self.jitter),
            self._sender_report if has_report else 0,
            round((now - self._sender_report_at) * 65536) if has_report else 0,
        )

    def _on_transit(self, transit: float) -> None:
        # Timestamps roll over at 2**32, and so does the difference of two transit times.
        difference = abs((transit - self._transit + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000)
        self._transit = transit
        if difference < _ABSURD_JITTER * self._clock_hz:
            self.jitter += (difference - self.jitter) / 16
