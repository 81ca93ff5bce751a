"""Requests about others' sessions: what reaches the owner, what comes back, and what never leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rtcrelay._dataplane import Route, mint_ufrag
from rtcrelay.http.access import Access
from rtcrelay.http.courier import Courier
from rtcrelay.http.forward import Forwarder
from rtcrelay.rtc.sdp import MAX_BYTES
from rtcrelay.transceiver.whip import Front, make_app

from .network import Network

Http = TestClient[Any, Any]
TOKEN = "a-token-of-good-length"
SECRET = "s" * 22
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATCH = {**BEARER, "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": '"tag"'}


class PlayedOwner:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status, self.body, self.headers = 204, b"", {"ETag": '"new"', "Set-Cookie": "a=b", "X-Other": "x"}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.server = TestServer(app)

    async def _handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, dict(request.headers), await request.read()))
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def owner() -> AsyncIterator[PlayedOwner]:
    owner = PlayedOwner()
    await owner.server.start_server()
    yield owner
    await owner.server.close()


@pytest.fixture
async def http(network: Network) -> AsyncIterator[Http]:
    async with Courier() as courier:
        forwarder = Forwarder(network.transceiver.owners, courier)
        client: Http = TestClient(TestServer(make_app(Front(network.transceiver, Access(TOKEN)), forwarder)))
        await client.start_server()
        yield client
        await client.close()


def path_to(network: Network, owner: PlayedOwner, secret: str = SECRET) -> str:
    route = Route("session", 7, ip="127.0.0.1", port=owner.server.port or 1)
    return f"/whip/{mint_ufrag(network.transceiver.keys.ring, route)}.{secret}"


async def test_the_owner_gets_what_it_needs_and_no_more(network: Network, http: Http, owner: PlayedOwner) -> None:
    path = path_to(network, owner)
    headers = {**PATCH, "Cookie": "c=d", "X-Forwarded-For": "192.0.2.1", "Origin": "https://app.example"}
    response = await http.patch(path, data="a=ice-ufrag:abcd\r\n", headers=headers)
    assert response.status == 204
    assert response.headers["ETag"] == '"new"'
    assert not {"Set-Cookie", "X-Other"} & set(response.headers)
    ((method, asked, got, body),) = owner.asked
    assert (method, asked, body) == ("PATCH", path, b"a=ice-ufrag:abcd\r\n")
    assert (got["Authorization"], got["If-Match"], got["X-Rtcrelay-Hop"]) == (f"Bearer {TOKEN}", '"tag"', "1")
    assert not {"Cookie", "X-Forwarded-For", "Origin", "User-Agent"} & set(got)


async def test_the_owners_problem_is_the_clients(network: Network, http: Http, owner: PlayedOwner) -> None:
    owner.status, owner.body, owner.headers = 412, b"{}", {"Content-Type": "application/problem+json"}
    response = await http.delete(path_to(network, owner), headers=BEARER)
    assert (response.status, response.content_type, await response.read()) == (412, "application/problem+json", b"{}")


async def test_without_the_token_nothing_is_passed_on(network: Network, http: Http, owner: PlayedOwner) -> None:
    assert (await http.delete(path_to(network, owner))).status == 401
    assert owner.asked == []


@pytest.mark.parametrize("secret", ["", "a/../../v1/drain", "a%2f..%2fv1", "a?x=y", "a" * 65, "\u00e9", "a%00"])
async def test_no_other_path_of_the_owner_can_be_reached(
    network: Network, http: Http, owner: PlayedOwner, secret: str
) -> None:
    response = await http.delete(path_to(network, owner, secret), headers=BEARER)
    assert response.status in (404, 204)
    assert all(path.startswith("/whip/") and path.count("/") == 2 and "?" not in path for _, path, _, _ in owner.asked)


async def test_a_redirect_is_not_followed(network: Network, http: Http, owner: PlayedOwner) -> None:
    owner.status, owner.headers = 307, {"Location": "http://127.0.0.1:1/"}
    response = await http.delete(path_to(network, owner), headers=BEARER, allow_redirects=False)
    assert (response.status, "Location" in response.headers) == (307, False)


async def test_an_owner_that_answers_too_much_is_502(network: Network, http: Http, owner: PlayedOwner) -> None:
    owner.status, owner.body = 200, bytes(MAX_BYTES + 1)
    assert (await http.delete(path_to(network, owner), headers=BEARER)).status == 502


async def test_an_owner_that_is_gone_is_404(network: Network, http: Http, owner: PlayedOwner) -> None:
    path = path_to(network, owner)
    await owner.server.close()
    response = await http.delete(path, headers=BEARER)
    assert (response.status, response.content_type) == (404, "application/problem+json")


async def test_the_second_hop_is_never_made(network: Network, http: Http, owner: PlayedOwner) -> None:
    response = await http.delete(path_to(network, owner), headers={**BEARER, "X-Rtcrelay-Hop": "anything"})
    assert response.status == 404
    assert owner.asked == []


async def test_a_session_url_of_our_own_leads_nowhere_else(network: Network, http: Http) -> None:
    ring = network.transceiver.keys.ring
    own = mint_ufrag(ring, Route("session", 7, ip="127.0.0.1", port=8080, nonce=5))
    assert (await http.delete(f"/whip/{own}.{SECRET}", headers=BEARER)).status == 404


async def test_without_a_forwarder_a_foreign_session_is_unknown(network: Network, owner: PlayedOwner) -> None:
    http: Http = TestClient(TestServer(make_app(Front(network.transceiver, Access(TOKEN)))))
    await http.start_server()
    assert (await http.delete(path_to(network, owner), headers=BEARER)).status == 404
    assert owner.asked == []
    await http.close()
