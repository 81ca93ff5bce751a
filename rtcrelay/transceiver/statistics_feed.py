"""What does a client see of its own session? A message a second on data channels that it labels ``stats``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

LABEL: Final = "stats"
"""Of the channels that get the messages. What a client sends on them is ignored."""
INTERVAL_SECONDS: Final = 1.0


class StatisticsFeed:
    """The channels of one session that want statistics. It keeps the session's time, and no clock."""

    def __init__(self, send: Callable[[int, str], bool], describe: Callable[[float], dict[str, object]]) -> None:
        """``send`` takes a channel and a message, False if it is closed; ``describe`` makes the content for now."""
        self._send, self._describe = send, describe
        self._channels: set[int] = set()
        self._due: float | None = None

    def handle_open(self, channel: int, label: str, now: float) -> None:
        """A channel is open; its first message is due at once if it is labelled so."""
        if label == LABEL:
            self._channels.add(channel)
            self._due = now

    def has(self, channel: int) -> bool:
        """Whether this channel is for statistics."""
        return channel in self._channels

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None while nobody listens."""
        return self._due

    def handle_timeout(self, now: float) -> None:
        """Sends what is due. A channel that takes nothing any more is forgotten."""
        if self._due is None or now < self._due:
            return
        message = msgspec.json.encode(self._describe(now)).decode()
        self._channels = {channel for channel in self._channels if self._send(channel, message)}
        self._due = max(self._due + INTERVAL_SECONDS, now) if self._channels else None
