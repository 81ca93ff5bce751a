"""Whose packet is it? Sessions that share a path, strangers, probes, and noise."""

from __future__ import annotations

import random

import pytest

from rtcrelay._dataplane import Route, mint_ufrag
from rtcrelay.rtc import stun
from rtcrelay.transceiver.counters import Count, Drop, End
from rtcrelay.transceiver.paths import PathKey
from rtcrelay.transceiver.probes import PROBE_BURST
from rtcrelay.transceiver.router import MAX_SESSIONS_PER_PATH, PROOF_SECONDS

from .network import MEDIA, Caller, Network, arrival, direct

AT = arrival()


def check_to(ufrag: str, password: str = "0123456789012345678901", **options: bool) -> bytes:
    check = stun.IceCheck(1, True, bytes(8))
    return stun.write_binding_request(random.randbytes(12), f"{ufrag}:x", password, check)


def spoiled(datagram: bytes) -> bytes:
    """The same with another last byte."""
    return datagram[:-1] + bytes([datagram[-1] ^ 1])


def connected_on_one_path(network: Network, count: int) -> list[Caller]:
    callers = []
    for _ in range(count):
        caller = Caller(network)
        network.now += 1.0
        caller.connect()
        callers.append(caller)
    return callers


def test_when_the_last_session_of_a_path_is_gone_the_sockets_are_told(network: Network) -> None:
    gone: list[PathKey] = []
    network.transceiver.router.on_path_gone.append(gone.append)
    one, two = connected_on_one_path(network, 2)
    one.session.close(End.DELETED, network.now)
    assert gone == []
    two.session.close(End.DELETED, network.now)
    assert gone == [AT.key]


def test_two_sessions_on_one_path_lose_none_of_their_own_packets(network: Network) -> None:
    one, two = connected_on_one_path(network, 2)
    assert network.transceiver.router.path_count == 1
    for number in range(100):
        one.speak(b"\xf8one" + bytes([number]))
        two.speak(b"\xf8two" + bytes([number]))
    sent = network.take()
    for caller in (one, two):
        for reply, payload in sent:
            caller._receive(reply, payload)
    assert [packet.payload for packet in one.media] == [b"\xf8one" + bytes([n]) for n in range(100)]
    assert [packet.payload for packet in two.media] == [b"\xf8two" + bytes([n]) for n in range(100)]
    assert network.drops(Drop.NOT_AUTHENTIC) == 0


@pytest.mark.parametrize("setup", ["actpass", "active"])
def test_a_handshake_wakes_nothing_in_the_other_session_of_its_path(network: Network, setup: str) -> None:
    class Other(Caller):
        def offer(self, fingerprint: object) -> str:
            return super().offer(fingerprint).replace("actpass", setup)

    old = Other(network)
    old.check()
    if setup == "active":
        old.dtls.handle_start(network.now)
    old.pump()
    network.now += 10.0
    new = Other(network)
    new.check()
    if setup == "active":
        new.dtls.handle_start(network.now)
    new.pump()
    assert new.session.is_connected
    assert old.session.dtls.retransmissions == new.session.dtls.retransmissions == 0


def test_a_session_that_only_checks_on_a_path_takes_nothing_from_its_owner(network: Network) -> None:
    owner = Caller(network)
    owner.connect()
    attackers = [Caller(network) for _ in range(20)]
    for attacker in attackers:
        for _ in range(3):
            attacker.check(nominate=True)
    network.take()
    for _ in range(100):
        owner.speak()
    owner.pump()
    assert len(owner.media) == 100
    sessions = network.transceiver.router._by_path[AT.key]
    assert len(sessions) == MAX_SESSIONS_PER_PATH
    assert owner.session in sessions


def test_sessions_that_proved_themselves_are_not_pushed_off_their_path(network: Network) -> None:
    owners = connected_on_one_path(network, MAX_SESSIONS_PER_PATH)
    Caller(network).check()
    assert network.drops(Drop.PATHS_FULL) == 1
    network.take()
    for owner in owners:
        owner.speak()
        assert owner.session.media.packets_in == 1


