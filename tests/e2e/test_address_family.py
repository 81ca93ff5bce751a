"""A client goes on over IPv6 in mid-call, as a phone that leaves its Wi-Fi: the session stays, its old path goes."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rtcrelay.client.caller import calling
from rtcrelay.client.demo.processes import free_ports
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.config.text import format_address
from rtcrelay.rtc.offer_answer import read_answer

from .waiting import until


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
async def dual(tmp_path: Path) -> AsyncIterator[tuple[Site, tuple[str, int]]]:
    """A site with a second listener on IPv6, and that one's address."""
    public, internal = free_ports(2)
    extra = ("-l", f"[::1]:{public}", "--internal", f"127.0.0.1:{internal}")
    ingress = ("--ingress", f"[::1]:{public}")
    site = Site(tmp_path, SiteOptions(nodes=("a",), extra_relay=extra, extra_transceiver=ingress))
    try:
        await site.start()
        yield site, ("::1", public)
    finally:
        await site.stop()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on loopback: sysctl net.ipv6.conf.lo.disable_ipv6=0")
async def test_a_call_goes_on_when_its_client_changes_to_ipv6(dual: tuple[Site, tuple[str, int]]) -> None:
    site, six = dual
    node = site.transceivers[0]
    async with calling(node.url) as caller:
        await caller.until_talking()
        old = caller.local
        assert old is not None
        assert ":" not in old[0]
        assert caller.answer is not None
        named = {(each.ip, each.port) for each in read_answer(caller.answer.sdp).candidates}
        assert named == {site.relay.vip, six}
        caller.call.candidates = [six]  # our client keeps to the family that it began with; a phone's does not
        caller.call.ice.selected = six
        await caller.move()
        assert caller.local is not None
        assert caller.local[0] == "::1"
        before = caller.call.counts(0.0).audio_echoed
        await caller.until(lambda: caller.call.counts(0.0).audio_echoed >= before + 100, "echoes over IPv6", 20.0)
        (session,) = await node.admin.sessions()
        assert (session["client"], session["moves"]) == (format_address(caller.local), 1)
        assert session["path_validated"]
        stats = await node.admin.stats()
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1
        packets = (await site.relay.admin.flow(format_address(old)) or {}).get("packets_in")

        async def left() -> object:
            return (await site.relay.admin.flow(format_address(old)) or {}).get("packets_in")

        assert await until(left, lambda seen: seen == packets, "the old path stays unused") == packets
        flow = await site.relay.admin.flow(format_address(caller.local))
        assert flow is not None
        assert [claim["next_hop"] for claim in flow["claims"]] == [format_address(node.media)]
