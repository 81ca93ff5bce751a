"""The front, with played transceivers behind it: who is asked, with what, and what the caller gets."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rtcrelay._dataplane import Route, mint_ufrag
from rtcrelay.config.sites import ClusterSite, Ingress, Place, Sites
from rtcrelay.http.access import Access
from rtcrelay.http.courier import Courier
from rtcrelay.http.forward import Forwarder
from rtcrelay.http.owners import OwnerRules, Owners
from rtcrelay.keys import KeyFile, load_key_file
from rtcrelay.signaling.counters import Count, Counters
from rtcrelay.signaling.directory import Directory
from rtcrelay.signaling.front import Parts, make_app
from rtcrelay.signaling.locate import Locator

Http = TestClient[Any, Any]
TOKEN = "a-token-of-good-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OFFER = {**BEARER, "Content-Type": "application/sdp"}
PARIS, SYDNEY = "48.86,2.35", "-33.87,151.21"
INGRESSES = (
    Ingress("fra", ("203.0.113.1", 3478), Place(50.11, 8.68)),
    Ingress("iad", ("203.0.113.2", 3478), Place(39.04, -77.49)),
    Ingress("syd", ("203.0.113.3", 3478), Place(-33.87, 151.21)),
)


class Played:
    """A transceiver that answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status, self.headers = 201, {"Location": "/whip/session", "ETag": '"tag"', "Set-Cookie": "a=b"}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.server = TestServer(app)

    async def _handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, dict(request.headers), await request.read()))
        self.query = dict(request.query)
        return web.Response(status=self.status, text="answer", headers=self.headers)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port or 1


class World:
    """Three clusters with two transceivers each, and a front before them."""

    def __init__(self, keys: KeyFile) -> None:
        self.played = {cluster: [Played(), Played()] for cluster in (1, 2, 3)}
        self.now = 1000.0
        self.counters = Counters()
        self.keys = keys

    async def start(self, courier: Courier) -> None:
        for played in self.all():
            await played.server.start_server()
        places = {1: INGRESSES[0].place, 2: INGRESSES[1].place, 3: INGRESSES[2].place}
        names = {1: "eu", 2: "us", 3: "ap"}
        clusters = tuple(
            ClusterSite(cluster, names[cluster], places[cluster], "", tuple(each.address for each in played))
            for cluster, played in self.played.items()
        )
        self.directory = Directory(Sites(INGRESSES, clusters))
        owners = Owners(OwnerRules(self.keys.ring, ("127.0.0.0/8",)), None)
        trusted = [ipaddress.ip_network("127.0.0.0/8")]
        parts = Parts(
            Access(TOKEN),
            Locator(trusted, query=True),
            self.directory,
            courier,
            Forwarder(owners, courier),
            self.counters,
            lambda: 2,
            lambda: self.now,
        )
        self.http: Http = TestClient(TestServer(make_app(parts)))
        await self.http.start_server()

    def all(self) -> list[Played]:
        return [played for cluster in self.played.values() for played in cluster]

    def asked(self, cluster: int) -> int:
        return sum(len(played.asked) for played in self.played[cluster])

    async def call(self, at: str = PARIS, path: str = "/whip") -> int:
        response = await self.http.post(path, params={"at": at}, data="offer", headers=OFFER)
        self.last = response
        return response.status


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path = tmp_path / "keys.toml"
    path.write_text(
        '[[keys]]\nid = 0\nsecret = "00112233445566778899aabbccddeef0"\nstate = "active"\n'
        "created = 2026-11-22T10:00:00Z\n"
    )
    path.chmod(0o600)
    world = World(load_key_file(path))
    async with Courier() as courier:
        await world.start(courier)
        yield world
        await world.http.close()
    for played in world.all():
        await played.server.close()


@pytest.mark.parametrize("path", ["/whip", "/v1/realtime/calls"])
async def test_an_offer_goes_to_the_nearest_cluster_with_the_nearest_ingresses(world: World, path: str) -> None:
    assert await world.call(PARIS, path) == 201
    assert (world.last.headers["Location"], world.last.headers["ETag"]) == ("/whip/session", '"tag"')
    assert "Set-Cookie" not in world.last.headers
    assert await world.last.text() == "answer"
    ((method, asked, got, body),) = [each for played in world.played[1] for each in played.asked]
    assert (method, asked, body) == ("POST", path, b"offer")
    assert got["X-Rtcrelay-Ingress"] == "203.0.113.1:3478, 203.0.113.2:3478"
    assert got["Authorization"] == f"Bearer {TOKEN}"
    assert world.counters.placed == {("eu", "query"): 1}
    assert await world.call(SYDNEY) == 201
    assert world.asked(3) == 1


async def test_what_the_query_asks_of_the_service_goes_on(world: World) -> None:
    response = await world.http.post("/v1/realtime/calls?model=a%26b", data="offer", headers=OFFER)
    assert response.status == 201
    (played,) = [played for played in world.all() if played.asked]
    assert played.query == {"model": "a&b"}


