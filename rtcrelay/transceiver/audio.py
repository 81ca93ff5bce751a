"""What does a session know about its Opus stream, each way? (RFC 3550, RFC 7587)

Opus passes undecoded. Here are numbers only: sequence, timestamp, sources; sender and receiver reports belong here.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from rtcrelay.rtc.offer_answer import AudioOffer
from rtcrelay.rtc.rtp import RtpPacket, SequenceExtender, opus_duration, write_rtp
from rtcrelay.rtc.srtp import MAX_SOURCES


@dataclass(frozen=True, slots=True)
class OpusPacket:
    """One packet of the client's voice."""

    payload: bytes
    sequence: int
    """Of its source, extended over the roll-overs of 16 bits; grows, but packets may come late."""
    timestamp: int
    """In units of 1/48000 s, modulo 2**32."""
    marker: bool
    """True on the first packet after silence (RFC 7587 section 4.1)."""


class AudioIn:
    """The packets that come from the client."""

    def __init__(self) -> None:
        self.packets = 0
        self.payload_bytes = 0
        self._sources: dict[int, SequenceExtender] = {}
        self._rtcp_indexes: dict[bytes, int] = {}

    def handle_packet(self, packet: RtpPacket) -> tuple[int, bool]:
        """Notes an authentic packet. Returns its extended sequence number and whether it is newer than any
        of its source so far."""
        source = self._sources.get(packet.ssrc)
        if source is None:
            # The SRTP session admits no more sources than MAX_SOURCES, so this table is as bounded as that.
            source = self._sources[packet.ssrc] = SequenceExtender()
        before = source.highest
        sequence = source.extend(packet.sequence)
        return sequence, before is None or sequence > before

    def handle_rtcp(self, source: bytes, index: int) -> bool:
        """Notes an authentic SRTCP packet; True if it is newer than any of its source."""
        is_newest = index > self._rtcp_indexes.get(source, -1)
        if is_newest and (source in self._rtcp_indexes or len(self._rtcp_indexes) < MAX_SOURCES):
            self._rtcp_indexes[source] = index
        return is_newest


class AudioOut:
    """The packets that go to the client: one source, numbered without a gap."""

    def __init__(self, offer: AudioOffer, ssrc: int) -> None:
        self.ssrc = ssrc
        self.may_send = offer.direction in ("sendrecv", "sendonly")
        """False if the client does not listen."""
        self.packets = 0
        self.payload_bytes = 0
        self._payload_type = offer.payload_type
        # RFC 3550 section 5.1: both start at random. The sequence starts in the lower half, so that the
        # first roll-over comes after libsrtp has seen enough packets to follow it.
        self._sequence = secrets.randbelow(0x8000)
        self._offset = secrets.randbits(32)
        self._next_timestamp = 0

    def write(self, payload: bytes, timestamp: int | None, marker: bool) -> bytes:
        """The next RTP packet. ``timestamp`` in units of 1/48000 s from any origin; None: right after the last."""
        if timestamp is None:
            timestamp = self._next_timestamp
        self._next_timestamp = timestamp + opus_duration(payload)
        packet = RtpPacket(self._payload_type, marker, self._sequence, timestamp + self._offset, self.ssrc, payload)
        self._sequence = (self._sequence + 1) & 0xFFFF
        return write_rtp(packet)