def test_sessions_that_proved_themselves_and_left_make_room_at_once(network: Network) -> None:
    strangers = connected_on_one_path(network, MAX_SESSIONS_PER_PATH)
    strangers[3].check(arrival(("203.0.113.99", 999)), nominate=True)
    newcomer = Caller(network)
    newcomer.connect()
    sessions = network.transceiver.router._by_path[AT.key]
    assert newcomer.session in sessions
    assert strangers[3].session not in sessions
    assert network.drops(Drop.PATHS_FULL) == 0


def test_a_proof_on_a_path_holds_for_twenty_seconds(network: Network) -> None:
    strangers = connected_on_one_path(network, MAX_SESSIONS_PER_PATH)
    network.now += 19.0 - MAX_SESSIONS_PER_PATH
    for stranger in strangers:
        stranger.check()
    Caller(network).check()
    assert network.drops(Drop.PATHS_FULL) == 1
    network.now += PROOF_SECONDS - 19.0 + MAX_SESSIONS_PER_PATH
    strangers[0].speak()
    for stranger in strangers[2:]:
        stranger.check()
    newcomer = Caller(network)
    newcomer.check()
    sessions = network.transceiver.router._by_path[AT.key]
    assert newcomer.session in sessions
    assert strangers[0].session in sessions
    assert strangers[1].session not in sessions


def test_the_end_of_one_session_leaves_the_others_on_the_path(network: Network) -> None:
    one, two = connected_on_one_path(network, 2)
    one.dtls.close()
    one.pump()
    two.speak()
    two.pump()
    assert len(two.media) == 1
    assert network.transceiver.session_count == 1


def test_two_paths_may_have_one_client_address(network: Network) -> None:
    """Two users behind one NAT can have the same source towards two ingresses."""
    here, there = Caller(network), Caller(network)
    there.at = arrival(proxy=("127.0.0.2", 3480))
    for caller in (here, there):
        caller.connect()
    assert network.transceiver.router.path_count == 2
    here.speak(b"\xf8here")
    there.speak(b"\xf8there")
    here_reply, there_reply = (reply for reply, _ in network.take())
    assert (here_reply, there_reply) == (here.at.reply, there.at.reply)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x04" + bytes(30), Drop.NOT_WEBRTC),
        (b"\x40" + bytes(30), Drop.NOT_WEBRTC),
        (b"\xff" + bytes(30), Drop.NOT_WEBRTC),
        (b"\x80" + bytes(1500), Drop.NOT_WEBRTC),
        (b"\x00\x01\x00\x04" + bytes(24), Drop.STUN_MALFORMED),
        (stun.write_message(stun.BINDING_INDICATION, bytes(12), []), Drop.STUN_NOT_A_REQUEST),
        (stun.write_message(stun.BINDING_SUCCESS, bytes(12), []), Drop.STUN_NOT_A_REQUEST),
        (stun.write_message(stun.BINDING_ERROR, bytes(12), []), Drop.STUN_NOT_A_REQUEST),
        (stun.write_message(stun.BINDING_REQUEST, bytes(12), []), Drop.STUN_NO_USERNAME),
        (check_to("abcd"), Drop.UNKNOWN_UFRAG),
        (check_to("a" * 27), Drop.UNKNOWN_UFRAG),
        (spoiled(check_to("a" * 27)), Drop.WRONG_FINGERPRINT),
        (b"\x16\xfe\xfd" + bytes(30), Drop.UNKNOWN_PATH),
        (b"\x80\x6f" + bytes(30), Drop.UNKNOWN_PATH),
        (b"\x80\xc8" + bytes(30), Drop.UNKNOWN_PATH),
    ],
)
def test_a_strangers_packet_is_counted_and_nothing_else_happens(
    network: Network, call: Caller, payload: bytes, reason: Drop
) -> None:
    before = list(network.transceiver.counters.drops)
    network.take()
    network.receive(arrival(("203.0.113.99", 999)), payload)
    assert network.take() == []
    before[reason] += 1
    assert network.transceiver.counters.drops == before
    assert network.transceiver.router.path_count == 1
    assert network.transceiver.session_count == 1


def test_a_wrong_password_is_counted_and_nothing_else_happens(network: Network, caller: Caller) -> None:
    caller.check(password="wrongpassword0123456789")
    assert network.take() == []
    assert network.drops(Drop.WRONG_INTEGRITY) == 1
    assert network.transceiver.router.path_count == 0
    assert caller.session.link.paths.selected is None


