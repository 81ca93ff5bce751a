"""Heartbeats through a store that is played: what they say, what they obey, and what they survive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from store.played import PlayedNode, PlayedStore, heartbeat

from rtcrelay.store import beacon as beacon_module
from rtcrelay.store.beacon import Beacon
from rtcrelay.store.directory import Nodes, give_order, read_nodes
from rtcrelay.store.node_entry import Order, read_heartbeat, write_entry

HEARTBEAT, ORDER = "rtcrelay:1:n:7:a", "rtcrelay:1:o:7:a"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beacon_module, "BEAT_SECONDS", 0.01)


@asynccontextmanager
async def beating(store: PlayedStore, node: PlayedNode, **arguments: Any) -> AsyncIterator[Beacon]:
    async with Beacon(store, node, **arguments) as beacon:
        yield beacon


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110  # nobody tells when a task has done its round
            await asyncio.sleep(0.002)


async def test_a_node_is_alive_from_its_first_heartbeat_to_its_end() -> None:
    store, node = PlayedStore(), PlayedNode()
    async with beating(store, node) as beacon:
        await until(lambda: beacon.counts.written >= 2)
        written = next(command for command in store.asked if command[0] == "SET")
        assert (written[1], written[3:]) == (HEARTBEAT, ("EX", 15))
        found = await read_nodes(store)
        assert [seen.node for seen in found.found] == ["a"]
        assert found.found[0].process.instance == beacon._process.instance
    assert (store.values, store.index) == ({}, {})


async def test_a_node_with_a_successor_leaves_its_place_to_it() -> None:
    store = PlayedStore()
    async with beating(store, PlayedNode()) as beacon:
        await until(lambda: beacon.counts.written >= 1)
        beacon.leaves = False
    assert list(store.values) == [HEARTBEAT]


async def test_a_change_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beacon_module, "BEAT_SECONDS", 60.0)
    store, node = PlayedStore(), PlayedNode()
    async with beating(store, node) as beacon:
        await until(lambda: beacon.counts.written == 1)
        node.state = "draining"
        beacon.beat_soon()
        await until(lambda: beacon.counts.written == 2)
        assert b'"state":"draining"' in store.values[HEARTBEAT]


async def test_an_order_is_obeyed_once_and_shown_in_the_same_heartbeat() -> None:
    store, node = PlayedStore(), PlayedNode()
    async with beating(store, node) as beacon:
        await until(lambda: beacon.counts.written >= 1)
        order = Order(state="cordoned", by="me@here", at_ms=1)
        await give_order(store, heartbeat(), order)
        await until(lambda: bool(node.orders))
        seen = beacon.counts.written
        await until(lambda: beacon.counts.written >= seen + 3)
        assert node.orders == [order]
        assert beacon.counts.orders == 1
        assert b'"state":"cordoned"' in store.values[HEARTBEAT]
        del store.values[ORDER]  # Redis was wiped: what was ordered stays
        seen = beacon.counts.written
        await until(lambda: beacon.counts.written >= seen + 2)
        assert node.orders == [order]


async def test_an_order_for_another_process_of_the_name_is_not_obeyed() -> None:
    store, node = PlayedStore(), PlayedNode()
    async with beating(store, node) as beacon:
        await until(lambda: beacon.counts.written >= 1)
        order = Order(state="draining", by="me@here", at_ms=1, instance="ff" * 8)
        await give_order(store, heartbeat(), order)
        seen = beacon.counts.written
        await until(lambda: beacon.counts.written >= seen + 3)
        assert node.orders == []


async def test_a_malformed_order_is_counted_and_changes_nothing() -> None:
    store, node = PlayedStore(), PlayedNode()
    store.values[ORDER] = b'{"kind":"order","v":1,"state":"explode"}'
    async with beating(store, node) as beacon:
        await until(lambda: beacon.counts.refused >= 2)
        assert node.orders == []
        assert beacon.counts.written >= 1


async def test_redis_that_is_gone_costs_a_count_and_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    store = PlayedStore()
    store.down = True
    async with beating(store, PlayedNode()) as beacon:
        await until(lambda: beacon.counts.errors >= 5)
        store.down = False
        await until(lambda: beacon.counts.written >= 1)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == ["no heartbeat was written (1 times): redis://played does not serve: down; everything else goes on"]


async def test_redis_that_never_answers_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beacon_module, "_ROUND_SECONDS", 0.01)
    store = PlayedStore()
    store.before = asyncio.Event().wait
    async with beating(store, PlayedNode()) as beacon:
        await until(lambda: beacon.counts.errors >= 2)
        store.before = None
        await until(lambda: beacon.counts.written >= 1)


async def test_a_defect_does_not_end_the_heartbeats(caplog: pytest.LogCaptureFixture) -> None:
    store, node = PlayedStore(), PlayedNode()

    def fail(nodes: Nodes) -> None:
        raise KeyError("a defect")

    async with beating(store, node, on_nodes=fail) as beacon:
        await until(lambda: beacon.counts.errors >= 3)
        assert beacon.counts.written >= 3
    assert sum("a heartbeat failed" in record.getMessage() for record in caplog.records) == 1


async def test_a_double_is_told_of() -> None:
    store, told = PlayedStore(), []
    async with beating(store, PlayedNode()) as beacon:
        beacon._conflicts.tell = lambda reason, **_: told.append(reason)  # type: ignore[method-assign]
        await until(lambda: beacon.counts.written >= 1)
        assert told == []
        store.values[HEARTBEAT] = write_entry(heartbeat()).encode()
        await until(lambda: bool(told))
        assert told[0] == "transceiver a on host, process 1"


async def test_what_makes_no_sense_in_the_directory_is_counted_and_left_out() -> None:
    store, heard = PlayedStore(), list[Nodes]()
    store.index = dict.fromkeys((b"7:rubbish", b"7:dead", b"no member"), 2.0**52)
    store.values["rtcrelay:1:n:7:rubbish"] = b"rubbish"
    async with beating(store, PlayedNode(), on_nodes=heard.append) as beacon:
        await until(lambda: bool(heard))
        assert [node.node for node in heard[0].found] == ["a"]
        assert heard[0].refused == 2
        assert (beacon.counts.nodes, beacon.counts.refused >= 2) == (1, True)


async def test_the_index_forgets_those_who_died_long_ago() -> None:
    store = PlayedStore()
    store.index = {b"7:old": 1_000}
    async with beating(store, PlayedNode()) as beacon:
        await until(lambda: beacon.counts.written >= 1)
        assert list(store.index) == [b"7:a"]


async def test_a_heartbeat_says_how_busy_the_process_is() -> None:
    store, node = PlayedStore(), PlayedNode()
    async with beating(store, node) as beacon:
        await until(lambda: beacon.counts.written >= 2)
        pulse = beacon._pulse()
        assert 0 <= pulse.cpu < 64
        assert read_heartbeat("7:a", store.values[HEARTBEAT]) is not None
