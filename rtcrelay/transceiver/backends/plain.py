"""A backend that is the simplest service there can be: PCM16 in binary frames, a little JSON beside it.

``docs/backends.md`` specifies it ("Plain PCM over a WebSocket").
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit, urlunsplit

from rtcrelay.audio.opus import Rate, require_opus
from rtcrelay.errors import ConfigError
from rtcrelay.transceiver.backends.interface import BackendFactory, Call, Message
from rtcrelay.transceiver.backends.line import Line, RubbishError, Service
from rtcrelay.transceiver.backends.pcm import PcmBackend

PROTOCOL: Final = "rtcrelay.pcm.1"
"""The WebSocket subprotocol."""
MAX_MARKS: Final = 1000
RATES: Final = (8000, 12_000, 16_000, 24_000, 48_000)
_ROOM_SECONDS: Final = 10.0


def make_plain(service: Service) -> BackendFactory:
    """The factory for ``ws+pcm://`` and ``wss+pcm://``; the query's ``rate`` is the sample rate, 24000 without one.

    Raises ConfigError for another rate, or if there is no libopus.
    """
    require_opus()
    named = parse_qs(urlsplit(service.url).query).get("rate", ["24000"])[-1]
    if not named.isdecimal() or int(named) not in RATES:
        known = ", ".join(map(str, RATES))
        raise ConfigError(f"the backend's rate {named!r} is not possible", hint=f"rate=N with N one of {known}")
    rate = cast(Rate, int(named))
    kind = type("PlainBackend", (PlainBackend,), {"rate": rate})
    return lambda call: cast(PlainBackend, kind(call, service))


def websocket_url(uri: str) -> str:
    """``ws+pcm://…`` as ``ws://…``."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(scheme=parts.scheme.partition("+")[0]))


class PlainBackend(PcmBackend):
    """One session of the service."""

    def __init__(self, call: Call, service: Service) -> None:
        super().__init__(call)
        self._channels: dict[int, str] = {}
        self._marks: deque[tuple[int, object]] = deque()
        """Samples after which each is reached."""
        self._line = Line(service, self, call.id)

    # -- the client

    def on_pcm(self, pcm: bytes) -> None:
        """See `PcmBackend.on_pcm`."""
        if self._line.is_open:
            self._line.send(pcm)

    def on_frame(self) -> None:
        """See `PcmBackend.on_frame`."""
        while self._marks and self._marks[0][0] <= self.speaker.played_samples:
            self._tell("marked", name=self._marks.popleft()[1])

    def on_channel(self, channel: int, label: str) -> None:
        """See `Backend.on_channel`."""
        self._channels[channel] = label

    def on_message(self, channel: int, label: str, message: Message) -> None:
        """See `Backend.on_message`."""
        if isinstance(message, str):
            self._tell("message", label=label, data=message)

    def on_close(self) -> None:
        """See `Backend.on_close`."""
        super().on_close()
        self._line.close()

    # -- the service

    def on_line(self, state: str, detail: str) -> None:
        """See `LineUser.on_line`."""
        if state == "connected":
            request = json.loads(self.call.request) if self.call.request else None
            self._tell("start", v=1, session=self.call.id, rate=self.rate, request=request)
            return
        self.speaker.clear()
        self._marks.clear()
        self._channels = {
            channel: label
            for channel, label in self._channels.items()
            if self.send_json(channel, {"type": "backend", "state": state, "detail": detail})
        }
        if state != "broken":
            self.call.hang_up(lost=state == "lost")

    def has_room(self) -> bool:
        """See `LineUser.has_room`."""
        return self.speaker.has_room(int(_ROOM_SECONDS * self.rate))

    def on_line_message(self, message: str | bytes) -> None:
        """See `LineUser.on_line_message`."""
        if isinstance(message, bytes):
            try:
                self.speaker.play(message)
            except ValueError as error:
                raise RubbishError(str(error)) from error
            return
        try:
            control = json.loads(message)
            kind = control["type"]
        except (ValueError, KeyError, TypeError) as error:
            raise RubbishError(f"no JSON object with a type: {message[:40]!r}") from error
        self._handle_control(kind, control)

    def _handle_control(self, kind: object, control: dict[str, Any]) -> None:
        if kind == "clear":
            dropped, played = self.speaker.clear(), self.speaker.played_samples
            marks = [name for _, name in self._marks]
            self._marks.clear()
            milliseconds = {"played_ms": 1000 * played // self.rate, "dropped_ms": 1000 * dropped // self.rate}
            self._tell("cleared", **milliseconds, marks=marks)
        elif kind == "mark":
            if len(self._marks) >= MAX_MARKS:
                raise RubbishError(f"more than {MAX_MARKS} marks wait")
            self._marks.append((self.speaker.played_samples + self.speaker.queued_samples, control.get("name")))
        elif kind == "message":
            self._pass_message(control.get("label"), control.get("data"))
        elif kind == "hang_up":
            self.call.hang_up()
        else:
            raise RubbishError(f"the type {kind!r} is not known")

    def _pass_message(self, label: object, data: object) -> None:
        if not isinstance(data, str):
            raise RubbishError("the data of a message is expected to be text")
        for channel, known in self._channels.items():
            if label is None or known == label:
                self.call.send_message(channel, data)

    def _tell(self, kind: str, **fields: object) -> None:
        self._line.send(json.dumps({"type": kind, **fields}))
