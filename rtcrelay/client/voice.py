"""The sender: a recording as RTP, 50 packets a second for as long as the call lasts.

Law: no clock here. Being called late is made up for with a burst; being called far too late is not:
a real microphone's audio of that time would be old.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

from rtcrelay.rtc.rtp import RtpPacket, write_rtp

FRAME_SECONDS = 0.02
"""Ptime of the recording."""
FRAME_SAMPLES = 960
"""The same in the RTP clock of Opus, 48 kHz whatever the audio (RFC 7587 section 4.1)."""
BURST_PACKETS = 10
"""What is sent at once at most after a late call; older frames are skipped, as a live source would."""


class Voice:
    """One RTP stream that plays Opus frames in a circle."""

    def __init__(self, frames: Sequence[bytes], payload_type: int, ssrc: int) -> None:
        self.skipped = 0
        """Frames left out because the timer came too late."""
        self._frames = frames
        self._payload_type = payload_type
        self._ssrc = ssrc
        self.first_sequence = secrets.randbits(15)
        """Of its first packet, below 2**15: nobody can take its roll-over counter for another."""
        self._first_timestamp = secrets.randbits(32)
        self._sent = 0
        self._frame = 0
        self._started_at: float | None = None
        self._muted = False

    def start(self, now: float) -> None:
        """The first frame is due now."""
        if self._started_at is None:
            self._started_at = now

    def stop(self) -> None:
        """Nothing is due any more."""
        self._started_at = None

    def mute(self, muted: bool, now: float) -> None:
        """Stops sending, or goes on: timestamps then show the pause, sequence numbers do not (as with DTX)."""
        if self._muted and not muted and self._started_at is not None:
            self._frame = max(self._frame, math.ceil((now - self._started_at) / FRAME_SECONDS))
        self._muted = muted

    def poll_timeout(self) -> float | None:
        """When the next frame is due."""
        if self._started_at is None or self._muted:
            return None
        return self._started_at + self._frame * FRAME_SECONDS

    def handle_timer(self, now: float) -> list[tuple[bytes, bytes]]:
        """The packets that are due, as (payload, RTP packet)."""
        if self._started_at is None or self._muted:
            return []
        due = int((now - self._started_at) / FRAME_SECONDS + 1e-6) + 1
        if due - self._frame > BURST_PACKETS:
            self.skipped += due - self._frame - BURST_PACKETS
            self._frame = due - BURST_PACKETS
        return [self._next() for _ in range(due - self._frame)]

    def _next(self) -> tuple[bytes, bytes]:
        payload = self._frames[self._frame % len(self._frames)]
        packet = RtpPacket(
            self._payload_type,
            self._sent == 0,
            self.first_sequence + self._sent,
            self._first_timestamp + self._frame * FRAME_SAMPLES,
            self._ssrc,
            payload,
        )
        self._frame += 1
        self._sent += 1
        return payload, write_rtp(packet)
