"""A session's owner aims its media at a victim with spoofed checks: real processes, bytes counted at the victim."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rtcrelay.client.caller import Caller, calling
from rtcrelay.client.core import CallConfig
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.rtc import stun
from rtcrelay.transceiver.paths import AMPLIFICATION

from .waiting import until


class Victim:
    """An address that never asked for anything. On loopback, to send from its socket is to spoof it."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.66", 0))
        self.spoofed = 0

    def spoof(self, datagram: bytes, vip: tuple[str, int]) -> None:
        self.spoofed += len(datagram)
        self.socket.sendto(datagram, vip)

    def received(self) -> list[bytes]:
        datagrams = []
        while True:
            try:
                datagrams.append(self.socket.recv(2048))
            except BlockingIOError:
                return datagrams


@pytest.fixture
def victim() -> Iterator[Victim]:
    victim = Victim()
    yield victim
    victim.socket.close()


@pytest.fixture
async def speaking(tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose backend speaks by itself, 50 packets a second, whether the client says anything or not."""
    site = Site(tmp_path, SiteOptions(nodes=("a",), extra_transceiver=("--backend", "tone")))
    try:
        await site.start()
        yield site
    finally:
        await site.stop()


async def until_heard(caller: Caller, packets: int) -> None:
    before = caller.call.counts(0.0).audio_received
    await caller.until(lambda: caller.call.counts(0.0).audio_received >= before + packets, "audio", 20.0)


def nomination(caller: Caller) -> bytes:
    """A fresh check of the caller's session, with everything that only its owner knows."""
    ice = caller.call.ice
    check = stun.IceCheck(1, True, bytes(8), True)
    username = f"{caller.call.remote_ufrag}:{ice.ufrag}"
    return stun.write_binding_request(secrets.token_bytes(12), username, ice._remote_password, check)


async def test_one_spoofed_check_brings_the_victim_at_most_three_times_its_bytes(
    speaking: Site, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker falls silent after it, so that nothing moves the session back; the backend goes on to speak."""
    (node,) = speaking.transceivers
    async with calling(node.url, CallConfig(check_interval_seconds=None)) as caller:
        await until_heard(caller, 50)
        victim.spoof(nomination(caller), speaking.relay.vip)
        with monkeypatch.context() as silent:
            silent.setattr(caller, "_flush", lambda: None)
            await until(node.admin.stats, lambda stats: stats.count("paths_moved") == 1, "the check was believed")
            await asyncio.sleep(2.0)  # for so long all media stays on the old path
            before = (await node.admin.stats()).count("rtp_out")
            await until(
                node.admin.stats, lambda stats: stats.count("rtp_out") >= before + 150, "three seconds of media"
            )
            await until_heard(caller, 50)  # what is more than threefold goes where it was proved last
        received = victim.received()
        assert received, "the check itself is answered"
        assert sum(map(len, received)) <= AMPLIFICATION * victim.spoofed
        caller.wake()
        # The attacker speaks again, and its session is where it was.
        await until(node.admin.sessions, lambda rows: not rows[0]["client"].startswith("127.0.0.66:"), "the old path")
    assert sum(map(len, [*received, *victim.received()])) <= AMPLIFICATION * victim.spoofed


async def test_many_spoofed_checks_bring_the_victim_no_more_per_byte(speaking: Site, victim: Victim) -> None:
    (node,) = speaking.transceivers
    async with calling(node.url) as caller:
        await until_heard(caller, 50)
        for _ in range(50):
            victim.spoof(nomination(caller), speaking.relay.vip)
            await asyncio.sleep(0.02)
        await until_heard(caller, 50)
    assert 0 < sum(map(len, victim.received())) <= AMPLIFICATION * victim.spoofed
