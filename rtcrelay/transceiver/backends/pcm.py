"""A backend that hears and says samples instead of packets: derive from it for one in Python.

Decoding and encoding run inline, between packets: 15 us and 110 us a frame (measured, see docs/backends.md), less
than handing a frame to a thread and back costs.
"""

from __future__ import annotations

import json

from rtcrelay.audio.ear import Ear
from rtcrelay.audio.opus import Rate
from rtcrelay.audio.speaker import Speaker
from rtcrelay.transceiver.audio import OpusPacket
from rtcrelay.transceiver.backends.interface import BaseBackend, Call


class PcmBackend(BaseBackend):
    """PCM16 in, PCM16 out: signed, 16 bits, little-endian, mono, at `rate`."""

    rate: Rate = 24_000
    """Samples per second, in both directions."""
    is_live = False
    """Whether what is played is made in real time by another clock, as a microphone does: see `Speaker`."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.ear = Ear(self.rate, self.on_pcm)
        """What was lost and made up, in its counters."""
        self.speaker = Speaker(call.send_opus, self.rate, live=self.is_live)
        """`Speaker.play` says something, `Speaker.clear` is silent at once."""
        call.start_frames(self._on_frame)

    def on_pcm(self, pcm: bytes) -> None:
        """The client's voice: 20 ms nearly always, silence where there was none."""

    def on_frame(self) -> None:
        """Called every 20 ms, after a frame has been played."""

    def on_opus(self, packet: OpusPacket) -> None:
        """See `Backend.on_opus`."""
        self.ear.handle_packet(packet, self.call.now())

    def on_close(self) -> None:
        """See `Backend.on_close`; who overrides it calls this one, so that memory is free at once."""
        self.ear.close()

    def send_json(self, channel: int, value: object) -> bool:
        """Sends a message of JSON; see `Call.send_message`."""
        return self.call.send_message(channel, json.dumps(value))

    def _on_frame(self, number: int) -> None:
        self.ear.handle_time(self.call.now())
        self.speaker.handle_frame(self.call.loss_out)
        self.on_frame()


class PcmEcho(PcmBackend):
    """Says at once what it hears, decoded and encoded again."""

    is_live = True

    def on_pcm(self, pcm: bytes) -> None:
        """See `PcmBackend.on_pcm`."""
        self.speaker.play(pcm)


class ParrotBackend(PcmBackend):
    """Waits for the end of an utterance and says it back; is silent when it is interrupted.

    On every channel it tells its turns: ``{"type": "started" | "stopped" | "played" | "interrupted"}``, the last two
    with ``played_ms``.
    """

    def __init__(self, call: Call) -> None:
        from rtcrelay.audio.parrot import Parrot

        super().__init__(call)
        self._parrot = Parrot(self.rate)
        self._channels: list[int] = []
        self._began_at: int | None = None

    def on_channel(self, channel: int, label: str) -> None:
        """See `Backend.on_channel`."""
        self._channels.append(channel)

    def on_pcm(self, pcm: bytes) -> None:
        """See `PcmBackend.on_pcm`."""
        turn = self._parrot.handle_pcm(pcm)
        if turn is None:
            return
        self._tell(turn)
        if turn == "started" and self._began_at is not None:
            self.speaker.clear()
            self._finish("interrupted")
        elif turn == "stopped":
            self._began_at = self.speaker.played_samples
            self.speaker.play(self._parrot.utterance)

    def on_frame(self) -> None:
        """See `PcmBackend.on_frame`."""
        if self._began_at is not None and not self.speaker.is_playing:
            self._finish("played")

    def _finish(self, how: str) -> None:
        assert self._began_at is not None
        played = self.speaker.played_samples - self._began_at
        self._began_at = None
        self._tell(how, played_ms=round(1000 * played / self.rate))

    def _tell(self, what: str, **more: object) -> None:
        self._channels = [each for each in self._channels if self.send_json(each, {"type": what, **more})]
