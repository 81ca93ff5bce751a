"""Who answers the caller? The interface of a backend, and the echo.

A backend knows nothing of WebRTC: Opus packets and messages in, Opus packets and messages out. It is called
on the event loop and must return at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

from rtcrelay.errors import ConfigError
from rtcrelay.transceiver.audio import OpusPacket

Message: TypeAlias = str | bytes


class Call(Protocol):
    """What a backend can do with its session."""

    def send_opus(self, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> bool:
        """Sends one Opus packet now. ``timestamp`` in units of 1/48000 s from an origin of the backend's choice;
        None: it follows the last one. False if it could not be sent: no keys yet, nobody listens, no room."""

    def send_message(self, channel: int, message: Message) -> bool:
        """Sends a message on an open data channel. False if it is not open or too much waits on it."""


class Backend(Protocol):
    """One session's other end. Each session gets its own object."""

    def on_opus(self, packet: OpusPacket) -> None:
        """A packet of the client's voice, in the order of arrival: it may be late, and some never come."""

    def on_message(self, channel: int, label: str, message: Message) -> None:
        """A message from the client on a data channel, with the channel's id and label."""

    def on_close(self) -> None:
        """The session is over; nothing can be sent any more."""


class Echo:
    """Returns everything unchanged and in the order of arrival."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def on_opus(self, packet: OpusPacket) -> None:
        """Sends the payload back with its own timestamp, so that pauses and losses keep their length."""
        self._call.send_opus(packet.payload, timestamp=packet.timestamp, marker=packet.marker)

    def on_message(self, channel: int, label: str, message: Message) -> None:
        """Sends the message back on its channel."""
        self._call.send_message(channel, message)

    def on_close(self) -> None:
        """Nothing is kept."""


BackendFactory: TypeAlias = Callable[[Call], Backend]

_BACKENDS: Final[Mapping[str, BackendFactory]] = {"echo": Echo}


def find_backend(name: str) -> BackendFactory:
    """The backend of ``--backend``. Raises ConfigError if there is none of that name."""
    try:
        return _BACKENDS[name]
    except KeyError:
        known = ", ".join(sorted(_BACKENDS))
        raise ConfigError(f"there is no backend {name!r}", hint=f"the backends are: {known}") from None
