"""How does PCM that comes in bursts leave as voice? Kept, encoded when it is due, one packet every 20 ms.

Laws: what is kept is bounded; `Speaker.clear` is heard in the next packet; a frame that is not there in time is left
to the client's jitter buffer, and is silence only if nothing comes after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rtcrelay.audio.detector import loudness
from rtcrelay.audio.opus import BYTES_PER_SAMPLE, Encoder, Rate, frame_bytes

MAX_SECONDS: Final = 120.0
"""Kept at most. Chosen: models finish saying two minutes in seconds, and nobody listens longer without a word."""
BIT_RATE: Final = 32_000
"""Bits per second. Transparent for wide-band voice (RFC 7587 section 3.1.1 recommends 28 to 40 kb/s for full band)."""
_LATE_FRAMES: Final = 2
"""So long a frame may be late before it counts as the end: jitter buffers of clients hold 40 ms and more."""
_TAIL_FRAMES: Final = 12
"""Of silence after the end, until the encoder itself says that there is silence (RFC 6716 section 2.1.9)."""
_MAX_DTX_BYTES: Final = 2
_LIVE_WINDOW_FRAMES: Final = 100
_LIVE_FLOOR_FRAMES: Final = 2
_QUIET: Final = 200.0
"""Root mean square, -44 dBFS: below it a frame of a live source may be left out."""


class Speaker:
    """What one client hears."""

    __slots__ = ("_buffer", "_encoder", "_floor", "_frame_bytes", "_limit", "_live", "_missing", "_partial", "_rate",
                 "_send", "_silence", "_tail", "_ticks", "left_out_frames", "played_samples")  # fmt: skip

    def __init__(self, send: Callable[[bytes], object], rate: Rate, *, live: bool = False) -> None:
        """``send`` takes an Opus packet. ``live``: the source makes 20 ms of sound each 20 ms by a clock of its own,
        as a microphone does; where it is faster than ours, a quiet frame is left out now and then, and silence is
        left out where sound waits behind it: the end of a client's pause comes in one burst with its next word.

        Raises ConfigError if there is no libopus.
        """
        self.played_samples = 0
        """Sent since the beginning, without the silence that was added."""
        self.left_out_frames = 0
        """Of a live source, because its clock is faster, or because they were silence that came late."""
        self._send, self._rate, self._live = send, rate, live
        self._encoder = Encoder(rate, BIT_RATE)
        self._frame_bytes = frame_bytes(rate)
        self._silence = bytes(self._frame_bytes)
        self._limit = int(MAX_SECONDS * rate) * BYTES_PER_SAMPLE
        self._buffer = bytearray()
        self._missing = _LATE_FRAMES
        self._tail = 0
        self._partial = 0
        self._floor = self._ticks = 0

    @property
    def queued_samples(self) -> int:
        """Kept, not sent yet."""
        return len(self._buffer) // BYTES_PER_SAMPLE

    @property
    def queued_seconds(self) -> float:
        """The same as a time."""
        return self.queued_samples / self._rate

    @property
    def is_playing(self) -> bool:
        """Whether there is anything to be heard still."""
        return bool(self._buffer)

    def has_room(self, samples: int) -> bool:
        """Whether `play` would take so many."""
        return len(self._buffer) + samples * BYTES_PER_SAMPLE <= self._limit

    def play(self, pcm: bytes) -> bool:
        """Adds samples to what will be heard. False if there is no room for them; then none is taken.

        Raises ValueError for an odd number of bytes.
        """
        if len(pcm) % BYTES_PER_SAMPLE:
            raise ValueError(f"{len(pcm)} bytes are no PCM of {BYTES_PER_SAMPLE} bytes a sample")
        if len(self._buffer) + len(pcm) > self._limit:
            return False
        self._buffer += pcm
        return True

    def clear(self) -> int:
        """Silences the client with the next frame; returns how many samples it will not hear."""
        dropped = self.queued_samples
        self._buffer = bytearray()
        if dropped:
            self._missing, self._tail = _LATE_FRAMES, _TAIL_FRAMES
        return dropped

    def handle_frame(self, loss: float = 0.0) -> None:
        """To be called every 20 ms: sends what is due. ``loss``: the part of our packets that the client misses."""
        if self._live:
            self._leave_out()
        length = len(self._buffer)
        if length >= self._frame_bytes or (length and self._partial == length):
            self._speak(loss)
        elif length:
            self._partial = length  # the rest of it may come; if not by the next frame, it ends with silence
        elif self._missing < _LATE_FRAMES:
            self._missing += 1
        elif self._tail > 0:
            self._fall_silent()

    # -- inside

    def _speak(self, loss: float) -> None:
        pcm = bytes(self._buffer[: self._frame_bytes])
        del self._buffer[: self._frame_bytes]
        self.played_samples += len(pcm) // BYTES_PER_SAMPLE
        self._missing, self._tail, self._partial = 0, _TAIL_FRAMES, 0
        self._encoder.expect_loss(loss)
        self._send(self._encoder.encode(pcm.ljust(self._frame_bytes, b"\x00")))

    def _fall_silent(self) -> None:
        packet = self._encoder.encode(self._silence)
        self._tail = 0 if len(packet) <= _MAX_DTX_BYTES else self._tail - 1
        self._send(packet)

    def _leave_out(self) -> None:
        size = self._frame_bytes
        while len(self._buffer) >= 2 * size and self._buffer.startswith(self._silence):
            self._leave_out_frame()
        frames = len(self._buffer) // size
        self._floor = min(self._floor, frames) if self._ticks else frames
        self._ticks += 1
        if self._ticks < _LIVE_WINDOW_FRAMES:
            return
        if self._floor < _LIVE_FLOOR_FRAMES:
            self._ticks = 0
        elif loudness(bytes(self._buffer[:size])) < _QUIET:
            self._leave_out_frame()
            self._ticks = 0

    def _leave_out_frame(self) -> None:
        del self._buffer[: self._frame_bytes]
        self.left_out_frames += 1
