"""A tone as Opus packets, made once when the process starts. The only importer of PyAV in the transceiver."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av

from rtcrelay.transceiver.backends.player import Recording, make_recording

TONE_HZ: Final = 440
LOUDNESS: Final = 0.2
"""Of full scale: -14 dBFS, a comfortable level in headphones."""
_RATE: Final = 48_000
_FRAME: Final = 960
_FRAMES: Final = 50
"""One second, a whole number of periods, so that the end fits to the beginning."""
_WARM_UP: Final = 50
"""Frames left out: the encoder's bit rate and its memory settle in them."""


def make_tone() -> Recording:
    """One second of a sine, to be played in a circle."""
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.bit_rate, codec.format, codec.layout = _RATE, 24_000, "s16", "mono"
    codec.time_base = Fraction(1, _RATE)
    codec.options = {"application": "audio", "frame_duration": "20", "vbr": "off"}
    packets = [bytes(packet) for frame in _frames() for packet in codec.encode(frame)]
    return make_recording(packets[_WARM_UP : _WARM_UP + _FRAMES], "the tone")


def _frames() -> Iterator[av.AudioFrame]:
    step, peak = 2 * math.pi * TONE_HZ / _RATE, LOUDNESS * 32767
    for index in range(_WARM_UP + _FRAMES + 2):
        start = index * _FRAME
        samples = array("h", (round(peak * math.sin(step * number)) for number in range(start, start + _FRAME)))
        frame = av.AudioFrame(format="s16", layout="mono", samples=_FRAME)
        frame.sample_rate, frame.pts = _RATE, start
        frame.planes[0].update(samples.tobytes())
        yield frame
