"""What travels beside the sound? The data channels of one session: messages for its backend, and statistics."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from rtcrelay.rtc.offer_answer import DataOffer
from rtcrelay.rtc.sctp import DataChannels, DataTransport
from rtcrelay.transceiver.backends import Message
from rtcrelay.transceiver.counters import Count, Counters
from rtcrelay.transceiver.statistics_feed import StatisticsFeed


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom the channels tell: a session."""

    describe: Callable[[float], dict[str, object]]
    """Makes the statistics for now."""
    on_channel: Callable[[int, str], None]
    """Takes the backend's channels: one that has opened, and its label."""
    on_message: Callable[[int, str, Message], None]
    """Takes the backend's messages, with the channel and its label."""
    on_sooner: Callable[[], None]
    """`Messages.poll_timeout` is sooner than before."""
    on_transmit: Callable[[], None]
    """The transport has something to send."""
    on_closed: Callable[[], None]
    """The client ended the association, or broke its rules."""


class Messages:
    """The channels of one session, from when DTLS carries them until its end; nothing happens before and after."""

    def __init__(self, counters: Counters, clock: Callable[[], float]) -> None:
        self._counters, self._clock = counters, clock
        self._channels: DataChannels | None = None
        self._feed: StatisticsFeed | None = None
        self._listener: Listener | None = None

    def start(self, transport: DataTransport, offer: DataOffer, listener: Listener) -> None:
        """Begins the association over a connected DTLS; see `DataChannels`."""
        self._listener = listener
        self._feed = StatisticsFeed(self._send, listener.describe)
        self._channels = DataChannels(
            transport,
            offer,
            on_transmit=listener.on_transmit,
            on_message=self._handle_message,
            on_open=self._handle_open,
            on_closed=listener.on_closed,
        )
        self._channels.handle_start(self._clock())

    def handle_data(self, packet: bytes) -> None:
        """One SCTP packet, decrypted."""
        if self._channels is not None:
            self._channels.handle_data(packet)

    def send(self, channel: int, message: Message) -> bool:
        """See `Call.send_message`."""
        if not self._send(channel, message):
            return False
        self._counters.counts[Count.MESSAGES_OUT] += 1
        return True

    def close(self, reason: str) -> None:
        """Tells every channel why, and ends the association."""
        channels = self._channels
        if channels is not None:
            for channel in channels.open_channels():
                channels.send(channel, json.dumps({"type": "closing", "reason": reason}))
            channels.close()
        self._channels = self._feed = self._listener = None

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None if never."""
        if self._channels is None or self._feed is None:
            return None
        at, feed = self._channels.poll_timeout(), self._feed.poll_timeout()
        return feed if at is None else at if feed is None else min(at, feed)

    def handle_timeout(self, now: float) -> None:
        """Heartbeat and statistics, as they are due."""
        if self._channels is not None and self._feed is not None:
            self._channels.handle_timeout(now)
            self._feed.handle_timeout(now)

    @property
    def open_channels(self) -> int:
        """How many are open."""
        return len(self._channels.open_channels()) if self._channels is not None else 0

    @property
    def labels(self) -> list[str]:
        """The labels of those, as their opener wrote them."""
        return self._channels.labels() if self._channels is not None else []

    def _send(self, channel: int, message: Message) -> bool:
        return self._channels is not None and self._channels.send(channel, message)

    def _handle_open(self, channel: int, label: str) -> None:
        if self._feed is None or self._listener is None:
            return
        self._feed.handle_open(channel, label, self._clock())
        self._listener.on_sooner()
        if not self._feed.has(channel):
            self._listener.on_channel(channel, label)

    def _handle_message(self, channel: int, label: str, message: Message) -> None:
        if self._feed is None or self._listener is None:
            return
        self._counters.counts[Count.MESSAGES_IN] += 1
        if not self._feed.has(channel):
            self._listener.on_message(channel, label, message)
