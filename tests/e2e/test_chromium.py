"""A browser calls the page of a transceiver: voice and messages go through the relay and come back."""

from __future__ import annotations

from rtcrelay.client.demo.site import Site

from .browser import browser_call, requires_chromium
from .waiting import until

pytestmark = requires_chromium


async def test_a_browser_hears_itself_through_the_relay(site: Site) -> None:
    node, other = site.transceivers
    async with browser_call(node.page) as call:
        await call.until_state("connected")
        stats = await call.until_stats("packetsReceived", 150)
        assert stats["packetsLost"] == 0
        assert stats["remote"] == f"{site.relay.vip[0]}:{site.relay.vip[1]}"
        # Each look says what came since the one before, and the sound is played later than it comes.
        await call.until_stats("roundTripMs", 0.0)
        await call.until_stats("totalAudioEnergy", 1e-9)
        await call.echo("a message of some length " * 40)
        [session] = await node.admin.sessions()
        assert session["dtls"] == "connected"
        assert session["rtp_packets_in"] >= 150
        assert (await other.admin.stats()).count("sessions_created") == 0
        assert await call.page.inner_text("#answered-by") == "a"


async def test_hanging_up_on_the_page_ends_the_session(site: Site) -> None:
    node = site.transceivers[0]
    async with browser_call(node.page) as call:
        await call.until_state("connected")
        await call.press("Hang up")
        await call.until_state("ended")
        await until(node.admin.sessions, lambda sessions: sessions == [], "no session after the page hung up")
        await call.press("Call")
        await call.until_state("connected")


async def test_a_browser_call_survives_a_relay_that_is_killed_and_started_again(site: Site) -> None:
    node = site.transceivers[1]
    async with browser_call(node.page) as call:
        await call.until_state("connected")
        await call.until_stats("packetsReceived", 50)
        assert await site.relay.daemon.kill() == -9
        await site.relay.daemon.start()
        before = await call.stats()
        await call.until_stats("packetsReceived", before["packetsReceived"] + 100)
        await call.until_stats("totalAudioEnergy", before["totalAudioEnergy"] + 1e-9)
        assert await call.state() == "connected"
        await call.echo("still there")
        stats = await node.admin.stats()
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1
