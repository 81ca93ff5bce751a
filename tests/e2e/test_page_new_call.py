"""When a session dies the page makes a new call by itself, says so and counts it; who hung up is left alone."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp

from rtcrelay.client.demo.site import Site

from .browser import BrowserCall, browser_call, open_page, requires_chromium
from .waiting import until

pytestmark = requires_chromium


async def talking(call: BrowserCall) -> str:
    """Waits until voice and messages come back, and returns the session."""
    await call.until_state("connected")
    await call.echo("hello")
    session = await call.session()
    assert session is not None
    return session


async def test_a_transceiver_that_is_restarted_in_mid_call_is_called_again(site: Site) -> None:
    node = site.transceivers[0]
    async with browser_call(node.page) as call:
        first = await talking(call)
        await node.daemon.stop()
        await call.until_state("waiting", 20.0)
        assert re.fullmatch(r"Call \d+ by itself in \d+ s", await call.page.inner_text("#countdown"))
        assert "The server ended the call: it stops. Calling again by itself." in await call.said()
        await node.daemon.start()
        back = asyncio.get_running_loop().time()
        await call.until_state("connected", 20.0)
        assert asyncio.get_running_loop().time() - back < 20.0
        assert await talking(call) != first
        assert await call.redials() >= 1
        assert (await node.admin.stats()).count("sessions_created") == 1
        before = await call.stats()
        await call.until_stats("packetsReceived", before["packetsReceived"] + 50)


async def test_a_transceiver_that_crashes_in_mid_call_is_called_again(site: Site) -> None:
    node = site.transceivers[0]
    async with browser_call(node.page) as call:
        first = await talking(call)
        await node.daemon.kill()
        await node.daemon.start()
        await call.until_state("interrupted", 20.0)
        await until(call.redials, lambda seen: seen == 1, "one new call")
        assert await talking(call) != first


async def test_a_relay_that_stays_away_for_long_is_waited_for(site: Site) -> None:
    node = site.transceivers[0]
    async with browser_call(node.page) as call:
        await talking(call)
        await site.relay.daemon.kill()
        await until(call.redials, lambda seen: seen >= 1, "a new call")
        await site.relay.daemon.start()
        await call.until_state("connected")
        await call.echo("back")


async def test_a_person_who_hung_up_is_not_called_again(site: Site) -> None:
    node = site.transceivers[0]
    async with browser_call(node.page) as call:
        await talking(call)
        await call.press("Hang up")
        await call.until_state("ended")
        await until(node.admin.sessions, lambda sessions: sessions == [], "no session")
        await node.daemon.stop()
        await node.daemon.start()
        await asyncio.sleep(3.0)
        assert await call.state() == "ended"
        assert (await node.admin.stats()).count("sessions_created") == 0


async def test_hanging_up_while_it_waits_for_the_server_ends_the_waiting(site: Site) -> None:
    node = site.transceivers[0]
    async with browser_call(node.page) as call:
        await talking(call)
        await node.daemon.stop()
        await call.until_state("waiting", 20.0)
        await call.press("Hang up")
        assert await call.state() == "ended"
        assert await call.page.inner_text("#countdown") == ""
        await node.daemon.start()
        await asyncio.sleep(3.0)
        assert (await node.admin.stats()).count("sessions_created") == 0
        await call.press("Call")
        await call.until_state("connected")
        assert await call.redials() == 0


async def test_a_session_that_was_deleted_at_the_server_is_over(site: Site) -> None:
    async with browser_call(site.transceivers[0].page) as call:
        session = await talking(call)
        async with aiohttp.ClientSession() as http, http.delete(session) as response:
            assert response.status == 200
        await call.until_state("ended", 20.0)
        assert await call.words() == "The call has ended. The other side hung up."


async def test_a_full_server_is_called_again_after_the_time_it_names(site: Site) -> None:
    node = site.transceivers[0]
    async with open_page(node.page) as call:
        problem = json.dumps({"status": 503, "detail": "this transceiver has all its sessions"})
        await call.page.route(
            "**/whip", lambda route: route.fulfill(status=503, headers={"Retry-After": "2"}, body=problem), times=1
        )
        began = asyncio.get_running_loop().time()
        await call.press("Call")
        await call.until_state("waiting")
        assert (await call.words()).startswith("The server takes no calls at the moment")
        await call.until_state("connected")
        assert asyncio.get_running_loop().time() - began >= 2.0
        assert await call.redials() == 1
        assert (await node.admin.stats()).count("sessions_created") == 1


async def test_a_new_call_asks_for_no_microphone_again(site: Site) -> None:
    node = site.transceivers[0]
    async with open_page(node.page) as call:
        await call.page.evaluate(
            "(() => { const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices); window.asked = 0;"
            " navigator.mediaDevices.getUserMedia = (wish) => { window.asked++; return open(wish); }; })()"
        )
        await call.press("Call")
        await talking(call)
        await node.daemon.stop()
        await node.daemon.start()
        await until(call.redials, lambda seen: seen >= 1, "a new call")
        await talking(call)
        assert await call.page.evaluate("window.asked") == 1
