"""A backend that plays a recording in a circle, whatever the client says.

The packets go out undecoded, each when its own duration says so, on the clock that all sessions share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rtcrelay.errors import ConfigError, DataError
from rtcrelay.rtc.ogg import read_opus_packets
from rtcrelay.rtc.rtp import MIN_BYTES, opus_duration
from rtcrelay.rtc.srtp import MAX_PLAIN_BYTES
from rtcrelay.transceiver.backends.interface import BaseBackend, Call

MAX_PACKET_BYTES: Final = MAX_PLAIN_BYTES - MIN_BYTES
"""The longest Opus packet that fits into one RTP packet."""
MAX_RECORDING_BYTES: Final = 64 * 1024 * 1024
"""Of all packets. Chosen: two hours at 64 kb/s; the recording is in memory once, for all sessions."""
_FRAME_SAMPLES: Final = 960
"""20 ms in units of the RTP clock."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Opus packets and how long each lasts."""

    packets: tuple[bytes, ...]
    samples: tuple[int, ...]
    """Duration of each, in units of 1/48000 s, at least 120."""


class Player(BaseBackend):
    """Plays a recording to one client, from its beginning."""

    wants_dtx = True

    def __init__(self, call: Call, recording: Recording) -> None:
        self._send_opus, self._recording = call.send_opus, recording
        self._next = self._position = 0
        call.start_frames(self._on_frame)

    def _on_frame(self, frame: int) -> None:
        """Sends what is due: one packet of 20 ms, several shorter ones, or none while a longer one lasts.

        After frames that were left out, the packets that were due then are left out too, as a live source would.
        """
        due, recording = frame * _FRAME_SAMPLES, self._recording
        while self._position <= due:
            index, position = self._next, self._position
            self._next = (index + 1) % len(recording.packets)
            self._position += recording.samples[index]
            if position > due - _FRAME_SAMPLES:
                self._send_opus(recording.packets[index], timestamp=position)


def make_recording(packets: Iterable[bytes], name: str) -> Recording:
    """Checks packets and measures them. Raises ConfigError, which names ``name``, if they cannot be played."""
    kept: list[bytes] = []
    samples: list[int] = []
    size = 0
    for packet in packets:
        duration = opus_duration(packet)
        if duration == 0:
            raise ConfigError(f"{name} holds a packet that is not Opus (packet {len(kept) + 1})")
        if len(packet) > MAX_PACKET_BYTES:
            raise ConfigError(f"{name} holds a packet of {len(packet)} bytes, expected at most {MAX_PACKET_BYTES}")
        size += len(packet)
        if size > MAX_RECORDING_BYTES:
            raise ConfigError(f"{name} holds more than {MAX_RECORDING_BYTES} bytes of audio")
        kept.append(packet)
        samples.append(duration)
    if not kept:
        raise ConfigError(f"{name} holds no audio")
    return Recording(tuple(kept), tuple(samples))


def read_recording(path: Path) -> Recording:
    """An Ogg/Opus file. Raises ConfigError if it is missing or cannot be played."""
    try:
        return make_recording(read_opus_packets(path), str(path))
    except DataError as error:
        hint = "ffmpeg -i INPUT -c:a libopus -b:a 32k -ac 1 -frame_duration 20 OUTPUT.opus"
        raise ConfigError(str(error), hint=hint) from error
