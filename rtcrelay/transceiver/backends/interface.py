"""What do a session and its backend see of each other?

A backend knows nothing of WebRTC: Opus packets and messages in, Opus packets and messages out. It is called on the
event loop and must return at once. What it raises ends its own session and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from rtcrelay.transceiver.audio import OpusPacket

Message: TypeAlias = str | bytes
"""What a data channel carries: text or bytes."""


class Call(Protocol):
    """What a backend can do with its session. Nothing here raises or waits."""

    @property
    def id(self) -> str:
        """The session's name in logs and in the admin interface."""

    @property
    def request(self) -> str | None:
        """What the client asked for beside its offer: JSON, the ``session`` of `POST /v1/realtime/calls`."""

    @property
    def loss_out(self) -> float:
        """The part of what we send that the client misses, 0 to 1, as it reported last."""

    def now(self) -> float:
        """Seconds, on the clock of the process."""

    def send_opus(self, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> bool:
        """Sends one Opus packet now. False if it could not be sent: no keys yet, nobody listens, no room.

        ``timestamp`` in units of 1/48000 s from an origin of the backend's choice, modulo 2**32; None: right after
        the last packet, or after the silence since that one was over. ``marker``: the first packet after silence;
        silence that is seen here is marked anyway.
        """

    def start_frames(self, on_frame: Callable[[int], None]) -> None:
        """Calls ``on_frame`` every 20 ms from when media can be sent until the session ends, with the number of
        20 ms frames since the first call: 0, 1, 2, …; some are left out if the process was stopped for long.
        All sessions share one clock. Calling it again replaces the function."""

    def send_message(self, channel: int, message: Message) -> bool:
        """Sends a message on an open data channel. False if it is not open or too much waits on it."""

    def hang_up(self, *, lost: bool = False) -> None:
        """Ends the session; the client is told. While the backend is made: the offer is refused (503).

        ``lost``: because what stands behind the backend failed.
        """


class Backend(Protocol):
    """One session's other end. Each session gets its own object."""

    wants_dtx: bool
    """Whether the client is asked to send nothing while its user is silent (RFC 7587 ``usedtx``)."""

    def on_opus(self, packet: OpusPacket) -> None:
        """A packet of the client's voice, in the order of arrival: it may be late, and some never come."""

    def on_channel(self, channel: int, label: str) -> None:
        """The client has opened a data channel: messages can be sent on it now."""

    def on_message(self, channel: int, label: str, message: Message) -> None:
        """A message from the client on a data channel, with the channel's id and label."""

    def on_close(self) -> None:
        """The session is over; nothing can be sent any more. Called once, also after the backend itself raised."""


class BaseBackend:
    """A backend that ignores everything: derive from it and write what is needed."""

    wants_dtx = False

    def on_opus(self, packet: OpusPacket) -> None:
        """See `Backend.on_opus`."""

    def on_channel(self, channel: int, label: str) -> None:
        """See `Backend.on_channel`."""

    def on_message(self, channel: int, label: str, message: Message) -> None:
        """See `Backend.on_message`."""

    def on_close(self) -> None:
        """See `Backend.on_close`."""


BackendFactory: TypeAlias = Callable[[Call], Backend]
"""Makes the backend of one session when its offer is accepted. Nothing can be sent yet."""
