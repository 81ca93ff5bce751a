"""A call without a session for backends that speak, and a line to a service that only keeps what is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rtcrelay.audio.opus import Decoder, Encoder
from rtcrelay.audio.reorder import OpusPacket
from rtcrelay.client.speech import SPEECH_FILE
from rtcrelay.rtc.ogg import read_opus_packets
from rtcrelay.transceiver.backends.line import LineUser, Service

FRAME = 0.02
SPEECH = tuple(read_opus_packets(SPEECH_FILE))
"""Seven seconds of a voice, 20 ms a packet."""


def silence(frames: int) -> list[bytes]:
    """Packets of nothing."""
    encoder = Encoder(24_000, 32_000)
    return [encoder.encode(bytes(960)) for _ in range(frames)]


class Talk:
    """A `Call` whose time passes when the test says so, and whose client is the test."""

    def __init__(self, request: str | None = None) -> None:
        self.id, self.request, self.loss_out = "talk", request, 0.0
        self.time = 100.0
        self.heard: list[bytes] = []
        self.messages: list[tuple[int, str]] = []
        self.end: str | None = None
        self._on_frame: Callable[[int], None] = lambda number: None
        self._sequence = 0

    def now(self) -> float:
        return self.time

    def send_opus(self, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> bool:
        self.heard.append(payload)
        return True

    def start_frames(self, on_frame: Callable[[int], None]) -> None:
        self._on_frame = on_frame

    def send_message(self, channel: int, message: str | bytes) -> bool:
        assert isinstance(message, str)
        self.messages.append((channel, message))
        return True

    def hang_up(self, *, lost: bool = False) -> None:
        self.end = "lost" if lost else "ended"

    # -- the test's side

    def pass_frames(self, count: int) -> None:
        for _ in range(count):
            self.time += FRAME
            self._on_frame(0)

    def speak(self, backend: Any, payloads: list[bytes] | tuple[bytes, ...]) -> None:
        """The client's voice, in real time."""
        for payload in payloads:
            backend.on_opus(OpusPacket(payload, self._sequence, 960 * self._sequence & 0xFFFF_FFFF, False))
            self._sequence += 1
            self.pass_frames(1)

    def events(self) -> list[dict[str, Any]]:
        """What the client got on its channels."""
        return [json.loads(message) for _, message in self.messages]

    def loudest(self) -> int:
        """Peak of what was heard."""
        decoder = Decoder(24_000)
        return max((max(memoryview(decoder.decode(payload)).cast("h")) for payload in self.heard), default=0)


class FakeLine:
    """Keeps what is sent to the service."""

    def __init__(self, service: Service, user: LineUser, name: str) -> None:
        self.sent: list[str | bytes] = []
        self.is_open = False
        self.is_closed = False
        self.user = user

    def send(self, message: str | bytes) -> bool:
        if self.is_open:
            self.sent.append(message)
        return self.is_open

    def close(self) -> None:
        self.is_closed, self.is_open = True, False

    # -- the test's side

    def open(self) -> None:
        self.is_open = True
        self.user.on_line("connected", "")

    def say(self, kind: str, **fields: object) -> None:
        self.user.on_line_message(json.dumps({"type": kind, **fields}))

    def events(self) -> list[dict[str, Any]]:
        """Of JSON, since the last time."""
        found = [json.loads(message) for message in self.sent if isinstance(message, str)]
        self.sent.clear()
        return found
