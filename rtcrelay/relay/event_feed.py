"""Who hears what happens to paths? One reader of the data plane's events, any number of listeners.

The data plane keeps events only while somebody listens, so that nobody pays for what nobody reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from rtcrelay._dataplane import Event
    from rtcrelay.relay.early_answers import EarlyAnswers, Left

Listener: TypeAlias = "Callable[[Sequence[Event], int], None]"
"""Takes events, and how many the data plane lost since the last call. Must not block."""


class EventSource(Protocol):
    """The side of a `Relay` that tells of events."""

    def listen(self, listening: bool, *, route_cache: bool = False) -> int:
        """Starts or stops events; returns the descriptor that tells of them."""

    def events(self, limit: int = 4096) -> tuple[list[Event], int]:
        """Takes events, and says how many were lost so far."""


class EventFeed:
    """Reads a data plane's events on the running event loop and hands them to everyone who listens."""

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._listeners: list[Listener] = []
        self._holds = False
        self._lost = 0
        self._descriptor: int | None = None
        self.early: EarlyAnswers | None = None
        """Who reads the events until `begin`, if anybody; listeners wait."""

    async def begin(self) -> Left | None:
        """Reads from now on; returns what the early reader leaves, if there was one."""
        early, self.early = self.early, None
        left = None if early is None else await asyncio.to_thread(early.finish)
        if self._listeners:  # else what has happened since waits for the first of them
            self._apply()
        return left

    def subscribe(self, listener: Listener) -> None:
        """Has ``listener`` called with every event from now on."""
        self._listeners.append(listener)
        self._apply()

    def unsubscribe(self, listener: Listener) -> None:
        """Ends that; nothing happens if it did not listen."""
        self._listeners = [other for other in self._listeners if other != listener]
        self._apply()

    def hold_packets(self, wanted: bool) -> None:
        """Whether packets of unknown paths are held for an answer; only while somebody listens."""
        self._holds = wanted
        if self._listeners:  # else there may be events that wait for the first of them
            self._apply()

    def poll(self) -> None:
        """Hands over what has happened."""
        events, lost = self._source.events()
        new, self._lost = lost - self._lost, lost
        if events or new:
            for listener in tuple(self._listeners):
                listener(events, new)

    def _apply(self) -> None:
        if self.early is not None:
            return
        descriptor = self._source.listen(bool(self._listeners), route_cache=self._holds and bool(self._listeners))
        loop = asyncio.get_running_loop()
        if self._listeners and self._descriptor is None:
            loop.add_reader(descriptor, self.poll)
            self._descriptor = descriptor
        elif not self._listeners and self._descriptor is not None:
            loop.remove_reader(self._descriptor)
            self._descriptor = None
