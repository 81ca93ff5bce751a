"""What travels beside the sound? The data channels of one session: messages for its backend, and statistics."""

from __future__ import annotations

import json
from collections.abc import Callable

from rtcrelay.rtc.offer_answer import DataOffer
from rtcrelay.rtc.sctp import DataChannels, DataTransport
from rtcrelay.transceiver.backends import Message
from rtcrelay.transceiver.counters import Count, Counters
from rtcrelay.transceiver.statistics_feed import StatisticsFeed


class Messages:
    """The channels of one session, once DTLS carries them. Without an offer of any, nothing ever happens here."""

    def __init__(
        self,
        counters: Counters,
        clock: Callable[[], float],
        *,
        describe: Callable[[float], dict[str, object]],
        on_channel: Callable[[int, str], None],
        on_message: Callable[[int, str, Message], None],
        on_sooner: Callable[[], None],
    ) -> None:
        """``describe`` makes the statistics for now, ``on_channel`` and ``on_message`` get the backend's channels and
        messages, ``on_sooner`` is called when `poll_timeout` is sooner than before."""
        self._counters, self._clock = counters, clock
        self._on_channel, self._on_message, self._on_sooner = on_channel, on_message, on_sooner
        self._channels: DataChannels | None = None
        self._feed = StatisticsFeed(self._send, describe)

    def start(
        self,
        transport: DataTransport,
        offer: DataOffer,
        *,
        on_transmit: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Begins the association over a connected DTLS; see `DataChannels`."""
        self._channels = DataChannels(
            transport,
            offer,
            on_transmit=on_transmit,
            on_message=self._handle_message,
            on_open=self._handle_open,
            on_closed=on_closed,
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
        if self._channels is None:
            return
        for channel in self._channels.open_channels():
            self._channels.send(channel, json.dumps({"type": "closing", "reason": reason}))
        self._channels.close()

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None if never."""
        at = self._channels.poll_timeout() if self._channels is not None else None
        feed = self._feed.poll_timeout()
        return feed if at is None else at if feed is None else min(at, feed)

    def handle_timeout(self, now: float) -> None:
        """Heartbeat and statistics, as they are due."""
        if self._channels is not None:
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
        self._feed.handle_open(channel, label, self._clock())
        self._on_sooner()
        if not self._feed.has(channel):
            self._on_channel(channel, label)

    def _handle_message(self, channel: int, label: str, message: Message) -> None:
        self._counters.counts[Count.MESSAGES_IN] += 1
        if not self._feed.has(channel):
            self._on_message(channel, label, message)
