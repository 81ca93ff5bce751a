"""A transceiver that drains keeps the calls it has, sends new ones away, and is called again once it is back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp

from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.site import Site, SiteOptions

from .browser import browser_call, requires_chromium
from .waiting import until

pytestmark = requires_chromium


async def drain(admin: Admin, method: str) -> None:
    """POST begins to drain, DELETE takes it back."""
    connector = aiohttp.UnixConnector(str(admin.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.request(method, "http://admin/v1/drain") as response,
    ):
        assert response.status == 200, await response.text()


async def test_a_draining_transceiver_keeps_its_call_and_a_new_one_waits_until_it_is_taken(site: Site) -> None:
    node = site.transceivers[0]
    async with browser_call(node.page) as first:
        await first.until_state("connected")
        await first.echo("hello")
        session = await first.session()
        await drain(node.admin, "POST")
        async with browser_call(node.page) as second:
            await second.until_state("waiting")
            assert any(words.startswith("The server takes no calls at the moment") for words in await second.said())
            before = await first.stats()
            await first.until_stats("packetsReceived", before["packetsReceived"] + 50)
            assert await first.state() == "connected"
            await drain(node.admin, "DELETE")
            await second.until_state("connected")
            assert await second.redials() >= 1
        assert await first.session() == session
        assert await first.redials() == 0


async def test_after_sigterm_the_call_goes_on_while_it_drains_and_then_moves_to_the_next_process(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, SiteOptions(extra_transceiver=("--drain-timeout", "3s")))
    try:
        await site.start()
        node = site.transceivers[0]
        async with browser_call(node.page) as call:
            await call.until_state("connected")
            await call.echo("hello")
            session = await call.session()
            assert node.daemon.pid is not None
            os.kill(node.daemon.pid, signal.SIGTERM)
            before = await call.stats()
            await call.until_stats("packetsReceived", before["packetsReceived"] + 75)
            assert await call.state() == "connected"
            assert await node.daemon.wait() == 0
            await call.until_state("waiting", 20.0)
            assert "The server ended the call: it stops. Calling again by itself." in await call.said()
            await node.daemon.start()
            back = asyncio.get_running_loop().time()
            await until(call.session, lambda seen: seen not in (None, session), "another session", 20.0)
            await call.until_state("connected", 20.0)
            assert asyncio.get_running_loop().time() - back < 20.0
            await call.echo("hello again")
    finally:
        await site.stop()
