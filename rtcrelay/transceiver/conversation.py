"""What passes between a session and its backend? The backend's `Call`, and a guard around all that it is called with.

Law: whatever a backend raises ends its own session, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from rtcrelay.audio.ear import Ear
from rtcrelay.transceiver.audio import OpusPacket
from rtcrelay.transceiver.backends import Backend, BackendFactory, BaseBackend, Message
from rtcrelay.transceiver.counters import Count, Counters, End
from rtcrelay.transceiver.frame_clock import FrameClock, Ticket

log = logging.getLogger("rtcrelay.transceiver")


class Carrier(Protocol):
    """What carries a conversation: a session."""

    @property
    def id(self) -> str:
        """For logs."""

    @property
    def request(self) -> str | None:
        """See `Call.request`."""

    @property
    def loss_out(self) -> float:
        """See `Call.loss_out`."""

    def now(self) -> float:
        """See `Call.now`."""

    def send_opus(self, payload: bytes, timestamp: int | None, marker: bool) -> bool:
        """See `Call.send_opus`."""

    def send_message(self, channel: int, message: Message) -> bool:
        """See `Call.send_message`."""

    def end_by_backend(self, end: End) -> None:
        """Ends the session."""


class _Nobody:
    """Who carries a conversation that is over: so an ended session is freed at once, whatever its backend keeps."""

    request: str | None = None
    loss_out = 0.0

    def __init__(self, carrier: Carrier) -> None:
        self.id, self._ended_at = carrier.id, carrier.now()

    def now(self) -> float:
        """When it ended: for those who still ask, time stands still."""
        return self._ended_at

    def send_opus(self, payload: bytes, timestamp: int | None, marker: bool) -> bool:
        """Nothing can be sent any more."""
        return False

    def send_message(self, channel: int, message: Message) -> bool:
        """As above."""
        return False

    def end_by_backend(self, end: End) -> None:
        """It has ended."""


class Conversation:
    """One backend and its session; a `Call` for the backend."""

    def __init__(self, carrier: Carrier, counters: Counters, clock: FrameClock, make_backend: BackendFactory) -> None:
        self._carrier: Carrier = carrier
        self._counters, self._clock = counters, clock
        self._on_frame: Callable[[int], None] | None = None
        self._ticket: Ticket | None = None
        self._may_send = False
        self._is_made = self.is_refused = False
        """``is_refused``: the backend hung up, or raised, while it was made: there is no call."""
        self._backend: Backend = BaseBackend()
        self._heard: Ear | None = None
        try:
            self._backend = make_backend(self)
        except Exception:
            self._on_failure()
        self._is_made = True

    @property
    def wants_dtx(self) -> bool:
        """See `Backend.wants_dtx`."""
        return self._backend.wants_dtx

    @property
    def ear(self) -> Ear | None:
        """What the backend hears the client by, also when the session is over; None: it takes packets."""
        found = getattr(self._backend, "ear", None)
        return found if isinstance(found, Ear) else self._heard

    # -- Call: what the backend can do

    @property
    def id(self) -> str:
        """See `Call.id`."""
        return self._carrier.id

    @property
    def request(self) -> str | None:
        """See `Call.request`."""
        return self._carrier.request

    @property
    def loss_out(self) -> float:
        """See `Call.loss_out`."""
        return self._carrier.loss_out

    def now(self) -> float:
        """See `Call.now`."""
        return self._carrier.now()

    def send_opus(self, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> bool:
        """See `Call.send_opus`."""
        return self._carrier.send_opus(payload, timestamp, marker)

    def start_frames(self, on_frame: Callable[[int], None]) -> None:
        """See `Call.start_frames`."""
        self._on_frame = on_frame
        self._start_clock()

    def send_message(self, channel: int, message: Message) -> bool:
        """See `Call.send_message`."""
        return self._carrier.send_message(channel, message)

    def hang_up(self, *, lost: bool = False) -> None:
        """See `Call.hang_up`."""
        self._end(End.BACKEND_LOST if lost else End.BACKEND_ENDED)

    # -- what the backend is told

    def start(self) -> None:
        """Media can be sent from now on."""
        self._may_send = True
        self._start_clock()

    def handle_opus(self, packet: OpusPacket) -> None:
        """A packet of the client's voice."""
        try:
            self._backend.on_opus(packet)
        except Exception:
            self._on_failure()

    def handle_channel(self, channel: int, label: str) -> None:
        """The client has opened a data channel."""
        try:
            self._backend.on_channel(channel, label)
        except Exception:
            self._on_failure()

    def handle_message(self, channel: int, label: str, message: Message) -> None:
        """A message from the client."""
        try:
            self._backend.on_message(channel, label, message)
        except Exception:
            self._on_failure()

    def close(self) -> None:
        """The session is over: no frames any more, and the backend knows."""
        if self._ticket is not None:
            self._clock.remove(self._ticket)
        self._heard = self.ear
        backend, carrier = self._backend, self._carrier
        self._backend, self._carrier, self._on_frame, self._ticket = BaseBackend(), _Nobody(self._carrier), None, None
        self._may_send = False
        try:
            backend.on_close()
        except Exception:
            self._counters.counts[Count.BACKEND_FAILURES] += 1
            log.exception("session %s: the backend raised while it was closed", carrier.id)

    # -- inside

    def _start_clock(self) -> None:
        if self._on_frame is not None and self._ticket is None and self._may_send:
            self._ticket = self._clock.add(self._frame)

    def _frame(self, number: int) -> None:
        if self._on_frame is None:
            return  # it ended while the clock was calling
        try:
            self._on_frame(number)
        except Exception:
            self._on_failure()

    def _on_failure(self) -> None:
        self._counters.counts[Count.BACKEND_FAILURES] += 1
        log.exception("session %s: the backend raised", self._carrier.id)
        self._end(End.BACKEND_FAILED)

    def _end(self, end: End) -> None:
        if self._is_made:
            self._carrier.end_by_backend(end)
        else:
            self.is_refused = True
