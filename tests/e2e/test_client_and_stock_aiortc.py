"""The synthetic client calls a stock aiortc server: whatever works here is not our own misunderstanding."""

from __future__ import annotations

from rtcrelay.client.caller import calling
from rtcrelay.client.core import CallState

from .aiortc_server import aiortc_server
from .waiting import until


async def test_a_full_ice_server_hears_the_recording_and_is_heard() -> None:
    async with aiortc_server() as server, calling(server.url) as caller:
        call = caller.call
        await caller.until(lambda: call.counts(0.0).audio_received >= 50, "aiortc's audio", 20.0)

        async def heard() -> tuple[int, int]:
            return server.frames, server.loudest

        await until(heard, lambda seen: seen[0] >= 50 and seen[1] > 1000, "50 frames of audible speech at aiortc")
        counts = call.counts(0.0)
        assert counts.srtp_refused == 0
        assert counts.audio_lost == 0
        assert counts.checks_answered >= 2
        assert call.dtls is not None
        assert call.state is CallState.TALKING


async def test_a_data_channel_opens_and_echoes() -> None:
    async with aiortc_server() as server, calling(server.url, channel="echo") as caller:
        channel = caller.channel
        assert channel is not None
        await caller.until(lambda: channel.is_open, "the channel did not open", 20.0)
        assert channel.send("hello")
        assert channel.send(b"\x00\x01")
        await caller.until(lambda: len(channel.messages) >= 2, "no echo", 20.0)
        assert list(channel.messages) == ["hello", b"\x00\x01"]


async def test_the_end_of_the_call_reaches_the_other_side() -> None:
    async with aiortc_server() as server:
        async with calling(server.url) as caller:
            await caller.until(lambda: caller.call.state is CallState.TALKING, "no keys", 20.0)

        async def state() -> str:
            return server.peers[0].connectionState

        await until(state, lambda seen: seen == "closed", "aiortc's connection state")
        assert caller.call.end == "we hung up"
