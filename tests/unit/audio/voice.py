"""A voice for the tests: the recording of the package as PCM, and as packets that the network may harm."""

from __future__ import annotations

from functools import cache

from rtcrelay.audio.detector import loudness
from rtcrelay.audio.opus import Decoder, Encoder, Rate, frame_bytes
from rtcrelay.audio.reorder import OpusPacket
from rtcrelay.client.speech import SPEECH_FILE
from rtcrelay.rtc.ogg import read_opus_packets

FRAME = 0.02


@cache
def speech(rate: Rate) -> tuple[bytes, ...]:
    """Seven seconds of a voice, in frames of 20 ms."""
    decoder = Decoder(rate)
    return tuple(decoder.decode(payload) for payload in read_opus_packets(SPEECH_FILE))


@cache
def packets(expected_loss: float = 0.0) -> tuple[OpusPacket, ...]:
    """The same encoded, as the packets of one source."""
    encoder = Encoder(24_000, 32_000)
    encoder.expect_loss(expected_loss)
    payloads = [encoder.encode(frame) for frame in speech(24_000)]
    return tuple(OpusPacket(payload, 1000 + n, 960 * n + 2**32 - 48_000 & 0xFFFF_FFFF, n == 0)
                 for n, payload in enumerate(payloads))  # fmt: skip


def frames_of(pcm: bytes, rate: int) -> list[bytes]:
    size = frame_bytes(rate)
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


def levels(pcm: bytes, rate: int) -> list[float]:
    """Loudness of each frame."""
    return [loudness(frame) for frame in frames_of(pcm, rate)]
