"""Which path a session sends to, who can change that, and what an attacker with one forged address gets."""

from __future__ import annotations

import pytest

from rtcrelay.transceiver.counters import Count, Drop
from rtcrelay.transceiver.paths import AMPLIFICATION, MAX_PATHS

from .network import HERE, OTHER_RELAY, RELAY, THERE, VICTIM, Caller, Network, arrival, client_of

NEW = arrival(THERE)


def moved(call: Caller) -> bool:
    path = call.session.link.paths.selected
    assert path is not None
    return path.key == NEW.key


def test_a_nomination_moves_the_session(network: Network, call: Caller) -> None:
    call.addresses.add(THERE)
    call.check(NEW, nominate=True)
    assert moved(call)
    assert network.count(Count.PATHS_MOVED) == 1


def test_one_check_without_nomination_moves_nothing(call: Caller) -> None:
    call.check(NEW)
    assert not moved(call)


def test_two_checks_in_a_row_move_a_session_whose_old_path_is_silent(call: Caller) -> None:
    call.check(NEW)
    call.check(NEW)
    assert moved(call)


@pytest.mark.parametrize("sign", ["check", "media"])
def test_two_checks_move_nothing_while_the_old_path_is_alive(call: Caller, sign: str) -> None:
    for _ in range(10):
        call.check(NEW)
        if sign == "check":
            call.check()
        else:
            call.speak()
    assert not moved(call)


def test_media_newer_than_any_seen_moves_the_session_to_a_checked_path(call: Caller) -> None:
    call.addresses.add(THERE)
    call.check(NEW)
    call.speak()
    call.speak(at=NEW)
    assert moved(call)


def test_media_on_a_path_without_a_check_moves_nothing(network: Network, call: Caller) -> None:
    call.speak(at=NEW)
    assert not moved(call)
    assert network.drops(Drop.UNKNOWN_PATH) == 1


def test_old_media_on_another_path_moves_nothing(call: Caller) -> None:
    call.check(NEW)
    assert call.dtls.srtp is not None
    call._sequence = 10
    call.speak()
    call._sequence = 5  # late: lower than what was seen, but not seen itself
    call.speak(at=NEW)
    assert call.session.media.packets_in == 2
    assert not moved(call)


def test_a_replayed_nomination_moves_nothing(network: Network, call: Caller) -> None:
    replay = call.check(nominate=True)
    network.take()
    network.receive(NEW, replay)
    assert not moved(call)
    assert network.count(Count.CHECKS_REPEATED) == 1
    # Answered all the same: whether it is a repetition or an attack cannot be known.
    assert [reply for reply, _ in network.take()] == [NEW.reply]
    for _ in range(5):
        network.receive(NEW, replay)
    assert not moved(call)
    assert not network.transceiver.router.knows_path(NEW.key)


def test_replayed_media_moves_nothing(network: Network, call: Caller) -> None:
    call.check(NEW)
    packet = call.speak()
    network.receive(NEW, packet)
    assert not moved(call)
    assert network.drops(Drop.NOT_AUTHENTIC) == 1


def test_before_dtls_completes_only_a_nomination_moves(caller: Caller) -> None:
    caller.check()
    caller.check(NEW)
    caller.check(NEW)
    assert not moved(caller)
    caller.check(NEW, nominate=True)
    assert moved(caller)


def test_a_session_has_at_most_eight_paths(network: Network, call: Caller) -> None:
    for port in range(1000, 1100):
        call.check(arrival(("198.51.100.9", port)))
    assert len(call.session.link.paths) == MAX_PATHS
    assert network.transceiver.router.path_count == MAX_PATHS
    selected = call.session.link.paths.selected
    assert selected is not None
    assert network.transceiver.router.knows_path(selected.key)


# -- the return address of a path


def test_answers_go_through_the_relay_that_delivered_the_last_fresh_check(network: Network, call: Caller) -> None:
    restarted = arrival(HERE, relay=OTHER_RELAY, proxy=OTHER_RELAY)
    network.take()
    call.check(restarted)
    call.speak()  # still through the old one: an authentic packet, too, says where the client is
    assert network.take()[-1][0] == arrival().reply
    call.speak(at=restarted)
    assert network.take()[-1][0] == restarted.reply


def test_a_replayed_check_changes_no_return_address(network: Network, call: Caller) -> None:
    replay = call.check()
    network.take()
    network.receive(arrival(HERE, relay=OTHER_RELAY, proxy=OTHER_RELAY), replay)
    network.take()
    assert call.session.send_opus(b"\xf8x")
    ((reply, _),) = network.take()
    assert reply.destination == RELAY


def test_the_header_comes_back_as_it_was(network: Network, call: Caller) -> None:
    assert call.session.send_opus(b"\xf8x")
    ((reply, _),) = network.take()
    assert reply.header == call.at.reply.header
    assert len(reply.header) == 38


# -- proof of the address


def test_a_new_path_gets_media_once_it_answered_our_request(network: Network, call: Caller) -> None:
    call.addresses.add(THERE)
    call.check(NEW, nominate=True)
    call.at = NEW
    call.pump()
    assert network.count(Count.VALIDATIONS_SENT) == 1
    assert network.count(Count.VALIDATIONS_ANSWERED) == 1
    path = call.session.link.paths.selected
    assert path is not None
    assert path.validated
    for _ in range(50):
        call.speak()
    call.pump()
    assert len(call.media) == 50


