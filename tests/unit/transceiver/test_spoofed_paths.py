"""What the owners of sessions get out of addresses that are not theirs, and strangers out of a shared one."""

from __future__ import annotations

from rtcrelay.rtc import stun
from rtcrelay.transceiver.counters import Count
from rtcrelay.transceiver.paths import AMPLIFICATION

from .network import HERE, VICTIM, Caller, Network, arrival, client_of

SPOOFED = arrival(VICTIM)


def to_victim(network: Network) -> int:
    return sum(len(payload) for reply, payload in network.take() if client_of(reply) == VICTIM)


def test_a_request_for_one_path_is_never_sent_to_another(network: Network, call: Caller) -> None:
    """The owner nominates the victim's address, then its own again, and answers for the victim."""
    call.answers_checks = False
    call.check(SPOOFED, nominate=True)
    asked = [payload for _, payload in network.take() if payload[:2] == b"\0\1"]
    call.check(nominate=True)
    network.take()
    network.pass_time(3.0)
    leaked = [payload for reply, payload in network.take() if payload[:2] == b"\0\1" and client_of(reply) == HERE]
    assert asked
    assert leaked == []


def test_a_path_that_was_left_is_asked_no_more(network: Network, call: Caller) -> None:
    call.answers_checks = False
    call.check(SPOOFED, nominate=True)
    call.check(nominate=True)
    sent = network.count(Count.VALIDATIONS_SENT)
    network.pass_time(3.0)
    assert network.count(Count.VALIDATIONS_SENT) == sent


def connected_from(network: Network, port: int) -> Caller:
    caller = Caller(network)
    caller.at = arrival((HERE[0], port))
    caller.addresses = {(HERE[0], port)}
    caller.answers_checks = False
    caller.connect()
    return caller


def test_many_sessions_together_send_a_victim_no_more_than_one(network: Network) -> None:
    callers = [connected_from(network, 4000 + number) for number in range(8)]
    network.take()
    received, sent = 0, 0
    for caller in callers:
        received += len(caller.check(SPOOFED, nominate=True))
    junk = b"\x16\xfe\xfd" + bytes(8) + b"\x00\x64" + bytes(100)
    for _ in range(200):
        network.receive(SPOOFED, junk)
        received += len(junk)
        network.pass_time(0.05)
        for caller in callers:
            caller.session.send_opus(b"\xf8" + bytes(100))
        sent += to_victim(network)
    assert 0 < sent <= AMPLIFICATION * received


def test_a_session_that_never_got_an_answer_does_not_end_the_next_call_from_its_address(network: Network) -> None:
    """A NAT gives the port of a caller that vanished during set-up to the next one."""
    vanished = Caller(network)
    vanished.check()
    network.take()
    network.pass_time(0.01)
    caller = Caller(network)
    caller.connect()
    assert caller.session.end is None
    caller.speak()
    caller.pump()
    assert len(caller.media) == 1


def test_a_forged_answer_for_a_path_that_was_left_proves_nothing(network: Network, call: Caller) -> None:
    call.answers_checks = False
    call.check(SPOOFED, nominate=True)
    request = next(payload for _, payload in network.take() if payload[:2] == b"\0\1")
    call.check(nominate=True)
    network.pass_time(0.5)
    network.take()
    network.receive(SPOOFED, stun.write_binding_success(request[8:20], HERE, call.ice.password))
    path = call.session.link.paths.find(SPOOFED.key)
    assert path is not None
    assert not path.validated
