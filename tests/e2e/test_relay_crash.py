"""The relay is killed in mid-call and started again: it knows nothing, and the calls go on."""

from __future__ import annotations

from rtcrelay.client.caller import calling
from rtcrelay.client.core import CallConfig
from rtcrelay.client.demo.site import Site

from .aiortc_caller import aiortc_call


async def test_a_client_that_never_checks_again_is_brought_back_by_announces(site: Site) -> None:
    node = site.transceivers[0]
    async with calling(node.url, CallConfig(check_interval_seconds=None)) as caller:
        await caller.until_talking()
        checks = (await node.admin.stats()).count("checks")
        assert await site.relay.daemon.kill() == -9
        await site.relay.daemon.start()
        before = caller.call.counts(0.0).audio_received
        await caller.until(lambda: caller.call.counts(0.0).audio_received >= before + 50, "audio is back", 20.0)
        relay = await site.relay.admin.stats()
        assert relay.count("announces") >= 1
        assert relay.count("claims_learned") == 1
        assert relay.count("routed_by_ufrag") == 0
        stats = await node.admin.stats()
        assert stats.count("checks") == checks
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1


async def test_a_stock_aiortc_call_goes_on_too(site: Site) -> None:
    node = site.transceivers[1]
    async with aiortc_call(node.url) as call:
        await call.until_frames(50)
        assert await site.relay.daemon.kill() == -9
        await site.relay.daemon.start()
        before = call.frames
        await call.until_frames(before + 100)
        call.channel.send("still there")
        await call.until_message("still there")
        stats = await node.admin.stats()
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1


async def test_a_call_can_begin_while_the_relay_is_down(site: Site) -> None:
    node = site.transceivers[0]
    await site.relay.daemon.kill()
    async with calling(node.url) as caller:
        await site.relay.daemon.start()
        await caller.until_talking()
