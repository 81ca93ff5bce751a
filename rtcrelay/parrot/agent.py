"""What does a realtime server say, and when? One session in OpenAI's vocabulary that repeats what it heard.

No socket: events in, events out. What is said comes in one burst, far faster than real time, as models do it.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from rtcrelay.audio import g711
from rtcrelay.audio.opus import Decoder, Encoder, frame_bytes
from rtcrelay.audio.parrot import Parrot
from rtcrelay.audio.speaker import BIT_RATE

Sound = Literal["audio/pcm", "audio/pcmu", "audio/pcma", "audio/opus"]

_DELTA_SECONDS: Final = 0.1
_RATES: Final[dict[Sound, int]] = {"audio/pcm": 24_000, "audio/pcmu": 8000, "audio/pcma": 8000, "audio/opus": 24_000}
_MAX_BUFFER_SECONDS: Final = 60.0
_OLD_NAMES: Final[dict[str, Sound]] = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}


class EventError(ValueError):
    """An event that cannot be done; what it says is for its sender."""


class RealtimeParrot:
    """One session. The sound of both directions is in one format."""

    def __init__(self, send: Callable[[str], None], *, model: str = "parrot") -> None:
        """``send`` takes each event as JSON."""
        self._send = send
        self._model = model
        self._id = _new("sess")
        self._format: Sound = "audio/pcm"
        self._detects = True
        self._parrot = Parrot(_RATES[self._format])
        self._decoder: Decoder | None = None
        """Of Opus, which comes one packet an event; without one, the sound is of another format."""
        self._buffer = bytearray()
        self._heard_bytes = 0
        self._response: str | None = None
        self._tell("session.created", session=self._session())

    def handle_event(self, text: str) -> None:
        """An event of the client's; what is wrong with it is answered with an ``error`` event."""
        event: Any = None
        try:
            event = json.loads(text)
            kind = event["type"] if isinstance(event, dict) else None
            action = _ACTIONS.get(kind) if isinstance(kind, str) else None
            if action is None:
                raise EventError(f"the type {kind!r} is not known")
            action(self, event)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = str(error) if isinstance(error, EventError) else f"this is no such event: {error!r}"
            about = event.get("event_id") if isinstance(event, dict) else None
            self._tell("error", error={"type": "invalid_request_error", "message": reason, "event_id": about})

    # -- events

    def _update(self, event: dict[str, Any]) -> None:
        session = event["session"]
        wanted = _format_of(session)
        if wanted is not None and wanted != self._format:
            self._format = wanted
            self._parrot = Parrot(_RATES[wanted])
            self._decoder = Decoder(24_000) if wanted == "audio/opus" else None
            self._buffer.clear()
        self._detects = _detects(session, self._detects)
        self._tell("session.updated", session=self._session())

    def _append(self, event: dict[str, Any]) -> None:
        try:
            audio = base64.b64decode(event["audio"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise EventError("the audio is no base64") from error
        pcm = self._decode(audio)
        if len(pcm) % 2:
            raise EventError("the audio has half a sample")
        self._heard_bytes += len(pcm)
        if not self._detects:
            if len(self._buffer) + len(pcm) > _MAX_BUFFER_SECONDS * self._rate * 2:
                raise EventError(f"more than {_MAX_BUFFER_SECONDS:g} s wait for a commit")
            self._buffer += pcm
            return
        turn = self._parrot.handle_pcm(pcm)
        at = 1000 * (self._heard_bytes // 2) // self._rate
        if turn == "started":
            self._cancel({})
            self._tell("input_audio_buffer.speech_started", audio_start_ms=at, item_id=_new("item"))
        elif turn == "stopped":
            self._tell("input_audio_buffer.speech_stopped", audio_end_ms=at)
            self._commit(self._parrot.utterance)
            self._say(self._parrot.utterance)

    def _commit(self, pcm: bytes) -> None:
        if not pcm:
            raise EventError("the buffer is empty")
        item = _new("item")
        self._tell("input_audio_buffer.committed", item_id=item)
        content = [{"type": "input_audio", "transcript": None}]
        self._tell("conversation.item.added", item={"id": item, "type": "message", "role": "user", "content": content})

    def _commit_buffer(self, event: dict[str, Any]) -> None:
        self._commit(bytes(self._buffer))

    def _respond(self, event: dict[str, Any]) -> None:
        self._say(bytes(self._buffer))

    def _clear(self, event: dict[str, Any]) -> None:
        self._buffer.clear()
        self._tell("input_audio_buffer.cleared")

    def _cancel(self, event: dict[str, Any]) -> None:
        self._response = None  # all of it was sent at once: there is nothing left to stop

    def _take_item(self, event: dict[str, Any]) -> None:
        item = {"id": _new("item"), **event["item"]}
        self._tell("conversation.item.added", item=item)

    def _truncate(self, event: dict[str, Any]) -> None:
        fields = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self._tell("conversation.item.truncated", **fields)

    def _say(self, pcm: bytes) -> None:
        self._buffer.clear()
        response, item = _new("resp"), _new("item")
        self._response = response
        about = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self._tell("response.created", response={"id": response, "status": "in_progress"})
        for audio in self._encode(pcm):
            self._tell("response.output_audio.delta", **about, delta=base64.b64encode(audio).decode())
        self._tell("response.output_audio.done", **about)
        self._tell("response.done", response={"id": response, "status": "completed"})

    # -- inside

    def _decode(self, audio: bytes) -> bytes:
        if self._decoder is not None:
            return self._decoder.decode(audio)
        return audio if self._format == "audio/pcm" else g711.decode(_law(self._format), audio)

    def _encode(self, pcm: bytes) -> Iterator[bytes]:
        """What is said, as the sound of each delta."""
        encoder = Encoder(24_000, BIT_RATE) if self._decoder is not None else None
        size = frame_bytes(self._rate) if encoder is not None else int(_DELTA_SECONDS * self._rate) * 2
        for part in (pcm[at : at + size] for at in range(0, len(pcm), size)):
            if encoder is not None:
                yield encoder.encode(part.ljust(size, b"\0"))
            else:
                yield part if self._format == "audio/pcm" else g711.encode(_law(self._format), part)

    @property
    def _rate(self) -> int:
        return _RATES[self._format]

    def _session(self) -> dict[str, object]:
        form: dict[str, object] = {"type": self._format, "rate": self._rate}
        detection = {"type": "server_vad", "interrupt_response": True} if self._detects else None
        audio = {"input": {"format": form, "turn_detection": detection}, "output": {"format": form}}
        return {"id": self._id, "object": "realtime.session", "type": "realtime", "model": self._model, "audio": audio}

    def _tell(self, kind: str, **fields: object) -> None:
        self._send(json.dumps({"type": kind, "event_id": _new("event"), **fields}))


# Not in the object: bound methods in it would keep it, and all that it heard, until the next full garbage collection.
_ACTIONS: Final[dict[str, Callable[[RealtimeParrot, dict[str, Any]], None]]] = {
    "session.update": RealtimeParrot._update,
    "input_audio_buffer.append": RealtimeParrot._append,
    "input_audio_buffer.commit": RealtimeParrot._commit_buffer,
    "input_audio_buffer.clear": RealtimeParrot._clear,
    "response.create": RealtimeParrot._respond,
    "response.cancel": RealtimeParrot._cancel,
    "conversation.item.create": RealtimeParrot._take_item,
    "conversation.item.truncate": RealtimeParrot._truncate,
}


def _format_of(session: dict[str, Any]) -> Sound | None:
    part = session.get("audio", {}).get("input", {})
    named = part.get("format", session.get("input_audio_format"))
    if isinstance(named, dict):
        named = named.get("type")
    named = _OLD_NAMES.get(named, named)
    if named is not None and named not in _RATES:
        raise EventError(f"the format {named!r} is not known, expected one of {', '.join(_RATES)}")
    return named  # type: ignore[no-any-return]  # one of the keys, as just checked


def _detects(session: dict[str, Any], before: bool) -> bool:
    part = session.get("audio", {}).get("input", {})
    for holder in (part, session):
        if "turn_detection" in holder:
            return holder["turn_detection"] is not None
    return before


def _law(named: Sound) -> g711.Law:
    return "pcmu" if named == "audio/pcmu" else "pcma"


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(8)}"
