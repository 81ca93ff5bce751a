"""What is in an RTP packet, and how do we write one? (RFC 3550 section 5.1)

RTCP is told apart here (RFC 5761); its sender and receiver reports get a file of their own beside this one.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

MIN_BYTES: Final = 12
OPUS_CLOCK_HZ: Final = 48_000
"""RTP clock of Opus, whatever the audio's own rate (RFC 7587 section 4.1)."""


class RtpPacket(NamedTuple):
    """One RTP packet without extensions, contributing sources and padding."""

    payload_type: int
    """0 to 127."""
    marker: bool
    sequence: int
    """0 to 65535."""
    timestamp: int
    """0 to 2**32 - 1, in units of the payload's clock."""
    ssrc: int
    payload: bytes


def is_rtcp(packet: bytes) -> bool:
    """True if a packet of the RTP/RTCP range is RTCP (RFC 5761 section 4)."""
    return len(packet) > 1 and 192 <= packet[1] <= 223


def read_rtp(packet: bytes) -> RtpPacket | None:
    """Reads a packet; None unless version and every length are right."""
    if len(packet) < MIN_BYTES or packet[0] >> 6 != 2:
        return None
    first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", packet)
    start, end = MIN_BYTES + 4 * (first & 0x0F), len(packet)
    if first & 0x10:
        if start + 4 > end:
            return None
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    if first & 0x20:
        padding = packet[-1]
        if padding == 0:
            return None
        end -= padding
    if start > end:
        return None
    return RtpPacket(second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, packet[start:end])


def write_rtp(packet: RtpPacket) -> bytes:
    """Writes the packet; sequence and timestamp are taken modulo 2**16 and 2**32."""
    second = packet.payload_type | (0x80 if packet.marker else 0)
    header = struct.pack("!BBHII", 0x80, second, packet.sequence & 0xFFFF, packet.timestamp & 0xFFFF_FFFF, packet.ssrc)
    return header + packet.payload


class SequenceExtender:
    """Turns 16-bit sequence numbers into ever-growing ones (RFC 3550 appendix A.1, without its probation)."""

    def __init__(self) -> None:
        self.highest: int | None = None
        """The highest extended number seen; None before the first packet."""

    def extend(self, sequence: int) -> int:
        """The number nearest to the highest one seen that ends in these 16 bits; it may be lower or equal."""
        if self.highest is None:
            self.highest = sequence
            return sequence
        distance = (sequence - self.highest) & 0xFFFF
        extended = self.highest + distance - (0x10000 if distance >= 0x8000 else 0)
        if extended > self.highest:
            self.highest = extended
        return extended


def opus_duration(payload: bytes) -> int:
    """Samples at 48 kHz that an Opus packet lasts, 0 to 5760; 0 if it says nonsense (RFC 6716 section 3)."""
    if not payload:
        return 0
    samples = _opus_frame_samples(payload[0] >> 3)
    code = payload[0] & 0x03
    frames = (1, 2, 2, 0)[code]
    if code == 3 and len(payload) > 1:
        frames = payload[1] & 0x3F
    total = samples * frames
    return total if total <= 5760 else 0


def _opus_frame_samples(config: int) -> int:
    if config < 12:  # SILK: 10, 20, 40, 60 ms
        return (480, 960, 1920, 2880)[config & 3]
    if config < 16:  # hybrid: 10, 20 ms
        return (480, 960)[config & 1]
    return (120, 240, 480, 960)[config & 3]  # CELT: 2.5, 5, 10, 20 ms
