"""Stock aiortc clients call different transceivers through one public address of one relay."""

from __future__ import annotations

import asyncio

from rtcrelay._dataplane import KeyRing, open_ufrag
from rtcrelay.client.demo.site import Site, Transceiver
from rtcrelay.keys import DEMO_SECRET

from .aiortc_caller import AiortcCall, aiortc_call
from .waiting import until

AUDIBLE = 1000
"""Of 32768: speech, not the noise of a codec."""


async def counters(node: Transceiver) -> dict[str, int]:
    """What a transceiver has counted, the zeros left out."""
    return {name: count for name, count in (await node.admin.stats()).counters.items() if count}


def route(call: AiortcCall) -> tuple[str | None, int]:
    """The endpoint in the ufrag of the answer."""
    lines = call.peer.remoteDescription.sdp.splitlines()
    ufrag = next(line.partition(":")[2] for line in lines if line.startswith("a=ice-ufrag:"))
    opened = open_ufrag(KeyRing([(0, DEMO_SECRET, "active")]), ufrag)
    return opened.ip, opened.port


async def test_a_call_reaches_exactly_the_transceiver_that_its_ufrag_names(site: Site) -> None:
    for node, other in (site.transceivers, site.transceivers[::-1]):
        await until(other.admin.sessions, lambda sessions: sessions == [], "no session from the round before")
        before = await counters(other)
        async with aiortc_call(node.url) as call:
            await call.until_frames(50)
            assert call.loudest > AUDIBLE
            assert route(call) == node.media
            seen = await counters(node)
            assert seen["sessions_created"] == 1
            assert seen["rtp_in"] >= 50
            [session] = await node.admin.sessions()
            flow = await site.relay.admin.flow(session["client"])
            assert flow is not None
            assert [claim["next_hop"] for claim in flow["claims"]] == [f"127.0.0.1:{node.media[1]}"]
        assert await counters(other) == before


async def test_two_calls_at_once_share_the_address_and_nothing_else(site: Site) -> None:
    a, b = site.transceivers
    async with aiortc_call(a.url) as call_a, aiortc_call(b.url) as call_b:
        await asyncio.gather(call_a.until_frames(50), call_b.until_frames(50))
        call_a.channel.send("to a")
        call_b.channel.send("to b")
        await asyncio.gather(call_a.until_message("to a"), call_b.until_message("to b"))
        assert call_a.messages == ["to a"]
        assert call_b.messages == ["to b"]
        for node in (a, b):
            stats = await node.admin.stats()
            assert stats.count("sessions_created") == 1
            assert stats.count("messages_in") == 1
            assert stats.drops["unknown_path"] == stats.drops["not_authentic"] == 0
        drops = (await site.relay.admin.stats()).drops
        assert {name: count for name, count in drops.items() if count} == {}


async def test_the_selected_remote_candidate_is_the_relays_address(site: Site) -> None:
    async with aiortc_call(site.transceivers[0].url) as call:
        await call.until_frames(10)
        [transceiver] = call.peer.getTransceivers()
        pair = transceiver.sender.transport.transport.iceGatherer._connection._nominated[1]
        assert pair.remote_addr == site.relay.vip


async def test_hanging_up_ends_the_session_at_once(site: Site) -> None:
    node = site.transceivers[0]
    async with aiortc_call(node.url) as call:
        await call.until_frames(10)
    await until(node.admin.sessions, lambda sessions: sessions == [], "no session after close_notify")
