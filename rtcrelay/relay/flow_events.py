"""``GET /v1/flows/events``: what happens to paths, one JSON object a line, for as long as somebody reads."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from rtcrelay.config.text import format_address

if TYPE_CHECKING:
    from rtcrelay._dataplane import Event
    from rtcrelay.relay.event_feed import EventFeed

MAX_WAITING: Final = 32_768
"""Events that wait for one reader; three seconds of 10,000 new flows a second. What comes then is lost and counted."""
BEAT_SECONDS: Final = 2.0
"""An empty line after so long without events tells the reader that the relay lives, and the relay of a lost reader."""
_ENCODER: Final = msgspec.json.Encoder()


class FlowEvents:
    """Every reader of the stream."""

    def __init__(self, feed: EventFeed, relay: str) -> None:
        """``relay`` is the internal address by which readers of several relays tell them apart."""
        self._feed, self._relay = feed, relay
        self._readers: set[_Reader] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serves one reader until it goes or the relay ends."""
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        reader = _Reader(self._relay)
        self._readers.add(reader)
        self._feed.subscribe(reader.handle_events)
        try:
            await response.write(b"\n")  # whoever waits for this knows that nothing is missed from now on
            while not reader.is_over:
                await response.write(await reader.lines())
        except ConnectionResetError:
            pass
        finally:
            self._feed.unsubscribe(reader.handle_events)
            self._readers.discard(reader)
        return response

    async def end(self, _: web.Application) -> None:
        """Has every stream end."""
        for reader in self._readers:
            reader.end()


class _Reader:
    """What waits for one reader."""

    def __init__(self, relay: str) -> None:
        self.is_over = False
        self._relay = relay
        self._waiting: deque[tuple[float, Event]] = deque()
        self._lost_before = self._lost_here = 0
        self._something = asyncio.Event()

    def handle_events(self, events: Sequence[Event], lost: int) -> None:
        now = time.time()
        room = MAX_WAITING - len(self._waiting)
        self._waiting.extend((now, event) for event in events[:room])
        self._lost_before += lost
        self._lost_here += max(0, len(events) - room)
        self._something.set()

    def end(self) -> None:
        self.is_over = True
        self._something.set()

    async def lines(self) -> bytes:
        """What has happened since, as lines; an empty one if nothing did."""
        try:
            async with asyncio.timeout(BEAT_SECONDS):
                await self._something.wait()
        except TimeoutError:
            return b"\n"
        self._something.clear()
        rows = [_event_row(at, event, self._relay) for at, event in self._waiting]
        self._waiting.clear()
        if self._lost_before:  # in the data plane, before those that came
            rows.insert(0, self._lost_row("relay", self._lost_before))
        if self._lost_here:
            rows.append(self._lost_row("reader", self._lost_here))
        self._lost_before = self._lost_here = 0
        return b"".join(_ENCODER.encode(row) + b"\n" for row in rows) or b"\n"

    def _lost_row(self, where: str, events: int) -> dict[str, Any]:
        now = _timestamp(time.time())
        return {"kind": "lost", "v": 1, "time": now, "relay": self._relay, "where": where, "events": events}


def _event_row(at: float, event: Event, relay: str) -> dict[str, Any]:
    return {
        "kind": "flow_event",
        "v": 1,
        "time": _timestamp(at),
        "relay": relay,
        "event": event.what,
        "client": format_address(event.client),
        "ingress": event.ingress,
        "next_hop": None if event.next_hop is None else format_address(event.next_hop),
        "alone": event.alone,
    }


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
