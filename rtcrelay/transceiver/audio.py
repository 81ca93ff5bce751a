"""How do Opus packets become one unbroken RTP stream? (RFC 3550 section 5.1, RFC 7587)

Opus passes undecoded. Here are numbers only: what a stream's sequence numbers, timestamps and markers are,
whatever a backend does: silence, another origin of its timestamps, calls of many hours.
"""

from __future__ import annotations

import secrets
from struct import Struct
from typing import Final

from rtcrelay.audio.reorder import OpusPacket as OpusPacket
from rtcrelay.rtc.offer_answer import AudioOffer
from rtcrelay.rtc.rtp import OPUS_CLOCK_HZ, opus_duration

SILENCE_SECONDS: Final = 0.1
"""Without a packet for this long after the last one was over, there was silence: five frames, more than scheduling
delays, less than Chromium's comfort noise during DTX, every 400 ms."""
ORIGIN_SECONDS: Final = 30.0
"""A timestamp this far from where time is has another origin: a client's source was replaced, for example."""
MAX_DTX_BYTES: Final = 2
"""An Opus packet as short as this says that there is silence (RFC 6716 section 2.1.9)."""
_HEADER: Final = Struct("!BBHII")


class AudioOut:
    """The packets that go to the client: one source, numbered without a gap."""

    __slots__ = ("_end_at", "_has_said_so", "_is_silent", "_next", "_offset", "_pauses", "_second", "_sequence",
                 "may_send", "ssrc", "timestamp")  # fmt: skip

    def __init__(self, offer: AudioOffer, ssrc: int) -> None:
        self.ssrc = ssrc
        self.may_send = offer.direction in ("sendrecv", "sendonly")
        """False if the client does not listen."""
        self.timestamp = secrets.randbits(32)
        """Of the last packet, as on the wire."""
        self._second = offer.payload_type
        # RFC 3550 section 5.1: both start at random. The sequence starts in the lower half, so that the
        # first roll-over comes after libsrtp has seen enough packets to follow it.
        self._sequence = secrets.randbelow(0x8000)
        self._next = self.timestamp
        self._offset: int | None = None
        self._end_at = 0.0
        self._is_silent = True
        self._pauses = offer.wants_dtx
        self._has_said_so = False

    def write(self, payload: bytes, timestamp: int | None, marker: bool, now: float) -> bytes:
        """The next RTP packet; empty if none is needed. ``timestamp``: see `Call.send_opus`.

        A client that asks for discontinuous transmission (RFC 7587 ``usedtx``) gets the first of several packets
        which say that there is silence, as libwebrtc sends it.
        """
        duration = opus_duration(payload)
        silent = max(0.0, now - self._end_at) if self._end_at else 0.0
        if silent > SILENCE_SECONDS:
            self._is_silent = True
        if timestamp is None:
            # Whole frames of 20 ms, so that a receiver's own frames keep their rhythm.
            wire = self._next + (round(silent * 50) * 960 if silent > SILENCE_SECONDS else 0)
            start = max(self._end_at, now) if silent > SILENCE_SECONDS or not self._end_at else self._end_at
        else:
            wire, start = self._place(timestamp, silent), now
        self._end_at = start + duration / OPUS_CLOCK_HZ
        self._next = wire + duration & 0xFFFF_FFFF
        if len(payload) > MAX_DTX_BYTES:
            marker, self._is_silent, self._has_said_so = marker or self._is_silent, False, False
        elif self._has_said_so and self._pauses:
            return b""
        else:
            self._is_silent = self._has_said_so = True
        self.timestamp = wire = wire & 0xFFFF_FFFF
        sequence = self._sequence
        self._sequence = sequence + 1 & 0xFFFF
        return _HEADER.pack(0x80, self._second | 0x80 if marker else self._second, sequence, wire, self.ssrc) + payload

    def _place(self, timestamp: int, silent: float) -> int:
        """Where a timestamp of the backend's origin is in our stream."""
        if self._offset is not None:
            wire = timestamp + self._offset
            distance = (wire - self._next + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
            if abs(distance / OPUS_CLOCK_HZ - silent) < ORIGIN_SECONDS:
                return wire
        wire = self._next + round(silent * OPUS_CLOCK_HZ)
        self._offset = wire - timestamp
        self._is_silent = True
        return wire
