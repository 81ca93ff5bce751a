"""The core through its Python face: packets in, verdicts out, no sockets."""

from __future__ import annotations

import pytest

from rtcrelay._dataplane import Core, KeyRing, Policy, RelayConfig, Route, SppHeader, mint_ufrag, pack_spp, read_stun

RING = KeyRing([(0, bytes(range(16)), "active")])
CLIENT, T1, INTERNAL = ("198.51.100.7", 51234), ("10.0.3.1", 7000), ("10.0.0.5", 3479)
RTP = b"\x80\x6f" + bytes(50)
ROUTE = Route("endpoint", 7, ip=T1[0], port=T1[1], nonce=5)


@pytest.fixture
def core() -> Core:
    policy = Policy(RING, cluster=7, transceivers=["10.0.3.0/24:7000"], peers=["10.9.0.0/24"])
    return Core(RelayConfig([(("203.0.113.10", 3478), INTERNAL)], policy))


def stun(kind: int, username: str = "") -> bytes:
    value = username.encode()
    attribute = b"\x00\x06" + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4) if username else b""
    return kind.to_bytes(2, "big") + len(attribute).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + attribute


def test_a_call_is_explained_packet_by_packet(core: Core) -> None:
    check = stun(0x0001, mint_ufrag(RING, ROUTE) + ":abcd")
    header = pack_spp(SppHeader(CLIENT, INTERNAL))
    routed = core.handle_public(0.0, 0, CLIENT, check)
    assert (routed.action, routed.next_hops, routed.route) == ("forward", [T1], ROUTE)
    early = core.handle_public(0.1, 0, CLIENT, RTP)
    assert (early.action, early.reason, early.route) == ("drop", "no_route", None)
    answered = core.handle_internal(0.2, T1, header + stun(0x0101))
    assert (answered.action, answered.client, answered.listener) == ("to_client", CLIENT, 0)
    assert core.handle_public(0.3, 0, CLIENT, RTP).next_hops == [T1]
    assert core.handle_internal(0.4, T1, header).action == "consumed"
    (flow,) = core.flows(0.5)
    assert [(claim.next_hop, claim.state, claim.key_id) for claim in flow.claims] == [(T1, "strong", 0)]
    assert core.handle_public(60.0, 0, CLIENT, RTP).reason == "no_route"


def test_the_relays_own_answer_is_shown(core: Core) -> None:
    verdict = core.handle_public(0.0, 0, CLIENT, stun(0x0001), local="203.0.113.10")
    message = read_stun(verdict.answer)
    assert verdict.action == "answer"
    assert message is not None
    assert message.kind == 0x0101


def test_a_route_that_is_refused_is_shown_all_the_same(core: Core) -> None:
    elsewhere = Route("endpoint", 7, ip="192.0.2.1", port=7000)
    verdict = core.handle_public(0.0, 0, CLIENT, stun(0x0001, mint_ufrag(RING, elsewhere) + ":abcd"))
    assert (verdict.action, verdict.reason, verdict.route) == ("drop", "endpoint_forbidden", elsewhere)


def test_what_passes_on_to_another_relay_says_so(core: Core) -> None:
    verdict = core.handle_internal(0.0, T1, pack_spp(SppHeader(CLIENT, ("10.9.0.1", 3479))) + RTP)
    assert (verdict.action, verdict.next_hops) == ("pass", [("10.9.0.1", 3479)])


def test_wrong_arguments_say_what_is_wrong(core: Core) -> None:
    with pytest.raises(ValueError, match="listener is 1; there are 1"):
        core.handle_public(0.0, 1, CLIENT, RTP)
    with pytest.raises(ValueError, match="not seconds from 0 on"):
        core.handle_public(-1.0, 0, CLIENT, RTP)


def rtp(number: int) -> bytes:
    return b"\x80\x6f" + (number % 65536).to_bytes(2, "big") + (number * 960).to_bytes(4, "big") + b"ssrc" + bytes(60)


def test_loss_on_one_leg_is_seen_on_that_leg_and_not_on_the_other(core: Core) -> None:
    header = pack_spp(SppHeader(CLIENT, INTERNAL))
    core.handle_internal(0.0, T1, header)
    for number in range(1000):
        now = 0.02 * number
        if number % 10 != 5:  # the client's leg loses a tenth of what the client sends
            core.handle_public(now, 0, CLIENT, rtp(number))
        core.handle_internal(now, T1, header + rtp(number))
    (flow,) = core.flows(20.0)
    assert flow.from_client is not None
    assert flow.to_client is not None
    assert (flow.from_client.packets, flow.from_client.expected) == (900, 1000)
    assert (flow.to_client.packets, flow.to_client.expected) == (1000, 1000)
    assert flow.to_client.jitter_seconds == pytest.approx(0, abs=1e-4)
    assert flow.client_round_trip_seconds is None


def test_legs_that_are_not_watched_are_unknown() -> None:
    policy = Policy(RING, cluster=7, transceivers=["10.0.3.0/24:7000"])
    core = Core(RelayConfig([(("203.0.113.10", 3478), INTERNAL)], policy, watch_legs=False))
    core.handle_internal(0.0, T1, pack_spp(SppHeader(CLIENT, INTERNAL)) + rtp(1))
    assert core.flows(1.0)[0].to_client is None
