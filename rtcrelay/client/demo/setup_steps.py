"""The demo's first half: from no process at all to two conversations without loss."""

from __future__ import annotations

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import CallConfig
from rtcrelay.client.demo.steps import Row, Step
from rtcrelay.client.demo.world import Conversation, World, between, words
from rtcrelay.config.text import format_address

LEAST_PACKETS_PER_SECOND = 40
"""Of 50. A machine so busy that the client sends fewer proves nothing about loss."""


async def start(world: World, step: Step) -> None:
    """Relay and transceivers run, and are the processes that we started."""
    relay = world.site.relay
    ready = [round(milliseconds, 3) for milliseconds in await world.site.start()]
    step.figures["relay_ready_ms"] = ready[0]
    step.rows.append(Row("relay ready", (words(ready[0]),), "the relay itself"))
    stats = await relay.admin.stats()
    step.equal("relay: process id", relay.daemon.pid, stats.pid)
    step.equal("relay: routed_by_ufrag", 0, stats.count("routed_by_ufrag"))
    for node, milliseconds in zip(world.site.transceivers, ready[1:], strict=True):
        step.calls.append({"node": node.name, "transceiver_ready_ms": milliseconds})
        step.equal(f"transceiver {node.name}: process id", node.daemon.pid, (await node.admin.stats()).pid)
        step.equal(f"transceiver {node.name}: sessions", 0, len(await node.admin.sessions()))
    world.add_row(step, "transceivers ready", "transceiver_ready_ms", "the transceivers")


async def signal(world: World, step: Step) -> None:
    """Each offer is answered by the transceiver it was sent to, with the relay's address and a ufrag of its own."""
    last = world.site.transceivers[-1]
    for node in world.site.transceivers:
        # The last caller never checks again after the set-up, as some stacks do: what brings it back after
        # the relay was killed can only be the transceiver's announces.
        caller = Caller(node.url, CallConfig(check_interval_seconds=None if node is last else 2.5))
        conversation = Conversation(node, caller)
        await caller.dial()
        world.calls.append(conversation)
    for call in world.calls:
        session = await call.session()
        call.session_id = str(session.get("id"))
        step.calls.append({"node": call.node.name, "signaling_ms": between(0.0, call.call.timings.answered_ms)})
        step.equal(f"{call.name}: sessions_created", 1, await call.count("sessions_created"))
        step.equal(f"{call.name}: ufrag of its session", call.call.remote_ufrag, session.get("ufrag"))
        step.equal(f"answer of {call.node.name}: candidates", [world.site.relay.vip], call.call.candidates)
    world.add_row(step, "answered (HTTP)", "signaling_ms", "session table")


async def first_stun(world: World, step: Step) -> None:
    """The relay sends each call's first STUN packet to the transceiver that its ufrag names, and nowhere else."""
    for call in world.calls:
        await call.until(lambda live: live.timings.first_check_answered_ms is not None, "no answer to a STUN check")
        timings = call.call.timings
        hops = await world.next_hops(call)
        step.calls.append(
            {
                "node": call.node.name,
                "stun_round_trip_ms": between(timings.first_check_sent_ms, timings.first_check_answered_ms),
                "routed_to": " ".join(hops),
            }
        )
        step.equal(f"relay: next hops of {call.client}", [format_address(call.node.media)], hops)
        step.at_least(f"{call.name}: checks", 1, await call.count("checks"))
        step.equal(f"{call.name}: client of its session", call.client, (await call.session()).get("client"))
    routed = (await world.site.relay.admin.stats()).count("routed_by_ufrag")
    step.at_least("relay: routed_by_ufrag", len(world.calls), routed)
    world.add_row(step, "first STUN, both ways", "stun_round_trip_ms", "both counters")
    world.add_row(step, "routed by its ufrag to", "routed_to", "relay's path table")


async def dtls(world: World, step: Step) -> None:
    """Each handshake is complete at the transceiver too."""
    for call in world.calls:
        await call.until(lambda live: live.timings.dtls_done_ms is not None, "DTLS was not completed")
        timings = call.call.timings
        step.calls.append(
            {
                "node": call.node.name,
                "dtls_done_ms": between(timings.first_check_sent_ms, timings.dtls_done_ms),
            }
        )
        step.equal(f"{call.name}: dtls_connected", 1, await call.counted("dtls_connected", 1))
        step.equal(f"{call.name}: DTLS of its session", "connected", (await call.session()).get("dtls"))
    world.add_row(step, "DTLS, from first STUN", "dtls_done_ms", "session table")


async def first_audio(world: World, step: Step) -> None:
    """Speech passed the relay both ways and was decrypted at both ends."""
    for call in world.calls:
        await call.until(lambda live: live.timings.first_echo_ms is not None, "no speech came back")
        step.at_least(f"{call.name}: rtp_in", 1, await call.counted("rtp_in", 1))
        step.at_least(f"{call.name}: rtp_out", 1, await call.count("rtp_out"))
        flow = await world.site.relay.admin.flow(call.client) or {}
        step.at_least(f"relay: packets_in of {call.client}", 1, int(flow.get("packets_in", 0)))
        step.at_least(f"relay: packets_out of {call.client}", 1, int(flow.get("packets_out", 0)))
        session, timings = await call.session(), call.call.timings
        step.calls.append(
            {
                "node": call.node.name,
                "first_audio_to_server_ms": between(session.get("first_check_ms"), session.get("first_rtp_in_ms")),
                "first_audio_to_client_ms": between(timings.first_check_sent_ms, timings.first_audio_received_ms),
            }
        )
    world.add_row(step, "first audio at server", "first_audio_to_server_ms", "session table")
    world.add_row(step, "first audio at client", "first_audio_to_client_ms", "relay and session")


async def converse(world: World, step: Step) -> None:
    """Speech for half the time: everything that one end sent, the other end counted."""
    await world.pass_time(world.half_seconds)
    await world.silence()
    for call in world.calls:
        call.tally = tally = await call.tally_now()
        round_trip = call.call.round_trip()
        step.calls.append(
            {
                "node": call.node.name,
                "packets_to_server": tally.client_sent,
                "packets_to_client": tally.server_sent,
                "lost_to_server_packets": tally.client_sent - tally.server_received,
                "lost_to_client_packets": tally.server_sent - tally.client_received,
                "round_trip_p50_ms": round(round_trip.p50_ms, 3),
                "round_trip_p99_ms": round(round_trip.p99_ms, 3),
            }
        )
        least = int(LEAST_PACKETS_PER_SECOND * world.half_seconds)
        step.at_least(f"{call.name}: rtp_in", least, tally.server_received)
        step.equal(f"{call.name}: rtp_in against packets sent", tally.client_sent, tally.server_received)
        step.equal(
            f"client of {call.node.name}: packets received against rtp_out", tally.server_sent, tally.client_received
        )
        step.equal(f"client of {call.node.name}: own speech that came back", tally.client_sent, tally.client_echoed)
    drops = {name: count for name, count in (await world.site.relay.admin.stats()).drops.items() if count}
    step.equal("relay: dropped packets", {}, drops)
    world.speak()
    world.add_row(step, "round trip, median", "round_trip_p50_ms", "echoed packets")
    world.add_row(step, "round trip, 99 %", "round_trip_p99_ms", "echoed packets")
    world.add_row(step, "lost on the way there", "lost_to_server_packets", "sent - counted there")
    world.add_row(step, "lost on the way back", "lost_to_client_packets", "counted there - back")
