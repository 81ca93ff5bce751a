"""How does a client's voice become unbroken PCM? Put in order, decoded, concealed where it is lost, silent where it is.

The samples come at the pace of the client's clock, as its packets do: nothing is kept here that a clock which runs
faster or slower could fill or empty, so that drift needs no correction and an hour has no glitch. While nothing
comes, time is told in silence by our own clock; the client's next timestamp says how long the silence was.

Laws: no sample of speech that came in time is thrown away; a gap is never filled with more than a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rtcrelay.audio.opus import BYTES_PER_SAMPLE, Decoder, Rate
from rtcrelay.audio.reorder import OpusPacket, ReorderBuffer
from rtcrelay.rtc.rtp import OPUS_CLOCK_HZ, opus_duration

SILENCE_SECONDS: Final = 0.06
"""Without a packet for this long, time is told in silence. Chosen: three frames, more than most networks' jitter."""
CONCEALED_FRAMES: Final = 5
"""In a row; what libopus makes up has faded to nothing by then, and silence is cheaper."""
MAX_GAP_SECONDS: Final = 1.0
"""Filled at most before a packet; a longer gap is another origin of its timestamps, or was told by our clock."""
_FRAME: Final = 960
"""20 ms in units of the RTP clock."""
_MAX_DTX_BYTES: Final = 2


class Ear:
    """Hears one client."""

    __slots__ = ("_concealed", "_decoder", "_duration", "_heard_at", "_on_pcm", "_position", "_reorder",
                 "concealed_frames", "lost_packets", "recovered_packets", "silent_frames")  # fmt: skip

    def __init__(self, rate: Rate, on_pcm: Callable[[bytes], None]) -> None:
        """``on_pcm`` gets the samples, in pieces as long as the client's packets: nearly always 20 ms.

        Raises ConfigError if there is no libopus.
        """
        self.lost_packets = 0
        """Missing where their time came."""
        self.recovered_packets = 0
        """Of these, heard from in-band FEC (or, if the client sent no copy, concealed at the same place)."""
        self.concealed_frames = 0
        """20 ms each, made up."""
        self.silent_frames = 0
        """20 ms each, told in silence."""
        self._on_pcm = on_pcm
        self._decoder = Decoder(rate)
        self._reorder = ReorderBuffer(self._take)
        self._position = 0
        self._duration = _FRAME
        self._heard_at: float | None = None
        self._concealed = 0

    @property
    def waits_frames(self) -> int:
        """Frames that a gap is waited for now, 0 to 2."""
        return self._reorder.depth

    @property
    def late_packets(self) -> int:
        """Came after their place was filled; thrown away."""
        return self._reorder.late

    @property
    def jitter_seconds(self) -> float:
        """Interarrival jitter (RFC 3550 appendix A.8)."""
        return self._reorder.jitter_seconds

    def handle_packet(self, packet: OpusPacket, now: float) -> None:
        """A packet as it came from the network."""
        self._heard_at = now
        self._reorder.handle_packet(packet, now)

    def handle_time(self, now: float) -> None:
        """To be called every 20 ms: gives up gaps, and tells time in silence while nothing comes."""
        self._reorder.handle_time(now)
        if self._heard_at is None:
            return
        if now - self._heard_at >= max(SILENCE_SECONDS, 3 * self._duration / OPUS_CLOCK_HZ):
            self._fill(_FRAME)

    def close(self) -> None:
        """Hears nothing any more, and lets go of whom it told."""
        self._on_pcm = _drop
        self._reorder.close()

    # -- inside

    def _take(self, packet: OpusPacket, missing: int) -> None:
        duration = opus_duration(packet.payload)
        if duration == 0:
            return
        if missing < 0:
            self._position = packet.timestamp
        gap = (packet.timestamp - self._position + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
        if missing > 0:
            self.lost_packets += missing
        if 0 < gap <= MAX_GAP_SECONDS * OPUS_CLOCK_HZ:
            self._fill_gap(gap, packet.payload, duration if missing > 0 else 0)
        # A negative gap: our clock has told more silence than there was, or a packet was late as a whole burst
        # was. What was said is passed on all the same.
        pcm = self._decoder.decode(packet.payload)
        self._concealed = CONCEALED_FRAMES - 1 if len(packet.payload) <= _MAX_DTX_BYTES else 0
        self._position = packet.timestamp + duration & 0xFFFF_FFFF
        self._duration = duration
        self._on_pcm(pcm or bytes(self._samples(duration) * BYTES_PER_SAMPLE))

    def _fill_gap(self, gap: int, following: bytes, recoverable: int) -> None:
        if recoverable and gap >= recoverable:
            if gap > recoverable:
                self._fill(gap - recoverable)
            self.recovered_packets += 1
            self._on_pcm(self._decoder.recover(following, self._samples(recoverable)))
        else:
            self._fill(gap)

    def _fill(self, units: int) -> None:
        """Makes up a few frames, and is silent for the rest."""
        self._position = self._position + units & 0xFFFF_FFFF
        while units > 0:
            part = min(units, _FRAME)
            units -= part
            samples = self._samples(part)
            if self._concealed < CONCEALED_FRAMES and part % 120 == 0:
                self._concealed += 1
                self.concealed_frames += 1
                self._on_pcm(self._decoder.conceal(samples))
            else:
                self.silent_frames += 1
                self._on_pcm(bytes(samples * BYTES_PER_SAMPLE))

    def _samples(self, units: int) -> int:
        return units * self._decoder.rate // OPUS_CLOCK_HZ


def _drop(pcm: bytes) -> None:
    pass
