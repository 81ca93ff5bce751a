"""What is between a client's mouth and its ear? Ours, stock aiortc's parts, and a network, all in virtual time.

The figures are those of buffers and codecs, without a machine's own lateness. Both answer what they hear at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol

from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from rtcrelay.audio.ear import Ear
from rtcrelay.audio.opus import Encoder, Rate
from rtcrelay.audio.reorder import OpusPacket
from rtcrelay.audio.speaker import Speaker

RATE: Rate = 24_000
FRAME = 0.02
Heard = list[tuple[float, bytes]]
"""When an Opus packet left the server, and the packet."""


class Server(Protocol):
    """Something that hears packets and says them again."""

    heard: Heard

    def handle_packet(self, packet: OpusPacket, now: float) -> None:
        """A packet arrives."""


class Ours:
    """The ear, and the speaker on a clock that is ``phase`` seconds later than the client's."""

    def __init__(self, phase: float, lost: float) -> None:
        self.heard: Heard = []
        self.speaker = Speaker(lambda packet: self.heard.append((self._now, packet)), RATE, live=True)
        self.ear = Ear(RATE, self._say)
        self._now, self._phase, self._lost, self._ticks = 0.0, phase, lost, 0

    def handle_packet(self, packet: OpusPacket, now: float) -> None:
        """First every frame that is due by then."""
        while (due := self._phase + self._ticks * FRAME) <= now:
            self._now = due
            self._ticks += 1
            self.ear.handle_time(due)
            self.speaker.handle_frame(self._lost)
        self._now = now
        self.ear.handle_packet(packet, now)

    def _say(self, pcm: bytes) -> None:
        self.speaker.play(pcm)


class StockAiortc:
    """The jitter buffer, decoder and encoder that a peer connection of stock aiortc uses, with its own figures
    (rtcrtpreceiver.py); its threads and its sender add no wait of their own here."""

    def __init__(self) -> None:
        self.heard: Heard = []
        self._buffer = JitterBuffer(capacity=16, prefetch=4)
        self._decoder, self._encoder = OpusDecoder(), OpusEncoder()

    def handle_packet(self, packet: OpusPacket, now: float) -> None:
        """What comes out leaves at once."""
        taken = RtpPacket(111, 0, packet.sequence & 0xFFFF, packet.timestamp)
        taken._data = packet.payload  # type: ignore[attr-defined]  # as its receiver does
        _, frame = self._buffer.add(taken)
        if frame is None:
            return
        for sound in self._decoder.decode(frame):
            self.heard += [(now, payload) for payload in self._encoder.encode(sound)[0]]


def packets_of(frames: Sequence[bytes], lost: float) -> list[OpusPacket]:
    """A client's packets; it knows from reports how much is lost, and encodes in-band FEC for that."""
    encoder = Encoder(RATE, 32_000)
    encoder.expect_loss(lost)
    return [OpusPacket(encoder.encode(frame), n, 960 * n & 0xFFFF_FFFF, False) for n, frame in enumerate(frames)]


def arrivals(
    packets: Sequence[OpusPacket], lost: float, jitter: float, seed: int = 7
) -> list[tuple[float, OpusPacket]]:
    """What the network makes of them: ``lost`` of them at random, each up to ``jitter`` seconds later, uniformly."""
    random = Random(seed)
    sent = [(FRAME * n + random.uniform(0, jitter), packet) for n, packet in enumerate(packets)]
    return sorted((each for each in sent if random.random() >= lost), key=lambda each: each[0])


def carry(server: Server, came: Sequence[tuple[float, OpusPacket]]) -> Heard:
    """All that leaves the server."""
    for at, packet in came:
        server.handle_packet(packet, at)
    return server.heard
