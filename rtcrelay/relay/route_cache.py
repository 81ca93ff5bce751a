"""How do relays remember each other's routes? Written behind, asked on a miss, never waited for.

The data plane tells of established routes and of packets that nobody claims; this file carries the first to the
store in batches and the answers of the store back. Everything between is bounded, and a store that is slow, gone or
lying costs a counter, never a packet: without an answer a held packet is dropped after 20 ms, as it would be
without a store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from rtcrelay.errors import BackendError
from rtcrelay.relay.event_feed import EventFeed
from rtcrelay.store.complaints import Complaints
from rtcrelay.store.route_entry import PathKey, RouteEntry, routes_of

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, Event
    from rtcrelay.relay.early_answers import Left

_K = TypeVar("_K")
_V = TypeVar("_V")

log = logging.getLogger("rtcrelay.relay.route_cache")

MAX_WAITING: Final = 65_536
"""Routes and questions that wait, each; the oldest are dropped. Six seconds of 10,000 new flows a second."""
BATCH: Final = 256
"""Routes in one write, and questions in one: measured, larger batches gain nothing."""
QUESTIONS_UNDER_WAY: Final = 8
"""Batches of questions that wait for the store's answer at once: a store 100 ms away answers 20,000 a second."""
WORTH_ASKING_SECONDS: Final = 0.5
"""An older question is dropped: the data plane asks again by then (``ASK_AGAIN`` in its questions.rs). Not after the
20 ms for which it holds packets: an answer serves those that follow, and 10,000 questions at once take longer."""
GATHER_SECONDS: Final = 0.02
"""How long a write waits for company."""
EXPIRY_IN_IDLE_TIMES: Final = 2.5
"""Twice the time after which the data plane tells of a route again."""
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0


