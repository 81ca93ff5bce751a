"""New flows by the thousand for a route cache, as a data plane tells of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from rtcrelay._dataplane import Event
from rtcrelay.relay.cluster_table import ClusterTable
from rtcrelay.relay.event_feed import EventFeed
from rtcrelay.relay.route_cache import RouteCache
from rtcrelay.store.redis_store import RedisStore
from store.played import relay_settings

TURN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class NewFlow:
    """An event of the data plane."""

    client: tuple[str, int]
    what: str = "established"
    ingress: int = 3479
    next_hop: tuple[str, int] = ("10.0.3.1", 7000)
    alone: bool = True


class Nothing:
    """A data plane and its feed, of which only what they are asked matters."""

    def restore(self, routes: Sequence[Any]) -> int:
        return len(routes)

    async def begin(self) -> None:
        return None

    def subscribe(self, listener: Any) -> None: ...

    def unsubscribe(self, listener: Any) -> None: ...

    def hold_packets(self, wanted: bool) -> None: ...


def new_flows(start: int, count: int, what: str = "established") -> list[Event]:
    """Events of ``count`` clients that no other number has."""
    numbers = range(start, start + count)
    flows = [NewFlow((f"198.{18 + n // 15_360_000}.{n // 60_000 % 256}.1", n % 60_000 + 1), what) for n in numbers]
    return cast(list[Event], flows)


@asynccontextmanager
async def caching(url: str) -> AsyncIterator[RouteCache]:
    """A route cache that writes to a server."""
    store = RedisStore(url)
    nothing = Nothing()
    feed = cast(EventFeed, nothing)
    table = ClusterTable(relay_settings(cluster=0))
    cache = RouteCache(nothing, feed, store, meaning=table, name="10.0.0.5:3479", idle_seconds=60)
    task = asyncio.create_task(cache.run())
    try:
        yield cache
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


async def flood(cache: RouteCache, per_second: int, seconds: float) -> tuple[int, float, int]:
    """Tells of new flows at a steady rate; returns how many, by how many seconds the event loop was late at most, and
    the longest queue."""
    count, worst, longest = 0, 0.0, 0
    due = time.monotonic()
    for _ in range(round(seconds / TURN_SECONDS)):
        now = time.monotonic()
        worst = max(worst, now - due)
        cache.handle_events(new_flows(count, round(per_second * TURN_SECONDS)), 0)
        count += round(per_second * TURN_SECONDS)
        longest = max(longest, cache.waiting)
        due += TURN_SECONDS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    return count, worst, longest


async def until(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    """Returns when something has happened; TimeoutError if it does not."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110  # the cache tells nobody when it has done its work
            await asyncio.sleep(0.001)
