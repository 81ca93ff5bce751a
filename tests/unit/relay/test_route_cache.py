"""The route cache between a data plane and a store that are both played."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from store.played import relay_settings

from rtcrelay.errors import BackendError
from rtcrelay.relay import route_cache
from rtcrelay.relay.cluster_table import ClusterTable
from rtcrelay.relay.event_feed import EventFeed
from rtcrelay.relay.route_cache import RouteCache
from rtcrelay.store.route_entry import PathKey, RouteEntry, read_entry

from .played import NEXT_HOP, Address, PlayedEvent, PlayedRelay


@dataclass
class PlayedStore:
    """A store of a dictionary that can be told to fail."""

    name: str = "redis://played"
    values: dict[str, str] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    down: bool = False
    expire_seconds: int = 0
    asked: list[int] = field(default_factory=list)
    writing: list[int] = field(default_factory=list)
    delay: Callable[[], Awaitable[object]] | None = None
    fault: Exception | None = None

    async def write(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        self.writing.append(len(entries))
        await self._pass()
        self.batches.append(len(entries))
        self.values.update(entries)
        self.expire_seconds = expire_seconds

    async def read(self, keys: Sequence[str]) -> list[str | None]:
        self.asked.append(len(keys))
        await self._pass()
        return [self.values.get(key) for key in keys]

    async def _pass(self) -> None:
        await self.ping()
        if self.fault is not None:
            raise self.fault
        if self.delay is not None:
            await self.delay()

    async def ping(self) -> None:
        if self.down:
            raise BackendError("redis://played does not serve: down")


@asynccontextmanager
async def playing(**arguments: Any) -> AsyncIterator[tuple[PlayedRelay, PlayedStore, RouteCache]]:
    relay, store = PlayedRelay(), PlayedStore()
    table = ClusterTable(relay_settings())
    cache = RouteCache(
        relay, EventFeed(relay), store, meaning=table, name="10.0.0.5:3479", idle_seconds=60, **arguments
    )
    task = asyncio.create_task(cache.run())
    await asyncio.sleep(0)
    try:
        yield relay, store, cache
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert relay.listening[-1] == (False, False)
        relay.close()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110  # the cache's tasks tell nobody when they are done
            await asyncio.sleep(0.002)


def client(port: int) -> Address:
    return ("198.51.100.7", port)


def remembered(port: int, **changes: Any) -> tuple[str, str]:
    now = time.time_ns() // 1_000_000
    fields: dict[str, Any] = {
        "cluster": 7,
        "next_hop": NEXT_HOP,
        "relay": "r",
        "created_ms": now,
        "expires_ms": now + 60_000,
    } | changes
    return PathKey(client(port), 3479).text(), RouteEntry(**fields).text()


async def test_an_established_route_is_written_with_its_expiry() -> None:
    async with playing() as (relay, store, cache):
        relay.tell(PlayedEvent("established", client(1)))
        await until(lambda: cache.counts.written == 1)
        entry = read_entry(store.values["rtcrelay:1:f:3479:1:198.51.100.7"])
        assert entry is not None
        assert (entry.cluster, entry.next_hop, entry.relay) == (7, NEXT_HOP, "10.0.0.5:3479")
        assert entry.expires_ms - entry.created_ms == 150_000
        assert store.expire_seconds == 150


async def test_only_the_route_of_a_path_with_one_strong_claim_is_written() -> None:
    async with playing() as (relay, store, cache):
        relay.tell(PlayedEvent("opened", client(1)), PlayedEvent("established", client(2), alone=False))
        relay.tell(PlayedEvent("refreshed", client(3)))
        await until(lambda: cache.counts.written == 1)
        assert list(store.values) == [PathKey(client(3), 3479).text()]


async def test_routes_are_written_in_batches_and_the_latest_of_a_path_counts() -> None:
    async with playing() as (relay, store, cache):
        relay.tell(*(PlayedEvent("established", client(port), next_hop=("10.0.3.9", 7000)) for port in range(1, 601)))
        relay.tell(*(PlayedEvent("established", client(port)) for port in range(1, 601)))
        await until(lambda: cache.counts.written == 600)
        assert store.batches == [256, 256, 88]
        assert all("10.0.3.1:7000" in value for value in store.values.values())


async def test_a_question_is_answered_from_the_store() -> None:
    async with playing() as (relay, store, cache):
        store.values.update([remembered(1)])
        relay.tell(PlayedEvent("asked", client(1), next_hop=None), PlayedEvent("asked", client(2), next_hop=None))
        await until(lambda: cache.counts.missed == 1)
        assert relay.restored == [(client(1), 3479, NEXT_HOP)]
        assert (cache.counts.asked, cache.counts.found) == (2, 1)


async def test_many_questions_go_in_batches_several_at_once() -> None:
    async with playing() as (relay, store, cache):
        store.values.update(remembered(port) for port in range(1, 3001))
        answer = asyncio.Event()
        store.delay = answer.wait
        relay.tell(*(PlayedEvent("asked", client(port), next_hop=None) for port in range(1, 3001)))
        await until(lambda: len(store.asked) == route_cache.QUESTIONS_UNDER_WAY)
        assert store.asked == [256] * 8
        assert relay.restored == []
        answer.set()
        await until(lambda: cache.counts.found == 3000)
        assert store.asked == [256] * 11 + [3000 - 11 * 256]


async def test_a_question_that_waited_too_long_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with playing() as (relay, store, cache):
        monkeypatch.setattr(route_cache, "WORTH_ASKING_SECONDS", 0.05)
        answer = asyncio.Event()
        store.delay = answer.wait
        relay.tell(*(PlayedEvent("asked", client(port), next_hop=None) for port in range(1, 3001)))
        await until(lambda: len(store.asked) == route_cache.QUESTIONS_UNDER_WAY)
        await asyncio.sleep(0.06)
        relay.tell(PlayedEvent("asked", client(9999), next_hop=None))
        await asyncio.sleep(0)
        answer.set()
        await until(lambda: cache.counts.missed == 8 * 256 + 1)
        assert cache.counts.ask_dropped == 3000 - 8 * 256
        assert store.asked[-1] == 1


async def test_a_defect_ends_neither_writing_nor_asking(caplog: pytest.LogCaptureFixture) -> None:
    async with playing() as (relay, store, cache):
        store.values.update([remembered(1)])
        store.fault = KeyError("a defect")
        relay.tell(PlayedEvent("asked", client(1), next_hop=None), PlayedEvent("established", client(2)))
        await until(lambda: cache.counts.read_errors == 1 and cache.counts.write_errors >= 1)
        store.fault = None
        await until(lambda: cache.counts.written == 1 and relay.listening[-1] == (True, True))
        relay.tell(PlayedEvent("asked", client(1), next_hop=None))
        await until(lambda: cache.counts.found == 1)
        assert cache.counts.defects >= 2
        lines = [record.getMessage() for record in caplog.records if "the route cache failed" in record.getMessage()]
        assert lines == ["the route cache failed (1 times): KeyError: 'a defect'; forwarding goes on"]


async def test_what_was_being_written_at_the_end_is_not_lost() -> None:
    async with playing() as (relay, store, cache):
        store.delay = asyncio.Event().wait
        relay.tell(*(PlayedEvent("established", client(port)) for port in range(1, 301)))
        await until(lambda: bool(store.writing))
    store.delay = None
    await cache.flush()
    assert len(store.values) == 300


async def test_a_store_that_lies_is_refused_and_counted() -> None:
    async with playing() as (relay, store, cache):
        relay.allowed = lambda next_hop: next_hop == NEXT_HOP
        store.values.update(
            [
                remembered(1, cluster=8),
                remembered(2, expires_ms=1),
                remembered(3, next_hop=("192.0.2.1", 7000)),
                (PathKey(client(4), 3479).text(), "rubbish"),
            ]
        )
        relay.tell(*(PlayedEvent("asked", client(port), next_hop=None) for port in range(1, 5)))
        await until(lambda: cache.counts.refused == 4)
        assert relay.restored == []


async def test_while_the_store_is_down_nothing_is_asked_and_what_is_to_be_written_waits() -> None:
    async with playing() as (relay, store, cache):
        store.down = True
        relay.tell(PlayedEvent("asked", client(1), next_hop=None), PlayedEvent("established", client(2)))
        await until(lambda: cache.counts.read_errors == 1 and cache.counts.write_errors >= 1)
        assert relay.listening[-1] == (True, False)
        assert cache.waiting == 1
        store.down = False
        await until(lambda: cache.counts.written == 1)
        await until(lambda: relay.listening[-1] == (True, True))


async def test_a_full_queue_drops_the_oldest_routes_and_counts_them() -> None:
    async with playing() as (relay, store, cache):
        store.down = True
        routes = route_cache.MAX_WAITING + 10
        events = [PlayedEvent("established", (f"198.51.{n // 60000}.1", n % 60000 + 1)) for n in range(routes)]
        relay.tell(*events)
        await until(lambda: cache.counts.write_errors >= 1)
        assert cache.waiting == route_cache.MAX_WAITING
        assert cache.counts.write_dropped == 10
        store.down = False
        await until(lambda: cache.waiting == 0)
        assert PathKey(events[0].client, 3479).text() not in store.values
        assert PathKey(events[-1].client, 3479).text() in store.values


async def test_lost_events_are_known() -> None:
    async with playing() as (relay, _, cache):
        relay.lost = 5
        relay.tell(PlayedEvent("opened", client(1)))
        await until(lambda: cache.counts.events_lost == 5)


async def test_flush_writes_what_waits_at_once() -> None:
    relay, store = PlayedRelay(), PlayedStore()
    table = ClusterTable(relay_settings())
    cache = RouteCache(relay, EventFeed(relay), store, meaning=table, name="r", idle_seconds=60)
    relay.tell(*(PlayedEvent("established", client(port)) for port in range(1, 301)))
    cache.handle_events(relay.events()[0], 0)
    await cache.flush()
    assert store.batches == [256, 44]
    relay.close()
