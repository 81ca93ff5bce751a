"""A NAT changes a client's port in mid-call: Chromium, stock aiortc and our own client, with and without nomination.

This is also where it is verified who answers the transceiver's path validation.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rtcrelay.client.caller import calling
from rtcrelay.client.core import CallConfig
from rtcrelay.client.demo.processes import free_ports
from rtcrelay.client.demo.site import Site, Transceiver
from rtcrelay.config.text import format_address

from .aiortc_caller import aiortc_call
from .browser import browser_call, requires_chromium
from .nat import Nat
from .waiting import until


@pytest.fixture
async def behind_nat(tmp_path: Path) -> AsyncIterator[tuple[Site, Nat]]:
    """A site whose public address, as clients are told, is that of a NAT in front of the relay."""
    site = Site(tmp_path)
    nat = Nat(site.relay.vip)
    (port,) = free_ports(1)
    vip = format_address(site.relay.vip)
    for node in site.transceivers:
        node.daemon.arguments = tuple(f"127.0.0.1:{port}" if word == vip else word for word in node.daemon.arguments)
    await nat.open(port)
    try:
        await site.start()
        yield site, nat
    finally:
        nat.close()
        await site.stop()


async def until_moved(node: Transceiver, nat: Nat, seconds: float = 25.0) -> dict[str, Any]:
    """Waits until the session is at the NAT's new port and that one has proved itself."""

    async def where() -> dict[str, Any]:
        (session,) = await node.admin.sessions()
        return session

    def has_moved(session: dict[str, Any]) -> bool:
        return bool(nat.upstream) and session["client"] == format_address(nat.seen_as) and session["path_validated"]

    return await until(where, has_moved, "the session at the new address", seconds)


@pytest.mark.requires(module="playwright", install="pip install playwright")
@requires_chromium[1]
async def test_chromium_keeps_its_call_when_its_nat_forgets_it(behind_nat: tuple[Site, Nat]) -> None:
    site, nat = behind_nat
    node = site.transceivers[0]
    async with browser_call(node.page) as call:
        await call.until_stats("packetsReceived", 50)
        nat.rebind()
        await until_moved(node, nat)
        before = (await call.stats())["packetsReceived"]
        await call.until_stats("packetsReceived", before + 100)
        stats = await node.admin.stats()
        assert stats.count("validations_answered") >= 1, "Chromium answers path validation"
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1
        assert await call.state() == "connected"


async def test_stock_aiortc_keeps_its_call_though_it_never_nominates_again(behind_nat: tuple[Site, Nat]) -> None:
    site, nat = behind_nat
    node = site.transceivers[0]
    async with aiortc_call(node.url) as call:
        await call.until_frames(50)
        nat.rebind()
        await until_moved(node, nat)
        await call.until_frames(call.frames + 100)
        stats = await node.admin.stats()
        assert stats.count("validations_answered") >= 1, "aiortc answers path validation"
        assert stats.count("dtls_connected") == 1


@pytest.mark.parametrize("speaks", [True, False])
async def test_our_client_keeps_its_call_without_ever_nominating_again(
    behind_nat: tuple[Site, Nat], speaks: bool
) -> None:
    site, nat = behind_nat
    node = site.transceivers[0]
    async with calling(node.url, CallConfig(check_interval_seconds=0.5, nominates_again=False)) as caller:
        await caller.until_talking()
        caller.call.mute(not speaks, asyncio.get_running_loop().time())
        nat.rebind()
        await until_moved(node, nat)
        caller.call.mute(False, asyncio.get_running_loop().time())
        before = caller.call.counts(0.0).audio_echoed
        await caller.until(lambda: caller.call.counts(0.0).audio_echoed >= before + 50, "echoes", 20.0)
        assert caller.call.counts(0.0).validations_answered >= 1


async def test_a_replayed_check_is_answered_and_moves_nothing(behind_nat: tuple[Site, Nat]) -> None:
    site, nat = behind_nat
    node = site.transceivers[0]
    async with calling(node.url, CallConfig(check_interval_seconds=0.2)) as caller:
        await caller.until_talking()
        nominations = [check for check in nat.checks if b"\x00\x25\x00\x00" in check]
        assert nominations
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
            thief.setblocking(False)
            for check in nat.checks:
                thief.sendto(check, site.relay.vip)
            before = caller.call.counts(0.0).audio_echoed
            await caller.until(lambda: caller.call.counts(0.0).audio_echoed >= before + 100, "echoes go on", 20.0)
            stats = await node.admin.stats()
            assert stats.count("paths_moved") == 0
            assert stats.count("checks_repeated") >= len(nominations)
            received = []
            while True:
                try:
                    received.append(thief.recv(2048))
                except BlockingIOError:
                    break
        assert {datagram[:2] for datagram in received} == {b"\x01\x01"}, "nothing but answers to what was sent"
        (session,) = await node.admin.sessions()
        assert session["client"] == format_address(nat.seen_as)
        assert session["moves"] == 0
