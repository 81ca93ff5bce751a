"""What do both ends of a call tell each other about its media? One end's RTCP, without socket, clock or keys.

The owner notes each RTP packet, passes decrypted RTCP to `Reporter.handle_rtcp`, and sends what
`Reporter.poll_report` gives it at `Reporter.poll_timeout` (`Srtp.protect_rtcp` first). Server and client alike.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from rtcrelay.rtc.reception import ReceivedSource
from rtcrelay.rtc.rtcp import (
    Description,
    Goodbye,
    Report,
    ReportBlock,
    SenderInfo,
    middle_bits,
    ntp_time,
    read_rtcp,
    write_goodbye,
    write_report,
)
from rtcrelay.rtc.rtp import OPUS_CLOCK_HZ
from rtcrelay.rtc.srtp import MAX_SOURCES

REPORT_SECONDS: Final = 2.0
"""Mean time between reports, each randomly 0.5 to 1.5 times that (RFC 3550 section 6.2). Chosen: a packet of about
120 bytes is then 0.5 kb/s, 1.5 % of a voice stream, where 5 % are allowed; browsers steer FEC by these reports."""
_MAX_ROUND_TRIP: Final = 30 * 65536
"""In 1/65536 s. A longer one is a clock that jumped, or a lie."""


@dataclass(slots=True)
class RemoteView:
    """What the peer last said about the stream we send."""

    fraction_lost: float = 0.0
    """Between its last two reports, 0 to 1."""
    lost: int = 0
    """Since the beginning; negative if packets came twice."""
    jitter: float = 0.0
    """In units of the payload's clock."""
    reports: int = 0
    """How many of its report blocks were about us."""
    highest_sequence: int = 0
    """The highest sequence number that had come, extended over the roll-overs of 16 bits."""


class Reporter:
    """One end's reports: about the stream it sends and the sources it receives."""

    def __init__(self, ssrc: int, cname: str, now: float, *, unix_offset: float, clock_hz: int = OPUS_CLOCK_HZ) -> None:
        """``unix_offset`` is Unix time less ``now``, in seconds: reports name instants by the wall clock."""
        self.sources: dict[int, ReceivedSource] = {}
        """By SSRC; at most `MAX_SOURCES`. A goodbye removes none: it may be a lie, or the source may come back."""
        self.remote = RemoteView()
        self.round_trip: float | None = None
        """The last one measured, in seconds (RFC 3550 section 6.4.1); None before."""
        self.sent_packets = self.sent_bytes = 0
        """RTP packets, and bytes of their payloads."""
        self.reports_sent = self.reports_received = 0
        self._ssrc, self._cname, self._unix_offset, self._clock_hz = ssrc, cname.encode(), unix_offset, clock_hz
        self._sent_timestamp = 0
        self._sent_at = now
        self._sent_before = 0
        self._current: ReceivedSource | None = None
        self._report_at: float | None = None

    # -- media

    def handle_packet(self, ssrc: int, sequence: int, timestamp: int, now: float) -> tuple[int, bool]:
        """Notes an authentic RTP packet. Returns its extended sequence number, and whether its source has
        sent none newer."""
        source = self._current
        if source is None or source.ssrc != ssrc:
            source = self._find(ssrc, now)
        before = source.highest
        extended = source.handle_packet(sequence, timestamp, now)
        return extended, extended > before

    def handle_sent(self, timestamp: int, payload_bytes: int, now: float) -> None:
        """Notes an RTP packet of ours; the timestamp as on the wire."""
        self.sent_packets += 1
        self.sent_bytes += payload_bytes
        self._sent_timestamp, self._sent_at = timestamp, now
        if self._report_at is None:
            self._schedule(now, first=True)

    # -- reports

    def handle_rtcp(self, packet: bytes, now: float) -> bool:
        """Takes one decrypted RTCP packet. False if it is malformed: nothing of it counts then."""
        items = read_rtcp(packet)
        if items is None:
            return False
        for item in items:
            if isinstance(item, Report):
                self._handle_report(item, now)
            elif isinstance(item, Goodbye | Description):
                continue  # nothing depends on them: a source that says goodbye may send again, and is counted again
        return True

    def poll_timeout(self) -> float | None:
        """When `poll_report` has something to say; None before the first packet."""
        return self._report_at

    def poll_report(self, now: float) -> bytes | None:
        """The compound packet that is due, in the clear; None if none is."""
        if self._report_at is None or now < self._report_at:
            return None
        self._schedule(now)
        return self._report(now)

    def goodbye(self, now: float) -> bytes:
        """The last report, with a BYE behind it."""
        return self._report(now) + write_goodbye(self._ssrc)

    @property
    def received(self) -> int:
        """RTP packets of all sources."""
        return sum(source.received for source in self.sources.values())

    @property
    def lost(self) -> int:
        """Packets of all sources that did not come."""
        return sum(source.lost for source in self.sources.values())

    @property
    def current(self) -> ReceivedSource | None:
        """The source that was heard last."""
        return self._current

    # -- inside

    def _find(self, ssrc: int, now: float) -> ReceivedSource:
        source = self.sources.get(ssrc)
        if source is None:
            if len(self.sources) >= MAX_SOURCES:  # the SRTP session admits no more; this only makes it certain
                del self.sources[next(iter(self.sources))]
            source = self.sources[ssrc] = ReceivedSource(ssrc, self._clock_hz)
        if self._report_at is None:
            self._schedule(now, first=True)
        self._current = source
        return source

    def _handle_report(self, report: Report, now: float) -> None:
        self.reports_received += 1
        if report.sender is not None:
            source = self.sources.get(report.ssrc)
            if source is not None:
                source.handle_sender_report(report.sender, now)
        for block in report.blocks:
            if block.ssrc == self._ssrc:
                self._handle_block(block, now)

    def _handle_block(self, block: ReportBlock, now: float) -> None:
        remote = self.remote
        remote.fraction_lost, remote.lost, remote.jitter = block.fraction_lost / 256, block.lost, block.jitter
        remote.highest_sequence = block.highest_sequence
        remote.reports += 1
        if block.last_report:
            elapsed = (middle_bits(ntp_time(now + self._unix_offset)) - block.last_report - block.delay) & 0xFFFF_FFFF
            if elapsed > 0xFFFF_0000:  # up to a second below zero: rounding, and clocks that run differently
                elapsed = 0
            if elapsed <= _MAX_ROUND_TRIP:
                self.round_trip = elapsed / 65536

    def _report(self, now: float) -> bytes:
        blocks = [source.poll_block(now) for source in self.sources.values() if source.has_news]
        sender = None
        if self.sent_packets > self._sent_before:
            timestamp = self._sent_timestamp + round((now - self._sent_at) * self._clock_hz)
            ntp = ntp_time(now + self._unix_offset)
            sender = SenderInfo(ntp, timestamp & 0xFFFF_FFFF, self.sent_packets, self.sent_bytes)
        self._sent_before = self.sent_packets
        self.reports_sent += 1
        return write_report(self._ssrc, sender, blocks, self._cname)

    def _schedule(self, now: float, *, first: bool = False) -> None:
        # RFC 3550 section 6.2: half the interval for the first. Its reconsideration is for groups, not for two.
        mean = REPORT_SECONDS / 2 if first else REPORT_SECONDS
        self._report_at = now + mean * random.uniform(0.5, 1.5)  # noqa: S311  # no secret: it spreads load
