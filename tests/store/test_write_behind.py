"""Ten thousand new flows a second: nothing waits, and what there is no room for is counted."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from rtcrelay.relay import route_cache
from store.flood import caching, flood, new_flows, until
from store.server import Server, running
from store.test_route_store import NEEDS


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, requires: Callable[..., None]) -> Iterator[Server]:
    requires(**NEEDS[request.param])
    with running(request.param) as server:
        yield server


async def test_every_new_flow_is_written_or_counted_as_dropped(server: Server) -> None:
    async with caching(server.url) as cache:
        told, _, _ = await flood(cache, 10_000, 1.0)
        assert told == 10_000
        await until(lambda: cache.counts.written + cache.counts.write_dropped >= told)
        assert (cache.counts.written, cache.counts.write_dropped, cache.counts.write_errors) == (told, 0, 0)


async def test_a_stalled_server_makes_nobody_wait_and_the_oldest_routes_go(server: Server) -> None:
    async with caching(server.url) as cache:
        await flood(cache, 1000, 0.1)
        server.signal(signal.SIGSTOP)
        told, cpu = 0, time.process_time()
        while told < route_cache.MAX_WAITING + 20_000:
            cache.handle_events(new_flows(1_000_000 + told, 1000), 0)
            told += 1000
            await asyncio.sleep(0)
        assert time.process_time() - cpu < 5, "some 2 us a flow"
        assert cache.waiting <= route_cache.MAX_WAITING
        assert cache.counts.write_dropped >= 20_000 - route_cache.BATCH - 100
        server.signal(signal.SIGCONT)


async def test_ten_thousand_questions_are_answered(server: Server) -> None:
    async with caching(server.url) as cache:
        await flood(cache, 10_000, 1.0)
        await until(lambda: cache.counts.written == 10_000)
        cache.handle_events(new_flows(0, 10_000, "asked"), 0)
        await until(lambda: cache.counts.found + cache.counts.ask_dropped == 10_000)
        assert cache.counts.asked == 10_000
        assert cache.counts.missed == 0
