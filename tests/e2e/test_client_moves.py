"""A client comes from another address in mid-call, or restarts ICE, or vanishes: the call follows it, or ends."""

from __future__ import annotations

from rtcrelay.client.caller import calling
from rtcrelay.client.demo.site import Site
from rtcrelay.config.text import format_address

from .waiting import until


async def test_the_call_goes_on_at_the_new_address_after_the_client_answered_its_validation(site: Site) -> None:
    node = site.transceivers[0]
    async with calling(node.url) as caller:
        await caller.until_talking()
        old = caller.local
        await caller.move()
        assert caller.local is not None
        assert caller.local != old
        before = caller.call.counts(0.0).audio_received
        await caller.until(lambda: caller.call.counts(0.0).audio_received >= before + 50, "audio follows", 20.0)
        await until(node.admin.stats, lambda stats: stats.count("validations_answered") >= 1, "an answered validation")
        stats = await node.admin.stats()
        assert stats.count("paths_moved") == 1
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1
        assert caller.call.counts(0.0).validations_answered >= 1
        [session] = await node.admin.sessions()
        assert session["client"] == format_address(caller.local)
        assert session["path_validated"]
        flow = await site.relay.admin.flow(format_address(caller.local))
        assert flow is not None
        assert [claim["next_hop"] for claim in flow["claims"]] == [format_address(node.media)]


async def test_the_client_restarts_ice_and_moves_and_the_call_goes_on(site: Site) -> None:
    node = site.transceivers[0]
    async with calling(node.url) as caller:
        await caller.until_talking()
        ufrag = caller.call.remote_ufrag
        await caller.restart_ice()
        assert caller.call.remote_ufrag != ufrag
        answered = caller.call.counts(0.0).checks_answered
        await caller.until(
            lambda: caller.call.counts(0.0).checks_answered > answered, "a check with the new ones", 20.0
        )
        await caller.move()
        before = caller.call.counts(0.0).audio_received
        await caller.until(lambda: caller.call.counts(0.0).audio_received >= before + 50, "audio follows", 20.0)
        [session] = await node.admin.sessions()
        assert session["ufrag"] == caller.call.remote_ufrag
        stats = await node.admin.stats()
        assert stats.count("ice_restarts") == stats.count("sessions_created") == stats.count("dtls_connected") == 1


async def test_a_client_that_vanishes_says_no_word_more(site: Site) -> None:
    node = site.transceivers[0]
    async with calling(node.url) as caller:
        await caller.until_talking()
        caller.vanish()
        heard = caller.call.counts(0.0).audio_received
        before = (await node.admin.stats()).count("datagrams_in")
        # What was under way may still arrive; then there is nothing but the server's own timer.
        await until(node.admin.sessions, lambda rows: rows[0]["idle_s"] > 0.3, "silence")
        assert (await node.admin.stats()).count("datagrams_in") <= before + 5
        assert caller.call.counts(0.0).audio_received == heard
