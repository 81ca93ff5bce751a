"""What the client makes of a signaling server's answers, the good and the bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from rtcrelay.client.whip import ANSWER_LIMIT_BYTES, Answer, delete_session, post_offer, restart_ice
from rtcrelay.errors import BackendError, ExitStatus, PeerError
from rtcrelay.rtc.offer_answer import IceCredentials
from rtcrelay.rtc.trickle import read_fragment


@asynccontextmanager
async def server(handler: object) -> AsyncIterator[str]:
    """An HTTP server on loopback with one handler for everything; yields the WHIP address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]  # aiohttp's handler type is a union
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/whip"
    finally:
        await runner.cleanup()


async def post(handler: object, *, token: str | None = None, timeout_seconds: float = 5.0) -> Answer:
    async with server(handler) as url, aiohttp.ClientSession() as http:
        return await post_offer(http, url, "v=0 offer", token=token, timeout_seconds=timeout_seconds)


async def test_a_201_gives_answer_session_and_node() -> None:
    seen: list[tuple[str, str | None, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.content_type, request.headers.get("Authorization"), await request.text()))
        headers = {"Location": "/whip/abc.def", "X-Rtcrelay-Node": "a"}
        return web.Response(status=201, text="v=0 answer", headers=headers)

    answer = await post(handler, token="secret")
    assert answer.sdp == "v=0 answer"
    assert answer.node == "a"
    assert answer.session_url is not None
    assert answer.session_url.endswith("/whip/abc.def")
    assert seen == [("application/sdp", "Bearer secret", "v=0 offer")]


async def test_without_location_there_is_no_session_to_end() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=201, text="v=0")

    assert await post(handler) == Answer("v=0", None, None)


@pytest.mark.parametrize(("status", "hint"), [(401, "token"), (404, "/whip"), (503, "later"), (500, None), (200, None)])
async def test_any_other_status_is_the_servers_fault_and_says_which(status: int, hint: str | None) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status)

    with pytest.raises(PeerError, match=f"answered {status} .* expected 201") as caught:
        await post(handler)
    assert (caught.value.hint is None) == (hint is None)
    assert hint is None or hint in str(caught.value.hint)


async def test_an_endless_answer_is_refused_without_being_read_to_its_end() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=201, body=b"a" * (ANSWER_LIMIT_BYTES + 1))

    with pytest.raises(PeerError, match=f"more than {ANSWER_LIMIT_BYTES} bytes"):
        await post(handler)


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(BackendError, match=r"did not answer within 0\.2 seconds") as caught:
        await post(handler, timeout_seconds=0.2)
    assert caught.value.status == ExitStatus.UNAVAILABLE


async def test_no_server_at_all_is_unavailable() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(BackendError, match=r"cannot reach http://127\.0\.0\.1:1/whip") as caught:
            await post_offer(http, "http://127.0.0.1:1/whip", "v=0")
    assert caught.value.status == ExitStatus.UNAVAILABLE


async def test_delete_returns_the_status_and_carries_the_token() -> None:
    seen: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.headers.get("Authorization")))
        return web.Response(status=200)

    async with server(handler) as url, aiohttp.ClientSession() as http:
        assert await delete_session(http, url + "/abc", token="secret") == 200
    assert seen == [("DELETE", "Bearer secret")]


ICE = IceCredentials("anew", "aNewPasswordOfTheClient0")
FRAGMENT = "a=ice-ufrag:server\r\na=ice-pwd:aNewPasswordOfTheServer0\r\n"


async def test_an_ice_restart_offers_a_fragment_and_takes_the_servers() -> None:
    seen: list[tuple[str, str, str | None, IceCredentials | None]] = []

    async def handler(request: web.Request) -> web.Response:
        ice = read_fragment(await request.text()).ice
        seen.append((request.method, request.content_type, request.headers.get("If-Match"), ice))
        return web.Response(text=FRAGMENT)

    async with server(handler) as url, aiohttp.ClientSession() as http:
        assert await restart_ice(http, url, ICE) == IceCredentials("server", "aNewPasswordOfTheServer0")
    assert seen == [("PATCH", "application/trickle-ice-sdpfrag", "*", ICE)]


@pytest.mark.parametrize(
    ("status", "text", "complaint"),
    [
        (412, FRAGMENT, "412 to the ICE restart"),
        (204, "", "204 to the ICE restart"),
        (200, "hello", "none of a fragment's"),
        (200, "a=ice-ufrag:server\r\n", "without an ice-pwd"),
    ],
)
async def test_a_server_that_does_not_restart_ice_is_said_so(status: int, text: str, complaint: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    async with server(handler) as url, aiohttp.ClientSession() as http:
        with pytest.raises(PeerError, match=complaint):
            await restart_ice(http, url, ICE)
