"""The data channel of a call: opens one, sends, and remembers what comes back.

SCTP is the one part of a call that brings its own timers, so it lives beside the sans-IO core and needs a
running asyncio loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from rtcrelay.client.core import Call
from rtcrelay.rtc.dtls import DtlsState
from rtcrelay.rtc.sctp import DataChannels, Message

KEPT_MESSAGES = 1024


class EchoChannel:
    """One data channel over a call. ``on_transmit`` is called whenever the call has something to send."""

    def __init__(self, call: Call, label: str, clock: Callable[[], float], on_transmit: Callable[[], None]) -> None:
        self.messages: deque[Message] = deque(maxlen=KEPT_MESSAGES)
        """What arrived, newest last."""
        self.is_over = False
        """The peer ended the association."""
        self._call, self._label, self._clock, self._on_transmit = call, label, clock, on_transmit
        self._channels: DataChannels | None = None
        self._id: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._id is not None and not self.is_over

    def send(self, message: Message) -> bool:
        """Sends; False if the channel is not open."""
        return self._channels is not None and self._id is not None and self._channels.send(self._id, message)

    def handle_timer(self, now: float) -> None:
        """Starts the association as soon as DTLS is there, and keeps it alive."""
        if self._channels is not None:
            self._channels.handle_timeout(now)
        elif self._call.dtls is not None and self._call.dtls.state is DtlsState.CONNECTED and self._call.data_offer:
            self._channels = DataChannels(
                _Transport(self._call, self._clock),
                self._call.data_offer,
                on_transmit=self._on_transmit,
                on_message=lambda _channel, _label, message: self.messages.append(message),
                on_open=self._on_open,
                on_closed=self._on_closed,
            )
            self._call.on_data = self._channels.handle_data
            self._channels.handle_start(now)
            self._channels.open_channel(self._label)

    def poll_timeout(self) -> float | None:
        """When `handle_timer` wants to be called."""
        return self._channels.poll_timeout() if self._channels is not None else None

    def close(self) -> None:
        """Ends the association."""
        if self._channels is not None and not self.is_over:
            self.is_over = True
            self._channels.close()

    def _on_open(self, number: int, _label: str) -> None:
        self._id = number
        self._call.mark_channel_open(self._clock())

    def _on_closed(self) -> None:
        self.is_over = True


class _Transport:
    """The call as SCTP sees it."""

    def __init__(self, call: Call, clock: Callable[[], float]) -> None:
        assert call.dtls is not None
        self.role: Literal["client", "server"] = call.dtls.role
        self._call, self._clock = call, clock

    def send(self, data: bytes) -> bool:
        return self._call.send_data(data, self._clock())