async def test_what_a_proxy_says_of_the_client_decides(world: World) -> None:
    place = {"CF-Connecting-IP": "198.51.100.7", "CF-IPLatitude": "-33.87", "CF-IPLongitude": "151.21"}
    assert (await world.http.post("/whip", data="offer", headers={**OFFER, **place})).status == 201
    assert world.asked(3) == 1


async def test_without_the_token_nobody_is_asked(world: World) -> None:
    response = await world.http.post("/whip", data="offer", headers={"Content-Type": "application/sdp"})
    assert response.status == 401
    assert sum(map(world.asked, (1, 2, 3))) == 0


async def test_a_full_transceiver_is_followed_by_the_other_one_of_its_cluster(world: World) -> None:
    full, free = world.played[1]
    full.status, full.headers = 503, {"Retry-After": "5"}
    for _ in range(8):
        assert await world.call() == 201
    assert len(full.asked) <= 1, "after it refused, it is left alone"
    assert len(free.asked) == 8
    world.now += 5.1
    full.status = 201
    for _ in range(60):  # 60 calls go all to the other one with a probability below 2^-20
        await world.call()
    assert len(full.asked) > 1, "after what it asked for, it is tried again"


async def test_a_full_cluster_is_followed_by_the_next_nearest(world: World) -> None:
    for played in world.played[1]:
        played.status, played.headers = 503, {"Retry-After": "99999999999999999"}
    assert await world.call() == 201
    assert (world.asked(1), world.asked(2), world.asked(3)) == (2, 1, 0)
    assert await world.call() == 201
    assert (world.asked(1), world.asked(2)) == (2, 2), "the full one is not even asked"
    world.now += 31
    await world.call()
    assert world.asked(1) == 4, "for half a minute at most"


async def test_a_dead_cluster_is_followed_by_the_next_nearest(world: World) -> None:
    for played in world.played[1]:
        await played.server.close()
    assert await world.call() == 201
    assert (world.asked(1), world.asked(2)) == (0, 1)
    assert world.counters.counts[Count.UNREACHABLE] == 2


async def test_a_cordoned_cluster_gets_no_calls(world: World) -> None:
    sites = world.directory.sites
    clusters = (replace(sites.clusters[0], cordoned=True), *sites.clusters[1:])
    world.directory.reload(replace(sites, clusters=clusters))
    assert await world.call() == 201
    assert (world.asked(1), world.asked(2)) == (0, 1)


async def test_where_nobody_takes_it_the_caller_is_told_when_to_come_again(world: World) -> None:
    for played in world.all():
        played.status, played.headers = 503, {}
    assert await world.call() == 503
    assert world.last.headers["Retry-After"] == "5"
    assert world.last.content_type == "application/problem+json"
    assert sum(map(world.asked, (1, 2, 3))) == 6
    assert world.counters.counts[Count.UNPLACED] == 1


@pytest.mark.parametrize("status", [400, 401, 413, 415, 422])
async def test_what_is_wrong_with_the_offer_is_said_by_the_first(world: World, status: int) -> None:
    for played in world.all():
        played.status, played.headers = status, {}
    assert await world.call() == status
    assert sum(map(world.asked, (1, 2, 3))) == 1


async def test_an_offer_that_is_too_large_goes_nowhere(world: World) -> None:
    response = await world.http.post("/whip", data=bytes(65_537), headers=OFFER)
    assert response.status == 413
    assert sum(map(world.asked, (1, 2, 3))) == 0


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/whip/{}"), ("DELETE", "/whip/{}"), ("POST", "/v1/realtime/calls/{}/hangup")]
)
async def test_what_follows_goes_to_the_owner_of_whatever_cluster(world: World, method: str, path: str) -> None:
    owner = world.played[3][1]
    owner.status, owner.headers = 200, {}
    token = mint_ufrag(world.keys.ring, Route("session", 3, ip="127.0.0.1", port=owner.address[1]))
    path = path.format(f"{token}.{'s' * 22}")
    response = await world.http.request(method, path, headers=BEARER)
    assert response.status == 200
    ((asked_method, asked_path, headers, _),) = owner.asked
    assert (asked_method, asked_path, headers["X-Rtcrelay-Hop"]) == (method, path, "1")


@pytest.mark.parametrize("resource", ["nonsense", "a.b", "..%2f..%2fv1", "a" * 300])
async def test_a_session_that_nobody_minted_is_404(world: World, resource: str) -> None:
    response = await world.http.delete(f"/whip/{resource}", headers=BEARER)
    assert response.status == 404
    assert sum(map(world.asked, (1, 2, 3))) == 0


async def test_preflights_need_no_token(world: World) -> None:
    assert (await world.http.options("/whip")).status == 204
    assert (await world.http.options("/whip/a.b")).headers["Allow"] == "POST, PATCH, DELETE, OPTIONS"
