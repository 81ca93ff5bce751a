"""What is said on a realtime WebSocket? The events of OpenAI's Realtime API that concern sound, and no other's content.

The vocabulary is the one of the generally available API; the older names (``response.audio.delta``,
``input_audio_format``) are understood as well.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, Literal, TypeAlias

import msgspec

Format: TypeAlias = Literal["pcm", "pcmu", "pcma", "opus"]
"""Of the sound in events: PCM16 at 24 kHz, G.711 at 8 kHz, or one Opus packet of 20 ms."""

AUDIO_DELTAS: Final = frozenset(("response.output_audio.delta", "response.audio.delta"))
SESSIONS: Final = frozenset(("session.created", "session.updated"))
SPEECH_STARTED: Final = "input_audio_buffer.speech_started"
CHANNEL: Final = "oai-events"
"""Label of the data channel that a client sends and gets events on."""
_FORMATS: Final[dict[str, Format]] = {
    "pcm16": "pcm", "audio/pcm": "pcm", "g711_ulaw": "pcmu", "audio/pcmu": "pcmu",
    "g711_alaw": "pcma", "audio/pcma": "pcma", "audio/opus": "opus", "opus": "opus",
}  # fmt: skip


class Event(msgspec.Struct, gc=False):
    """What concerns us of any event."""

    type: str
    delta: Any = None
    response_id: str | None = None
    item_id: str | None = None
    content_index: int = 0
    session: Any = None


_decoder = msgspec.json.Decoder(Event)


def read_event(text: str | bytes) -> Event:
    """Reads an event. Raises ValueError with what is wrong."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error


def read_audio(delta: object) -> bytes:
    """The sound of a delta. Raises ValueError."""
    if not isinstance(delta, str):
        raise ValueError("a delta of audio is expected to be text")
    try:
        return base64.b64decode(delta, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"a delta of audio is no base64: {error}") from error


def write_append(audio: bytes) -> str:
    """``input_audio_buffer.append``."""
    return '{"type":"input_audio_buffer.append","audio":"' + base64.b64encode(audio).decode() + '"}'


def write_event(kind: str, **fields: object) -> str:
    """Any other event; fields that are None are left out."""
    return msgspec.json.encode({"type": kind, **{k: v for k, v in fields.items() if v is not None}}).decode()


def write_error(code: str, message: str) -> str:
    """The ``error`` event."""
    return write_event("error", error={"type": "server_error", "code": code, "message": message})


def formats_of(session: object) -> tuple[Format | None, Format | None]:
    """(input, output) of a session object; None where it says nothing. Raises ValueError for one that is unknown."""
    if not isinstance(session, dict):
        return None, None
    audio = session.get("audio")
    found: list[Format | None] = []
    for direction in ("input", "output"):
        part = audio.get(direction) if isinstance(audio, dict) else None
        named = part.get("format") if isinstance(part, dict) else session.get(f"{direction}_audio_format")
        if isinstance(named, dict):
            if named.get("type") == "audio/pcm" and named.get("rate", 24_000) != 24_000:
                raise ValueError(f"PCM at {named.get('rate')} Hz is not understood, expected 24000")
            named = named.get("type")
        if named is None:
            found.append(None)
        elif isinstance(named, str) and named in _FORMATS:
            found.append(_FORMATS[named])
        else:
            raise ValueError(f"the audio format {named!r} is not understood, expected one of {', '.join(_FORMATS)}")
    return found[0], found[1]


def interrupts(session: object) -> bool | None:
    """Whether speech of the user's ends the response; None where the session object says nothing."""
    if not isinstance(session, dict):
        return None
    audio = session.get("audio")
    part = audio.get("input") if isinstance(audio, dict) else None
    detection = part.get("turn_detection") if isinstance(part, dict) else session.get("turn_detection")
    value = detection.get("interrupt_response") if isinstance(detection, dict) else None
    return value if isinstance(value, bool) else None