def test_noise_on_a_calls_own_path_is_counted_and_the_call_lives(network: Network, call: Caller) -> None:
    dice = random.Random(1)
    good = [call.check(), call.speak(), b"\x16\xfe\xfd" + bytes(60)]
    for _ in range(20_000):
        payload = bytearray(dice.choice(good))
        for _ in range(dice.randint(1, 5)):
            payload[dice.randrange(len(payload))] = dice.randrange(256)
        network.receive(call.at, bytes(payload[: dice.randint(1, len(payload))]))
    call.pump()
    before = len(call.media)
    call.speak()
    call.pump()
    assert len(call.media) == before + 1
    assert len(call.session.link.paths) == 1


def test_no_payload_of_any_kind_raises(network: Network, call: Caller) -> None:
    dice = random.Random(2)
    for _ in range(20_000):
        payload = bytes([dice.choice([0, 1, 2, 20, 22, 23, 63, 128, 191, dice.randrange(256)])])
        payload += dice.randbytes(dice.randrange(90))
        network.receive(dice.choice([call.at, direct(), arrival(("203.0.113.99", dice.randrange(65536)))]), payload)
    assert network.transceiver.router.path_count == 1
    assert network.take() == []


# -- probes


def probe(network: Network, route: Route) -> tuple[str, str]:
    keys = network.transceiver.keys
    ufrag = mint_ufrag(keys.ring, route)
    password = keys.probe_password(ufrag)
    assert password is not None
    return ufrag, password


OWN = Route("probe_endpoint", 7, ip=MEDIA[0], port=MEDIA[1], nonce=1)


def test_a_probe_is_answered_and_leaves_nothing_behind(network: Network) -> None:
    ufrag, password = probe(network, OWN)
    network.receive(AT, check_to(ufrag, password))
    ((reply, response),) = network.take()
    assert reply == AT.reply
    assert response[:2] == bytes.fromhex("0101")
    assert network.count(Count.PROBES_ANSWERED) == 1
    assert network.transceiver.router.path_count == network.transceiver.session_count == 0


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (Route("probe_endpoint", 8, ip=MEDIA[0], port=MEDIA[1]), Drop.PROBE_REFUSED),
        (Route("probe_endpoint", 7, ip="127.0.0.9", port=MEDIA[1]), Drop.PROBE_REFUSED),
        (Route("probe_endpoint", 7, ip=MEDIA[0], port=7777), Drop.PROBE_REFUSED),
        (Route("probe_node", 7, node=1), Drop.PROBE_REFUSED),
        (Route("endpoint", 7, ip=MEDIA[0], port=MEDIA[1]), Drop.UNKNOWN_UFRAG),
        (Route("session", 7, ip=MEDIA[0], port=MEDIA[1]), Drop.UNKNOWN_UFRAG),
    ],
)
def test_a_probe_for_somebody_else_is_refused(network: Network, route: Route, reason: Drop) -> None:
    network.receive(AT, check_to(*probe(network, route)))
    assert network.take() == []
    assert network.drops(reason) == 1


def test_a_probe_with_another_password_is_refused(network: Network) -> None:
    network.receive(AT, check_to(probe(network, OWN)[0]))
    assert network.take() == []
    assert network.drops(Drop.WRONG_INTEGRITY) == 1


def test_copies_of_a_probes_ufrag_without_its_password_use_up_no_answer(network: Network) -> None:
    ufrag, password = probe(network, OWN)
    for _ in range(1000):
        network.receive(AT, check_to(ufrag))
    assert network.drops(Drop.WRONG_INTEGRITY) == 1000
    network.receive(AT, check_to(ufrag, password))
    assert network.count(Count.PROBES_ANSWERED) == 1


def test_probes_are_answered_at_a_limited_rate(network: Network) -> None:
    datagram = check_to(*probe(network, OWN))
    for _ in range(1000):
        network.receive(AT, datagram)
    assert network.count(Count.PROBES_ANSWERED) == PROBE_BURST
    network.now += 0.5
    for _ in range(1000):
        network.receive(AT, datagram)
    assert network.count(Count.PROBES_ANSWERED) == PROBE_BURST + 50
