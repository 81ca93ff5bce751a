"""The demo's second half: the relay is killed in mid-call, starts again knowing nothing, and the calls go on."""

from __future__ import annotations

import asyncio

from rtcrelay.client.demo.steps import Row, Step
from rtcrelay.client.demo.world import World, words
from rtcrelay.config.text import format_address
from rtcrelay.errors import BackendError, PeerError

MID_CALL_SECONDS = 0.3
"""Speech after the count and before the kill, so that it hits packets under way."""
RECOVERY_MS = 1_000.0
"""Speech must be back so soon after the new relay is ready; announces come every 250 ms."""
ALIVE_PACKETS = 10
"""Speech packets that must reach each transceiver after the restart: it goes on, not just once."""


async def kill_relay(world: World, step: Step) -> None:
    """SIGKILL: no goodbye, no state saved. The transceivers keep their sessions."""
    await world.pass_time(MID_CALL_SECONDS)
    for call in world.calls:
        call.checks = await call.count("checks")
    world.killed_at = asyncio.get_running_loop().time()
    step.equal("relay: exit status", -9, await world.site.relay.daemon.kill())
    step.equal("relay: admin socket", "nobody listens", await _listener(world))
    for call in world.calls:
        step.equal(f"{call.name}: session", call.session_id, (await call.session()).get("id"))
    step.rows.append(Row("relay killed (-9)", ("gone",), "exit status"))


async def restart_relay(world: World, step: Step) -> None:
    """The same command line again: another process, an empty path table, the same return address."""
    ready = round(await world.site.relay.daemon.start(), 3)
    world.down_ms = (asyncio.get_running_loop().time() - world.killed_at) * 1000
    step.figures["relay_ready_ms"] = ready
    step.figures["relay_down_ms"] = round(world.down_ms, 3)
    step.equal("relay: process id", world.site.relay.daemon.pid, (await world.site.relay.admin.stats()).pid)
    step.rows.append(Row("relay ready again", (words(ready),), "the relay itself"))


async def go_on(world: World, step: Step) -> None:
    """Both calls go on in their old sessions; the one that never checks again owes it to announces alone."""
    for call in world.calls:
        received = call.call.counts(asyncio.get_running_loop().time()).audio_received
        await call.until(
            lambda live, least=received + ALIVE_PACKETS: (  # type: ignore[misc]  # bound now, not at the loop's end
                live.counts(asyncio.get_running_loop().time()).audio_received >= least
            ),
            "no speech came back after the relay's restart",
        )
        arrived = call.tally.server_received + ALIVE_PACKETS
        step.at_least(f"{call.name}: rtp_in", arrived, await call.counted("rtp_in", arrived))
    await world.pass_time(world.half_seconds)
    await world.silence()
    for call in world.calls:
        added = (await call.tally_now()).since(call.tally)
        # As of the kill: the silence that we have just made is no gap.
        gap = call.call.longest_gap(world.killed_at, world.killed_at)
        if gap is None:
            raise PeerError(f"{call.name}: the relay was killed and no gap in the audio was heard")
        step.calls.append(
            {
                "node": call.node.name,
                "gap_ms": round(gap.length_ms, 3),
                "lost_to_server_packets": added.client_sent - added.server_received,
                "lost_to_client_packets": added.server_sent - added.client_received,
            }
        )
        step.at_most(f"client of {call.node.name}: gap in ms", world.down_ms + RECOVERY_MS, gap.length_ms)
        step.equal(f"relay: next hops of {call.client}", [format_address(call.node.media)], await world.next_hops(call))
        step.equal(f"{call.name}: session", call.session_id, (await call.session()).get("id"))
        step.equal(f"{call.name}: dtls_connected", 1, await call.count("dtls_connected"))
    silent = world.calls[-1]
    stats = await world.site.relay.admin.stats()
    step.equal(f"{silent.name}: checks since the kill", 0, await silent.count("checks") - silent.checks)
    step.at_least("relay: announces", 1, stats.count("announces"))
    step.at_least("relay: claims_learned", 1, stats.count("claims_learned"))
    step.figures["claims_learned"] = stats.count("claims_learned")
    world.add_row(step, "gap that was heard", "gap_ms", "client; same session")
    world.add_row(step, "lost on the way there", "lost_to_server_packets", "sent - counted there")
    world.add_row(step, "lost on the way back", "lost_to_client_packets", "counted there - back")


async def hang_up(world: World, step: Step) -> None:
    """DELETE ends each session, and the transceiver says that this was why."""
    for call in world.calls:
        status = await call.caller.hang_up()
        step.equal(f"{call.name}: answer to DELETE", 200, status)
        stats = await call.node.admin.stats()
        step.equal(f"{call.name}: sessions ended by DELETE", 1, stats.ends.get("deleted"))
        step.equal(f"{call.name}: sessions", 0, len(await call.node.admin.sessions()))
        step.calls.append({"node": call.node.name, "status": status})
    step.rows.append(Row("hung up", tuple("session gone" for _ in world.calls), "session table"))


async def _listener(world: World) -> str:
    try:
        return f"process {(await world.site.relay.admin.stats()).pid}"
    except BackendError:
        return "nobody listens"
