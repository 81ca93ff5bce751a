"""The recording that calls speak with (its origin: SPEECH.md)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rtcrelay.rtc.ogg import read_opus_packets

SPEECH_FILE = Path(__file__).with_name("speech.opus")
"""Ogg/Opus, mono, 20 ms a packet, about 24 kb/s, 7.1 seconds."""


@cache
def speech_frames() -> tuple[bytes, ...]:
    """Its Opus packets. Each is different, so that an echo tells which one it is."""
    return tuple(read_opus_packets(SPEECH_FILE))
