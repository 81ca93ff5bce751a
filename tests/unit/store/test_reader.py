"""Heartbeats in the Redis of several sites: each by itself, and none speaks for another's clusters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store.played import PlayedStore, heartbeat

from rtcrelay.config.sites import ClusterSite, Place
from rtcrelay.errors import ConfigError
from rtcrelay.store import reader as reader_module
from rtcrelay.store.directory import Nodes
from rtcrelay.store.node_entry import INDEX, PREFIX, Heartbeat, member_of, write_entry
from rtcrelay.store.reader import NodesReader
from rtcrelay.store.sources import Source, read_sources

log = logging.getLogger("test.reader")
EU, AP = (ClusterSite(n, f"c{n}", Place(0, 0), redis=f"redis://{name}") for n, name in ((7, "eu"), (8, "ap")))


class Playing(PlayedStore):
    """One that can be closed, and a node that beats in it."""

    closed = False

    async def close(self) -> None:
        self.closed = True

    def beat(self, node: Heartbeat) -> None:
        member = member_of(node.cluster, node.node)
        self._run("SET", PREFIX + member, write_entry(node))
        self._run("ZADD", INDEX, 1, member)


class Taken:
    """What was taken last, by source."""

    def __init__(self) -> None:
        self.nodes: dict[str, list[tuple[int | None, str]]] = {}
        self.misses: list[str] = []
        self.fails = False

    def take(self, source: Source, nodes: Nodes) -> None:
        if self.fails:
            raise RuntimeError("a defect")
        self.nodes[source.name] = [(node.cluster, node.node) for node in nodes.found]

    def miss(self, source: Source) -> None:
        self.misses.append(source.name)

    def forget(self, source: Source) -> None:
        self.nodes.pop(source.name, None)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> dict[str, Playing]:
    stores = {"redis://eu": Playing(), "redis://ap": Playing(), "redis://here": Playing()}
    monkeypatch.setattr(reader_module, "late_store", lambda url, password: stores[url])
    monkeypatch.setattr(reader_module, "PERIOD_SECONDS", 0.005)
    return stores


async def until(happened: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110  # the reader's tasks tell nobody when they have done a round
            await asyncio.sleep(0.002)


async def test_each_site_speaks_for_its_own_clusters(stores: dict[str, Playing]) -> None:
    for cluster in (7, 8, 9):
        for store in stores.values():
            store.beat(heartbeat(cluster=cluster))
    taken = Taken()
    async with NodesReader(taken, log, "calls go on") as reader:
        reader.arrange(read_sources((EU, AP), "redis://here", None))
        await until(lambda: len(taken.nodes) == 3)
        assert taken.nodes == {"redis://eu": [(7, "a")], "redis://ap": [(8, "a")], "redis://here": [(9, "a")]}
        assert reader.serving == {"7": True, "8": True, "others": True}


async def test_one_that_is_down_harms_no_other_and_is_told_of_once(
    stores: dict[str, Playing], caplog: pytest.LogCaptureFixture
) -> None:
    stores["redis://eu"].down = True
    taken = Taken()
    async with NodesReader(taken, log, "calls go on") as reader:
        reader.arrange(read_sources((EU, AP), None, None))
        await until(lambda: len(taken.misses) > 3)
        stores["redis://ap"].beat(heartbeat(cluster=8))
        await until(lambda: taken.nodes.get("redis://ap") == [(8, "a")])
        assert reader.serving == {"7": False, "8": True}
        assert set(taken.misses) == {"redis://eu"}
        told = [record.message for record in caplog.records if record.name == log.name]
        assert len(told) == 1
        assert told[0].startswith("heartbeats could not be read (1 times): in redis://eu: ")
        stores["redis://eu"].down = False
        stores["redis://eu"].beat(heartbeat(cluster=7))
        await until(lambda: taken.nodes.get("redis://eu") == [(7, "a")])
        assert reader.serving["7"]


async def test_a_defect_ends_no_reading(stores: dict[str, Playing]) -> None:
    taken = Taken()
    taken.fails = True
    async with NodesReader(taken, log, "calls go on") as reader:
        reader.arrange(read_sources((EU,), None, None))
        await until(lambda: len(taken.misses) > 1)
        taken.fails = False
        await until(lambda: "redis://eu" in taken.nodes)


async def test_a_reload_begins_with_new_ones_and_forgets_those_that_went(stores: dict[str, Playing]) -> None:
    taken = Taken()
    async with NodesReader(taken, log, "calls go on") as reader:
        reader.arrange(read_sources((EU,), None, None))
        await until(lambda: "redis://eu" in taken.nodes)
        asked = len(stores["redis://eu"].asked)
        reader.arrange(read_sources((EU, AP), None, None))
        await until(lambda: "redis://ap" in taken.nodes and len(stores["redis://eu"].asked) > asked)
        assert not stores["redis://eu"].closed, "it goes on"
        reader.arrange(read_sources((AP,), None, None))
        assert "redis://eu" not in taken.nodes
        await until(lambda: stores["redis://eu"].closed)
    assert stores["redis://ap"].closed


def test_a_password_that_cannot_be_read_is_an_error_and_none_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("geheim\n")
    file.chmod(0o600)
    site = ClusterSite(7, "c", Place(0, 0), redis="redis://eu", redis_password_file=file)
    (source,) = read_sources((site,), None, None)
    assert source.password == "geheim"
    assert "geheim" not in repr(source)
    file.unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        read_sources((site,), None, None)
