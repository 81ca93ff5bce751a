"""A global ingress, two relays of a cluster, a transceiver: real processes, and any of the relays may die."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtcrelay.client.caller import Caller, calling
from rtcrelay.client.core import CallConfig
from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports, stop_all
from rtcrelay.keys import generate, write_key_file

from .waiting import until

CLUSTER = 7


@dataclass
class Tier:
    """One relay."""

    daemon: Daemon
    admin: Admin
    internal: str


@dataclass
class World:
    """All of them."""

    ingress: Tier
    relays: dict[str, Tier]
    """The cluster's, by internal address."""
    url: str
    transceiver: Admin

    async def hop(self) -> str:
        """The next hop of the ingress's only flow: a relay of the cluster."""
        (flow,) = await self.ingress.admin.flows()
        (claim,) = flow["claims"]
        assert claim["cluster"] == CLUSTER
        assert claim["next_hop"] in self.relays
        return str(claim["next_hop"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    vip, inner, first, second, one, other, media, http = free_ports(8)
    write_key_file(tmp_path / "keys.toml", generate())
    keys = ("--key-file", str(tmp_path / "keys.toml"))
    table = tmp_path / "clusters.toml"
    table.write_text(f'[clusters]\n{CLUSTER} = ["127.0.7.1:{one}", "127.0.7.2:{other}"]\n')

    def relay(name: str, public: int, internal: str, *more: str) -> Tier:
        socket = tmp_path / f"{name}.sock"
        arguments = ["relay", "-l", f"127.0.0.1:{public}", "--internal", internal, *keys, "--admin", str(socket)]
        return Tier(Daemon(name, [*arguments, "--config", str(table), *more], tmp_path), Admin(socket), internal)

    ingress = relay("ingress", vip, f"127.0.1.1:{inner}", "--ingress-only")
    of_cluster = ("--cluster", str(CLUSTER), "--transceivers", f"127.0.9.1:{media}", "--peers", "127.0.1.0/24")
    pair = [
        relay("relay-1", first, f"127.0.7.1:{one}", *of_cluster),
        relay("relay-2", second, f"127.0.7.2:{other}", *of_cluster),
    ]
    transceiver = ["transceiver", "--media", f"127.0.9.1:{media}", "--http", f"127.0.0.1:{http}", *keys]
    transceiver += ["--ingress", f"127.0.0.1:{vip}", "--cluster", str(CLUSTER), "--drain-timeout", "0s"]
    transceiver += ["--admin", str(tmp_path / "transceiver.sock")]
    daemons = [tier.daemon for tier in (ingress, *pair)] + [Daemon("transceiver", transceiver, tmp_path)]
    try:
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        relays = {tier.internal: tier for tier in pair}
        yield World(ingress, relays, f"http://127.0.0.1:{http}/whip", Admin(tmp_path / "transceiver.sock"))
    finally:
        await stop_all(daemons)


async def more_audio(caller: Caller, packets: int, seconds: float) -> None:
    before = caller.call.counts(0.0).audio_received
    await caller.until(lambda: caller.call.counts(0.0).audio_received >= before + packets, "audio", seconds)


async def test_a_call_goes_by_ingress_and_cluster_to_its_transceiver_both_ways(world: World) -> None:
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


async def test_the_clusters_relay_dies_and_the_call_goes_on_by_the_other(world: World) -> None:
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
        stats = await world.transceiver.stats()
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1


async def test_the_ingress_is_restarted_and_an_announce_brings_the_call_back(world: World) -> None:
    async with calling(world.url, CallConfig(check_interval_seconds=None)) as caller:
        await caller.until_talking()
        await world.ingress.daemon.kill()
        await world.ingress.daemon.start()
        await more_audio(caller, 50, 5.0)
        stats = await world.ingress.admin.stats()
        assert stats.count("routed_by_ufrag") == 0
        assert stats.count("claims_learned") == 1
        await world.hop()


async def test_a_cluster_that_nobody_knows_is_told_of_and_known_after_a_reload(world: World, tmp_path: Path) -> None:
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
