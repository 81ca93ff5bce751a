"""PATCH and DELETE land on a transceiver that does not own the session: passed on once, to its owner only."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp

from rtcrelay.client.caller import calling
from rtcrelay.client.demo.site import Site, SiteOptions

from .waiting import until

FRAGMENT = (
    "a=ice-ufrag:restarted\r\na=ice-pwd:restartedpassword0123456789\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
)
PATCH = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*"}


def elsewhere(site: Site, session_url: str | None) -> str:
    """The session's URL as the other transceiver serves it."""
    a, b = site.transceivers
    assert session_url is not None
    assert session_url.startswith(a.url)
    return session_url.replace(a.url, b.url)


async def test_any_transceiver_takes_requests_about_any_session(site: Site) -> None:
    a, b = site.transceivers
    async with calling(a.url) as caller, aiohttp.ClientSession() as http:
        await caller.until_talking()
        assert caller.answer is not None
        url = elsewhere(site, caller.answer.session_url)
        async with http.patch(url, data=FRAGMENT, headers=PATCH) as response:
            assert response.status == 200
            assert response.headers["X-Rtcrelay-Node"] == "a"
            assert response.headers["ETag"]
            assert response.content_type == "application/trickle-ice-sdpfrag"
            assert "a=ice-ufrag:" in await response.text()
        assert (await a.admin.stats()).count("ice_restarts") == 1
        async with http.patch(url, data="nonsense", headers=PATCH) as response:
            assert (response.status, response.content_type) == (400, "application/problem+json")
        wrong = url[:-1] + ("A" if url[-1] != "A" else "B")
        async with http.delete(wrong) as response:
            assert response.status == 404
        async with http.delete(url) as response:
            assert (response.status, response.headers["X-Rtcrelay-Node"]) == (200, "a")
        await until(a.admin.sessions, lambda sessions: sessions == [], "no session")
        async with http.delete(url) as response:
            assert (response.status, response.content_type) == (404, "application/problem+json")
        assert (await b.admin.stats()).count("requests_passed_on") == 5
        assert (await a.admin.stats()).count("requests_passed_on") == 0


async def test_a_request_that_was_passed_on_goes_no_further(site: Site) -> None:
    a, b = site.transceivers
    async with calling(a.url) as caller, aiohttp.ClientSession() as http:
        assert caller.answer is not None
        url = elsewhere(site, caller.answer.session_url)
        async with http.delete(url, headers={"X-Rtcrelay-Hop": "1"}) as response:
            assert response.status == 404
        assert (await b.admin.stats()).count("requests_passed_on") == 0
        assert len(await a.admin.sessions()) == 1


async def test_when_the_owner_is_gone_the_session_is_gone(site: Site) -> None:
    a, _ = site.transceivers
    async with calling(a.url) as caller, aiohttp.ClientSession() as http:
        assert caller.answer is not None
        url = elsewhere(site, caller.answer.session_url)
        await a.daemon.kill()
        async with http.patch(url, data=FRAGMENT, headers=PATCH) as response:
            assert (response.status, response.content_type) == (404, "application/problem+json")


async def test_nothing_is_passed_on_outside_the_peers_networks(tmp_path: Path) -> None:
    site = Site(tmp_path, SiteOptions(extra_transceiver=("--signaling-peers", "127.9.0.0/16")))
    try:
        await site.start()
        a, b = site.transceivers
        async with calling(a.url) as caller, aiohttp.ClientSession() as http:
            assert caller.answer is not None
            async with http.delete(elsewhere(site, caller.answer.session_url)) as response:
                assert response.status == 404
            assert len(await a.admin.sessions()) == 1
        assert "outside --signaling-peers" in b.daemon.log.read_text()
    finally:
        await site.stop()


async def test_an_owner_that_accepts_and_says_nothing_is_502_within_seconds(site: Site) -> None:
    """Its process hangs: nothing may wait for it for ever."""
    a, _ = site.transceivers

    async with calling(a.url) as caller, aiohttp.ClientSession() as http:
        assert caller.answer is not None
        url = elsewhere(site, caller.answer.session_url)
        port = int(a.url.split(":")[2].split("/")[0])
        await a.daemon.kill()
        with socket.create_server(("127.0.0.1", port)):  # the kernel accepts, and nobody reads
            began = asyncio.get_running_loop().time()
            async with http.delete(url) as response:
                assert response.status == 502
            assert asyncio.get_running_loop().time() - began < 8
