"""Who does not prove who it is gets no media, and harms nobody else's call."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from rtcrelay.client.caller import calling
from rtcrelay.client.core import CallConfig, CallState
from rtcrelay.client.demo.site import Site
from rtcrelay.errors import PeerError
from rtcrelay.rtc.certificate import Certificate

from .aiortc_caller import aiortc_call
from .waiting import until

DIGESTS = {f"sha-{bits}": ":".join(["AB"] * (bits // 8)) for bits in (256, 384, 512)}


async def test_a_client_whose_certificate_is_not_the_announced_one_gets_no_media(site: Site) -> None:
    node = site.transceivers[0]
    lie = CallConfig(claimed_fingerprint=Certificate.generate().fingerprint)
    async with calling(node.url, lie) as caller:
        with pytest.raises(PeerError, match="DTLS ended: alert"):
            await caller.until_talking()
        assert caller.call.counts(0.0).audio_received == 0
        stats = await node.admin.stats()
        assert (stats.count("rtp_out"), stats.count("rtp_in"), stats.count("dtls_connected")) == (0, 0, 0)
        assert stats.ends["dtls_fingerprint"] == 1
        assert await node.admin.sessions() == []


async def test_stock_aiortc_with_a_wrong_fingerprint_in_its_offer_gets_no_media(site: Site) -> None:
    node = site.transceivers[0]

    def lie(sdp: str) -> str:
        return re.sub(r"a=fingerprint:(\S+) .*", lambda line: f"a=fingerprint:{line[1]} {DIGESTS[line[1]]}", sdp)

    async with aiortc_call(node.url, lie) as call:
        await until(node.admin.stats, lambda stats: stats.ends["dtls_fingerprint"] == 1, "the end of the session")
        assert call.frames == 0
        stats = await node.admin.stats()
        assert (stats.count("rtp_out"), stats.count("rtp_in"), stats.count("dtls_connected")) == (0, 0, 0)


async def test_a_datagram_that_is_too_long_kills_nobody(site: Site) -> None:
    # One such datagram ends a session of stock aiortc for good.
    node = site.transceivers[0]
    async with calling(node.url) as caller:
        await caller.until_talking()
        assert caller.local is not None
        assert caller._transport is not None
        for size in (1501, 2000, 60_000):
            caller._transport.sendto(bytes([0x80]) + bytes(size - 1), site.relay.vip)
        before = caller.call.counts(0.0).audio_received
        await caller.until(lambda: caller.call.counts(0.0).audio_received >= before + 50, "audio goes on", 20.0)
        relay = await site.relay.admin.stats()
        assert relay.drops["oversize"] == 3
        assert caller.call.state is CallState.TALKING


async def test_noise_from_a_stranger_reaches_no_transceiver(site: Site) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for first in (0x00, 0x16, 0x80, 0xFF):
            stranger.sendto(bytes([first]) + bytes(99), site.relay.vip)

        async def drops() -> int:
            return sum((await site.relay.admin.stats()).drops.values())

        await until(drops, lambda seen: seen == 4, "four dropped datagrams")
    await asyncio.sleep(0.05)
    for node in site.transceivers:
        assert (await node.admin.stats()).count("datagrams_in") == 0