class Store(Protocol):
    """Where routes are kept: a `RedisStore`."""

    name: str

    async def write(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        """Sets keys. Raises BackendError."""

    async def read(self, keys: Sequence[str]) -> list[str | None]:
        """Reads keys. Raises BackendError."""

    async def ping(self) -> None:
        """Raises BackendError if nobody serves."""


class DataPlane(Protocol):
    """What the cache needs of a `Relay`."""

    def restore(self, routes: Sequence[tuple[Address, int, Address]]) -> int:
        """Hands routes over; returns how many were taken."""


class Meaning(Protocol):
    """What routes mean to a relay: a `ClusterTable`."""

    def owner_of(self, next_hop: Address) -> int | None:
        """The cluster under which a route to a next hop is written; None: it is not."""

    def lead(self, entry: RouteEntry) -> Address | None:
        """Where an entry leads; None: nowhere."""


@dataclass(slots=True)
class CacheCounts:
    """What happened since start."""

    written: int = 0
    """Routes written."""
    write_errors: int = 0
    """Batches the store refused."""
    write_dropped: int = 0
    """Routes that waited longest when the queue was full."""
    asked: int = 0
    """Questions of the data plane."""
    found: int = 0
    """Answers that made a claim."""
    missed: int = 0
    """Questions the store had no entry for."""
    refused: int = 0
    """Entries that were malformed, expired, of a cluster nobody knows, or refused by the data plane."""
    read_errors: int = 0
    """Questions the store did not answer."""
    ask_dropped: int = 0
    """Questions that waited longest when the queue was full, or so long that the data plane asks again."""
    defects: int = 0
    """Times that this file failed; it goes on."""
    events_lost: int = 0
    """Events the data plane had no room for."""

    def items(self) -> list[tuple[str, int]]:
        """Name and value of each."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


class RouteCache:
    """One relay's side of the route cache."""

    def __init__(
        self, relay: DataPlane, feed: EventFeed, store: Store, *, meaning: Meaning, name: str, idle_seconds: float
    ) -> None:
        """``feed`` has the relay's events; ``meaning`` says what is written and taken; ``name`` is the relay's internal
        address, for whoever reads the entries."""
        self.counts = CacheCounts()
        self._relay, self._feed, self._store = relay, feed, store
        self._meaning, self._name = meaning, name
        self._expire_seconds = max(1, round(idle_seconds * EXPIRY_IN_IDLE_TIMES))
        self._routes: OrderedDict[PathKey, Address] = OrderedDict()
        self._questions: OrderedDict[PathKey, float] = OrderedDict()
        self._something_to_write, self._something_to_ask = asyncio.Event(), asyncio.Event()
        self._under_way = asyncio.Semaphore(QUESTIONS_UNDER_WAY)
        self._is_away = False
        self._trouble = Complaints(log, "the route cache is out of reach (%d times): %s; forwarding goes on")
        self._defects = Complaints(log, "the route cache failed (%d times): %s; forwarding goes on")

    @property
    def waiting(self) -> int:
        """Routes that wait to be written."""
        return len(self._routes)

    async def run(self) -> None:
        """Serves until cancelled; what waits then is for `flush`."""
        try:
            with suppress(BackendError):  # a library is imported, and a connection waits for the first question
                await self._store.ping()
        finally:
            self._take(await self._feed.begin())
        self._feed.hold_packets(True)
        self._feed.subscribe(self.handle_events)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_behind())
                tasks.create_task(self._answer())
        finally:
            self._feed.hold_packets(False)
            self._feed.unsubscribe(self.handle_events)

    def handle_events(self, events: Sequence[Event], lost: int) -> None:
        """Sorts what the data plane told into what to write and what to ask."""
        self.counts.events_lost += lost
        now = time.monotonic()
        for event in events:
            key = PathKey(event.client, event.ingress)
            if event.what == "asked":
                self.counts.asked += 1
                self.counts.ask_dropped += _put(self._questions, key, now)
            elif (
                event.next_hop is not None
                and event.alone
                and event.what in ("established", "refreshed")
                and self._meaning.owner_of(event.next_hop) is not None
            ):
                self.counts.write_dropped += _put(self._routes, key, event.next_hop)
        if self._questions:
            self._something_to_ask.set()
        if self._routes:
            self._something_to_write.set()

    async def flush(self) -> None:
        """Writes what waits, once. Raises BackendError."""
        while self._routes:
            await self._write_batch()

    def _take(self, left: Left | None) -> None:
        if left is None:
            return
        self.counts.asked += left.asked
        self.counts.found += left.found
        self.counts.missed += left.missed
        self.counts.refused += left.refused
        self.handle_events(left.events, 0)

    async def _write_behind(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self._something_to_write.wait()
            if len(self._routes) < BATCH:
                await asyncio.sleep(GATHER_SECONDS)
            try:
                await self._write_batch()
                pause = FIRST_PAUSE_SECONDS
            except Exception as error:
                self.counts.write_errors += 1
                self._complain(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _write_batch(self) -> None:
        batch = [self._routes.popitem(last=False) for _ in range(min(BATCH, len(self._routes)))]
        if not self._routes:
            self._something_to_write.clear()
        now = _now_ms()
        expires = now + 1000 * self._expire_seconds
        try:
            entries = [
                (key.text(), RouteEntry(owner, next_hop, self._name, now, expires).text())
                for key, next_hop in batch
                if (owner := self._meaning.owner_of(next_hop)) is not None  # may have changed meanwhile
            ]
            await self._store.write(entries, self._expire_seconds)
        except BaseException:
            for key, next_hop in reversed(batch):  # back to where they were, unless there is newer
                if key not in self._routes and len(self._routes) < MAX_WAITING:
                    self._routes[key] = next_hop
                    self._routes.move_to_end(key, last=False)
                else:
                    self.counts.write_dropped += key not in self._routes
            self._something_to_write.set()
            raise
        self.counts.written += len(batch)

    async def _answer(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._something_to_ask.wait()
                if self._is_away:
                    await self._wait_for_the_store()
                    continue
                await self._under_way.acquire()
                batch = self._next_questions()
                if batch:
                    tasks.create_task(self._ask(batch))
                else:
                    self._under_way.release()

    def _next_questions(self) -> list[PathKey]:
        """The oldest that are still worth asking."""
        oldest = time.monotonic() - WORTH_ASKING_SECONDS
        batch: list[PathKey] = []
        while self._questions and len(batch) < BATCH:
            key, asked = self._questions.popitem(last=False)
            if asked < oldest:
                self.counts.ask_dropped += 1
            else:
                batch.append(key)
        if not self._questions:
            self._something_to_ask.clear()
        return batch

    async def _ask(self, batch: Sequence[PathKey]) -> None:
        try:
            self._restore(batch, await self._store.read([key.text() for key in batch]))
        except Exception as error:
            self.counts.read_errors += len(batch)
            self._complain(error)
            self._is_away = True
            self._something_to_ask.set()  # has `_answer` notice
        finally:
            self._under_way.release()

    def _restore(self, questions: Sequence[PathKey], values: Sequence[str | None]) -> None:
        routes, missed, refused = routes_of(questions, values, self._meaning.lead, _now_ms())
        taken = self._relay.restore(routes) if routes else 0
        self.counts.missed += missed
        self.counts.found += taken
        self.counts.refused += refused + len(routes) - taken

    async def _wait_for_the_store(self) -> None:
        """Holds no packets while nobody could answer for them."""
        self._feed.hold_packets(False)
        pause = FIRST_PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            try:
                await self._store.ping()
                break
            except BackendError:
                continue
            except Exception as error:
                self._complain(error)
        self._is_away = False
        self._questions.clear()
        self._something_to_ask.clear()
        self._feed.hold_packets(True)
        log.info("%s serves again", self._store.name)

    def _complain(self, error: Exception) -> None:
        """At most once a minute, with the number of times. What is no BackendError is a defect, which ends nothing."""
        if isinstance(error, BackendError):
            self._trouble.tell(error)
        else:
            self.counts.defects += 1
            self._defects.tell(f"{type(error).__name__}: {error}", traceback=True)


def _put(queue: OrderedDict[_K, _V], key: _K, value: _V) -> int:
    """Puts something at the end, in the place of what waited longest if there is no room; says how many went."""
    dropped = 0
    if key not in queue and len(queue) >= MAX_WAITING:
        queue.popitem(last=False)
        dropped = 1
    queue[key] = value
    return dropped


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