def test_until_the_new_path_answers_media_stays_on_the_old_one_for_two_seconds(network: Network, call: Caller) -> None:
    call.answers_checks = False
    call.check(NEW, nominate=True)
    call.pump()
    assert call.session.send_opus(b"\xf8x")
    assert network.take()[-1][0] == call.at.reply
    network.pass_time(2.1)
    call.check(NEW)  # what was sent meanwhile may have used up what the first check allows
    network.take()
    assert call.session.send_opus(b"\xf8x")
    assert network.take()[-1][0] == NEW.reply


def test_a_spoofed_check_sends_a_victim_at_most_three_times_what_came_from_there(
    network: Network, call: Caller
) -> None:
    """The session's owner forges one check from the victim's address and goes on speaking for a minute."""
    spoofed = call.check(arrival(VICTIM), nominate=True)
    for step in range(3000):
        call.session.send_opus(b"\xf8" + bytes(100))
        network.pass_time(0.02)
        if step % 50 == 0:
            call.pump()
        if call.session.end is not None:
            break
    call.pump()
    to_victim = sum(len(payload) for reply, payload in call.to_others)
    assert 0 < to_victim <= AMPLIFICATION * len(spoofed)
    assert {reply for reply, _ in call.to_others} == {arrival(VICTIM).reply}


def test_media_goes_back_to_the_last_validated_path_if_the_new_one_never_answers(
    network: Network, call: Caller
) -> None:
    """One check from elsewhere, which the client knows nothing of; it listens, and says nothing for a while."""
    call.pump()
    call.check(arrival(VICTIM), nominate=True)
    heard: list[int] = []
    for _ in range(10):
        before = len(call.media)
        for _ in range(50):
            assert call.session.send_opus(b"\xf8" + bytes(100))
            network.pass_time(0.02)
        call.pump()
        heard.append(len(call.media) - before)
    assert heard[:2] == [50, 50]  # not one while the new path is asked
    assert 45 <= heard[2] <= 50  # what fits the budget of the new path went there
    assert heard[3:] == [50] * 7
    assert network.drops(Drop.UNPROVED_PATH) == 0


def test_while_the_new_path_is_not_validated_relays_are_told_of_the_old_one(network: Network, call: Caller) -> None:
    call.answers_checks = False
    call.pump()
    call.check(NEW, nominate=True)
    network.take()
    network.pass_time(10.0)
    announced = [reply for reply, payload in network.take() if not payload]
    assert len(announced) >= 35
    assert set(announced) == {call.at.reply}


def test_a_handshake_read_elsewhere_proves_no_address(network: Network, caller: Caller) -> None:
    """The owner reads our ClientHello at one address and answers with the victim's as the source."""
    caller.check()
    caller.check(arrival(VICTIM), nominate=True)
    for reply, payload in network.take():
        caller._receive(reply, payload)
    while (datagram := caller.dtls.poll_transmit()) is not None:
        network.receive(arrival(VICTIM), datagram)
    path = caller.session.link.paths.find(arrival(VICTIM).key)
    assert path is not None
    assert not path.validated


def test_a_handshake_proves_the_address_it_went_to(call: Caller) -> None:
    path = call.session.link.paths.selected
    assert path is not None
    assert path.validated


def test_a_forged_answer_to_our_request_proves_nothing(network: Network, call: Caller) -> None:
    call.answers_checks = False
    call.check(NEW, nominate=True)
    requests = [payload for reply, payload in network.take() if reply == NEW.reply and payload[:2] == b"\0\1"]
    (request,) = requests
    from rtcrelay.rtc import stun

    for transaction, password in ((request[8:20], "wrongpassword0123456789"), (bytes(12), call.ice.password)):
        network.receive(NEW, stun.write_binding_success(transaction, HERE, password))
    network.receive(call.at, stun.write_binding_success(request[8:20], HERE, call.ice.password))  # another path
    path = call.session.link.paths.selected
    assert path is not None
    assert not path.validated
    assert network.drops(Drop.STUN_NOT_A_REQUEST) == 3


def test_a_request_that_is_not_answered_is_sent_again_as_far_as_the_budget_goes(network: Network, call: Caller) -> None:
    call.answers_checks = False
    call.check(NEW, nominate=True)
    for _ in range(10):
        network.pass_time(0.5)
        call.check(NEW)
    assert 3 <= network.count(Count.VALIDATIONS_SENT) <= 12


def test_a_handshake_that_went_to_several_addresses_proves_none_of_them(network: Network, caller: Caller) -> None:
    """The owner could have read it at its own address, and answer with another's as the source."""
    caller.answers_checks = False
    caller.check()
    caller.check(arrival(VICTIM), nominate=True)
    network.pass_time(0.06)
    assert (VICTIM, 22) in [(client_of(reply), payload[0]) for reply, payload in network.sent]
    caller.check(nominate=True)
    caller.pump()
    assert caller.session.is_connected
    path = caller.session.link.paths.find(caller.at.key)
    assert path is not None
    assert path is caller.session.link.paths.selected
    assert not path.validated


def test_the_last_validated_path_is_not_pushed_out_by_new_ones(network: Network, call: Caller) -> None:
    call.answers_checks = False
    call.check(NEW, nominate=True)
    for port in range(1000, 1000 + 2 * MAX_PATHS):
        network.now += 0.01
        call.check(arrival(("198.51.100.9", port)))
    assert call.session.link.paths.find(call.at.key) is not None
    network.take()
    assert call.session.send_opus(b"\xf8" + bytes(1000))
    assert network.take()[-1][0] == call.at.reply
    call.speak()
    assert call.session.link.paths.selected is call.session.link.paths.find(call.at.key)
