"""A global ingress, two relays of a cluster, a transceiver: real processes, and any of the relays may die."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rtcrelay.client.caller import calling
from rtcrelay.client.core import CallConfig

from .tiers import CLUSTER, Plan, Tier, Tiers, more_audio, tiers
from .waiting import until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Tiers]:
    async with tiers(tmp_path, Plan()) as world:
        yield world


async def test_a_call_goes_by_ingress_and_cluster_to_its_transceiver_both_ways(world: Tiers) -> None:
    async with calling(world.url, channel="echo") as caller:
        await caller.until_talking()
        await more_audio(caller, 50, 10.0)
        hop = world.relays[await world.hop()]
        (flow,) = await hop.admin.flows()
        (claim,) = flow["claims"]
        assert claim["cluster"] is None
        assert claim["next_hop"].startswith("127.0.9.1:")
        assert caller.local is not None
        assert flow["client"] == f"127.0.0.1:{caller.local[1]}", "the client's address travels on"
        assert flow["ingress"] == int(world.ingress.internal.rpartition(":")[2])
        (other,) = (relay for relay in world.relays.values() if relay is not hop)
        assert await other.admin.flows() == []


async def test_the_clusters_relay_dies_and_the_call_goes_on_by_the_other(world: Tiers) -> None:
    async with calling(world.url) as caller:
        await caller.until_talking()
        lost = await world.hop()
        await world.relays[lost].daemon.kill()
        await more_audio(caller, 100, 15.0)

        async def hops() -> set[str]:
            (flow,) = await world.ingress.admin.flows()
            return {claim["next_hop"] for claim in flow["claims"]}

        (left,) = world.relays.keys() - {lost}
        await until(hops, lambda hops: left in hops, "the other relay has the path")
        stats = await world.transceiver_admin.stats()
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1


async def test_the_ingress_is_restarted_and_an_announce_brings_the_call_back(world: Tiers) -> None:
    async with calling(world.url, CallConfig(check_interval_seconds=None)) as caller:
        await caller.until_talking()
        await world.ingress.daemon.kill()
        await world.ingress.daemon.start()
        await more_audio(caller, 50, 5.0)
        stats = await world.ingress.admin.stats()
        assert stats.count("routed_by_ufrag") == 0
        assert stats.count("claims_learned") == 1
        await world.hop()


async def test_a_cluster_that_nobody_knows_is_told_of_and_known_after_a_reload(world: Tiers, tmp_path: Path) -> None:
    table = tmp_path / "clusters.toml"
    known = table.read_text()
    table.write_text(known.replace(f"{CLUSTER} = ", "8 = "))
    await reload(world.ingress)

    async def unknown() -> int:
        return (await world.ingress.admin.read("/v1/stats"))["drops"]["cluster_unknown"]  # type: ignore[no-any-return]

    async with calling(world.url) as caller:
        await until(unknown, lambda count: count > 0, "a counted drop")
        assert caller.call.timings.first_echo_ms is None
        table.write_text(known)
        await reload(world.ingress)
        await caller.until_talking()


async def reload(tier: Tier) -> None:
    """By SIGHUP, as an operator does; returns when it is in effect."""
    assert tier.daemon.pid is not None
    before = tier.daemon.log.read_text().count("reloaded:")
    os.kill(tier.daemon.pid, signal.SIGHUP)

    async def reloads() -> int:
        return tier.daemon.log.read_text().count("reloaded:")

    await until(reloads, lambda count: count > before, "reloaded")
