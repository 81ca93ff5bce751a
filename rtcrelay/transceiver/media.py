"""What is said and heard in one call? The SRTP and SRTCP of one session, its streams and their reports.

Packets and ``now`` in, protected packets out; no path and no socket. Law: what does not authenticate counts for
nothing.
"""

from __future__ import annotations

import secrets
import time
from typing import Final, NamedTuple

from rtcrelay.rtc.offer_answer import AudioOffer
from rtcrelay.rtc.reports import Reporter
from rtcrelay.rtc.rtp import is_rtcp, read_rtp
from rtcrelay.rtc.srtp import Srtp
from rtcrelay.transceiver.audio import AudioOut, OpusPacket
from rtcrelay.transceiver.counters import Count, Counters, Drop

CNAME: Final = "rtcrelay"
"""Of the audio we send, in its reports and in the answer: one stream has nothing to be in step with."""


class Heard(NamedTuple):
    """A packet that authenticated."""

    is_newest: bool
    """Whether its source has sent none newer."""
    opus: OpusPacket | None
    """The voice in it, if that is what it was."""


class Media:
    """Both directions of one session's audio."""

    def __init__(self, offer: AudioOffer | None, counters: Counters, now: float, max_bit_rate: int = 0) -> None:
        """``offer`` None: there is no audio, and all that comes is dropped. ``max_bit_rate``: of the voice that is
        taken, in bits per second; 0: any."""
        self.ssrc = secrets.randbits(32)
        """Of the audio we send."""
        self.srtp: Srtp | None = None
        """The keys; None until DTLS has them."""
        # The wall clock is only for the reports' own times; nothing here depends on it.
        self.reports = Reporter(self.ssrc, CNAME, now, unix_offset=time.time() - now)
        """Loss, jitter and round trip, and what is told about them."""
        self.packets_in = self.bytes_in = 0
        """Of Opus, from the client."""
        self._out = AudioOut(offer, self.ssrc) if offer is not None else None
        self._counters = counters
        self._payload_type = offer.payload_type if offer is not None else -1
        self._rtcp_indexes: dict[bytes, int] = {}
        self._max_bytes = max_bit_rate / 8
        self._spare_bytes, self._spared_at = self._max_bytes, now

    def handle_packet(self, packet: bytes, now: float) -> Heard | Drop:
        """An SRTP or SRTCP packet of the client's, or why it is not."""
        srtp = self.srtp
        if srtp is None:
            return Drop.NO_KEYS
        return self._handle_rtcp(srtp, packet, now) if is_rtcp(packet) else self._handle_rtp(srtp, packet, now)

    def write_opus(self, payload: bytes, timestamp: int | None, marker: bool, now: float) -> bytes | None:
        """The packet for the next sound; empty if none is needed, None if there are no keys yet or nobody listens.
        `handle_sent` if it left."""
        srtp, audio = self.srtp, self._out
        if srtp is None or audio is None or not audio.may_send:
            return None
        plain = audio.write(payload, timestamp, marker, now)
        packet = srtp.protect(plain) if plain else b""
        if packet is None:
            self._counters.drops[Drop.TOO_LONG_TO_SEND] += 1
        return packet

    def handle_sent(self, payload_bytes: int, now: float) -> bool:
        """The packet that was written last has left. True if it was the first."""
        assert self._out is not None
        self.reports.handle_sent(self._out.timestamp, payload_bytes, now)
        self._counters.counts[Count.RTP_OUT] += 1
        return self.reports.sent_packets == 1

    def poll_report(self, now: float) -> bytes | None:
        """The protected report that is due; None if none is."""
        report = self.reports.poll_report(now)
        return None if report is None or self.srtp is None else self.srtp.protect_rtcp(report)

    def goodbye(self, now: float) -> bytes | None:
        """The protected last report, with a BYE behind it; None if nothing was ever sent."""
        if self.srtp is None or not self.reports.sent_packets:
            return None
        return self.srtp.protect_rtcp(self.reports.goodbye(now))

    def _handle_rtcp(self, srtp: Srtp, packet: bytes, now: float) -> Heard | Drop:
        plain = srtp.unprotect_rtcp(packet)
        if plain is None:
            return _refusal(srtp, packet[4:8])
        self._counters.counts[Count.RTCP_IN] += 1
        source, index = packet[4:8], srtp.rtcp_index(packet)
        is_newest = index > self._rtcp_indexes.get(source, -1)
        if is_newest:  # as bounded as the SRTP session's sources
            self._rtcp_indexes[source] = index
        if not self.reports.handle_rtcp(plain, now):
            self._counters.drops[Drop.RTCP_MALFORMED] += 1
        return Heard(is_newest, None)

    def _spend(self, count: int, now: float) -> bool:
        """Whether that much may be taken now; a second's worth may come at once."""
        spare = min(self._max_bytes, self._spare_bytes + (now - self._spared_at) * self._max_bytes)
        self._spared_at = now
        self._spare_bytes = spare - count if count <= spare else spare
        return count <= spare

    def _handle_rtp(self, srtp: Srtp, packet: bytes, now: float) -> Heard | Drop:
        plain = srtp.unprotect(packet)
        if plain is None:
            return _refusal(srtp, packet[8:12])
        rtp = read_rtp(plain)
        if rtp is None:
            self._counters.drops[Drop.RTP_MALFORMED] += 1
            return Heard(False, None)
        payload_type, marker, number, timestamp, ssrc, payload = rtp
        sequence, is_newest = self.reports.handle_packet(ssrc, number, timestamp, now)
        if payload_type != self._payload_type:
            self._counters.drops[Drop.OTHER_PAYLOAD_TYPE] += 1
            return Heard(is_newest, None)
        if self._max_bytes and not self._spend(len(payload), now):
            self._counters.drops[Drop.OVER_BIT_RATE] += 1
            return Heard(is_newest, None)
        self._counters.counts[Count.RTP_IN] += 1
        self.packets_in += 1
        self.bytes_in += len(payload)
        return Heard(is_newest, OpusPacket(payload, sequence, timestamp, marker))


def _refusal(srtp: Srtp, source: bytes) -> Drop:
    return Drop.NOT_AUTHENTIC if srtp.has_room_for(source) else Drop.TOO_MANY_SOURCES
