"""How do Opus packets that come in bursts leave as voice? As `Speaker` does with samples, without decoding them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from rtcrelay.audio.speaker import MAX_SECONDS
from rtcrelay.rtc.rtp import opus_duration

RATE: Final = 24_000
"""That samples are counted at, as for PCM."""
_FRAME_SAMPLES: Final = RATE // 50


class OpusSpeaker:
    """What one client hears, packet by packet."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self.played_samples = 0
        """See `Speaker.played_samples`."""
        self.queued_samples = 0
        """See `Speaker.queued_samples`."""
        self._send = send
        self._packets: deque[tuple[bytes, int]] = deque()
        self._ahead = 0

    @property
    def is_playing(self) -> bool:
        """See `Speaker.is_playing`."""
        return bool(self._packets)

    def has_room(self, samples: int) -> bool:
        """See `Speaker.has_room`."""
        return self.queued_samples + samples <= MAX_SECONDS * RATE

    def play(self, packet: bytes) -> bool:
        """Adds one packet. False if there is no room. Raises ValueError for what is no Opus."""
        samples = opus_duration(packet) * RATE // 48_000
        if not samples:
            raise ValueError("this is no Opus packet")
        if not self.has_room(samples):
            return False
        self._packets.append((packet, samples))
        self.queued_samples += samples
        return True

    def clear(self) -> int:
        """See `Speaker.clear`."""
        dropped, self.queued_samples, self._ahead = self.queued_samples, 0, 0
        self._packets.clear()
        return dropped

    def handle_frame(self, loss: float = 0.0) -> None:
        """See `Speaker.handle_frame`; packets of other lengths than 20 ms leave when the ones before are over."""
        self._ahead = max(0, self._ahead - _FRAME_SAMPLES)
        while self._packets and self._ahead < _FRAME_SAMPLES:
            packet, samples = self._packets.popleft()
            self.queued_samples -= samples
            self.played_samples += samples
            self._ahead += samples
            self._send(packet)
