"""Somebody with a valid session of his own spoofs a caller's address: the caller's flow stays where it is, and whole.

On loopback, to send from the caller's own socket is to spoof its address: the same bytes with the same source.
"""

from __future__ import annotations

import asyncio
import secrets

import pytest

from rtcrelay.client.caller import Caller, calling
from rtcrelay.client.demo.site import Site, Transceiver
from rtcrelay.config.text import format_address
from rtcrelay.rtc import stun

from .waiting import until

SPOOFED_A_SECOND = 50
SECONDS = 3.0


def check_of(owner: Caller, nominate: bool) -> bytes:
    """A fresh check of the owner's session, with everything that only the owner knows."""
    ice = owner.call.ice
    check = stun.IceCheck(1, True, bytes(8), nominate)
    username = f"{owner.call.remote_ufrag}:{ice.ufrag}"
    return stun.write_binding_request(secrets.token_bytes(12), username, ice._remote_password, check)


async def spoof(victim: Caller, attacker: Caller, vip: tuple[str, int]) -> int:
    """Sends the attacker's checks from the victim's address, and returns how many."""
    assert victim._transport is not None
    count = int(SECONDS * SPOOFED_A_SECOND)
    for number in range(count):
        victim._transport.sendto(check_of(attacker, nominate=number % 2 == 0), vip)
        await asyncio.sleep(1 / SPOOFED_A_SECOND)
    return count


def all_back(caller: Caller, now: float) -> bool:
    counts = caller.call.counts(now)
    return counts.audio_echoed == counts.audio_sent


async def session_of(node: Transceiver, caller: Caller) -> dict[str, object]:
    (row,) = [row for row in await node.admin.sessions() if row["ufrag"] == caller.call.remote_ufrag]
    return dict(row)


@pytest.mark.parametrize("talks", [False, True], ids=["whose checks succeed", "that talks"])
@pytest.mark.parametrize("other_node", [False, True], ids=["on the same transceiver", "on another transceiver"])
async def test_an_attacker_with_a_session_of_his_own_takes_no_packet_away(
    site: Site, other_node: bool, talks: bool
) -> None:
    node, attackers_node = site.transceivers[0], site.transceivers[other_node]
    loop = asyncio.get_running_loop()
    async with calling(node.url) as victim, calling(attackers_node.url) as attacker:
        await victim.until_talking()
        if talks:
            await attacker.until_talking()
        attacker._held = True  # silent from now on: no packet of his own keeps his session at his address
        answered = (await attackers_node.admin.stats()).count("checks")
        spoofed = await spoof(victim, attacker, site.relay.vip)
        answered = (await attackers_node.admin.stats()).count("checks") - answered
        assert answered >= spoofed, "the attacker's checks do succeed"
        victim.call.mute(True, loop.time())
        await victim.until(lambda: all_back(victim, loop.time()), "every packet is back", 20.0)
        counts = victim.call.counts(loop.time())
        assert counts.audio_sent >= SECONDS * 40
        session = await session_of(node, victim)
        assert session["rtp_packets_in"] == counts.audio_sent
        assert counts.audio_echoed == session["rtp_packets_out"] == counts.audio_sent
        assert victim.local is not None
        assert (session["client"], session["moves"]) == (format_address(victim.local), 0)
        flow = await site.relay.admin.flow(format_address(victim.local))
        assert flow is not None
        assert format_address(node.media) in [claim["next_hop"] for claim in flow["claims"]]


async def test_the_victims_call_goes_on_after_the_attacker_has_gone(site: Site) -> None:
    """Also the attacker's end, which closes a session that had the victim's address, ends nothing of the victim's."""
    node = site.transceivers[0]
    async with calling(node.url) as victim:
        await victim.until_talking()
        async with calling(node.url) as attacker:
            await attacker.until_talking()
            await spoof(victim, attacker, site.relay.vip)
        await until(node.admin.sessions, lambda rows: len(rows) == 1, "the attacker's session gone")
        before = victim.call.counts(0.0).audio_echoed
        await victim.until(lambda: victim.call.counts(0.0).audio_echoed >= before + 100, "echoes", 20.0)
        assert victim.call.counts(0.0).audio_lost == 0
