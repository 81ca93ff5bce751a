"""The controlling agent, against a server made of the STUN codec and a clock made of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from rtcrelay._dataplane import StunMessage, read_stun
from rtcrelay.client.ice import CONSENT_LIMIT_SECONDS, SETUP_LIMIT_SECONDS, IceAgent
from rtcrelay.rtc import stun

if TYPE_CHECKING:  # an alias of the stub, not of the module
    from rtcrelay._dataplane import Address

VIP: Address = ("198.51.100.1", 3478)
OTHER: Address = ("198.51.100.2", 3478)
CLIENT: Address = ("203.0.113.9", 50_000)


@dataclass
class Server:
    """Answers checks with its password, and remembers them."""

    agent: IceAgent
    seen: list[tuple[float, StunMessage, Address]] = field(default_factory=list)

    def take(self, now: float) -> list[tuple[bytes, StunMessage, Address]]:
        """What the agent wants to send."""
        taken = []
        while (sent := self.agent.poll_transmit()) is not None:
            message = read_stun(sent[0])
            assert message is not None
            self.seen.append((now, message, sent[1]))
            taken.append((sent[0], message, sent[1]))
        return taken

    def answer(self, now: float, password: str = "server-password-22-chars") -> None:
        """Answers everything the agent sent."""
        for _, message, remote in self.take(now):
            if message.kind == stun.BINDING_REQUEST:
                response = stun.write_binding_success(message.transaction, CLIENT, password)
                self.agent.handle_datagram(response, remote, now)

    def run(self, start: float, end: float, *, answering: bool = True) -> None:
        """Lets the timers of a span of time expire."""
        while (due := self.agent.poll_timeout()) is not None and due <= end:
            self.agent.handle_timer(max(due, start))
            if answering:
                self.answer(max(due, start))
            else:
                self.take(max(due, start))


def started(interval: float | None = 2.5, remotes: tuple[Address, ...] = (VIP,)) -> tuple[IceAgent, Server]:
    agent = IceAgent("client", "client-password-22-chars", check_interval_seconds=interval)
    agent.start("server", "server-password-22-chars", list(remotes), 0.0)
    return agent, Server(agent)


def uses_candidate(message: StunMessage) -> bool:
    return any(number == stun.Attribute.USE_CANDIDATE for number, _, _ in message.attributes)


def test_the_first_check_leaves_at_once_and_carries_the_servers_ufrag_first() -> None:
    _, server = started()
    [(data, message, remote)] = server.take(0.0)
    assert remote == VIP
    assert stun.split_username(message) == (b"server", b"client")
    assert stun.verified_attributes(data, message, b"server-password-22-chars") is not None
    assert not stun.fingerprint_is_wrong(data, message)
    assert not uses_candidate(message)


def test_every_candidate_of_the_answer_is_checked() -> None:
    _, server = started(remotes=(VIP, OTHER))
    assert [remote for _, _, remote in server.take(0.0)] == [VIP, OTHER]


def test_unanswered_checks_are_repeated_as_browsers_do() -> None:
    _, server = started()
    server.take(0.0)
    server.run(0.0, 3.0, answering=False)
    assert [at for at, _, _ in server.seen] == pytest.approx([0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.8, 2.8])
    assert len({message.transaction for _, message, _ in server.seen}) == 8


def test_the_candidate_that_answers_is_selected_and_nominated_at_once() -> None:
    agent, server = started(remotes=(VIP, OTHER))
    checks = server.take(0.0)
    other = next(message for _, message, remote in checks if remote == OTHER)
    response = stun.write_binding_success(other.transaction, CLIENT, "server-password-22-chars")
    assert agent.handle_datagram(response, OTHER, 0.03)
    assert agent.selected == OTHER
    assert agent.round_trip_seconds == pytest.approx(0.03)
    [(_, nomination, remote)] = server.take(0.03)
    assert remote == OTHER
    assert uses_candidate(nomination)


def test_a_lost_nomination_is_repeated() -> None:
    agent, server = started()
    [(_, check, _)] = server.take(0.0)
    agent.handle_datagram(stun.write_binding_success(check.transaction, CLIENT, "server-password-22-chars"), VIP, 0.01)
    server.take(0.01)
    server.run(0.01, 0.35, answering=False)
    assert [at for at, message, _ in server.seen if uses_candidate(message)] == pytest.approx([0.01, 0.11, 0.21, 0.31])


def test_consent_is_checked_every_two_and_a_half_seconds() -> None:
    _, server = started()
    server.answer(0.0)
    server.answer(0.0)
    server.run(0.0, 8.0)
    assert [at for at, _, _ in server.seen] == pytest.approx([0, 0, 2.5, 5.0, 7.5])


def test_a_client_that_never_checks_again_sends_nothing_after_its_nomination() -> None:
    agent, server = started(interval=None)
    server.answer(0.0)
    server.answer(0.0)
    assert agent.poll_timeout() is None


def test_checks_come_faster_once_one_was_not_answered() -> None:
    _, server = started()
    server.answer(0.0)
    server.answer(0.0)
    server.run(0.0, 7.1, answering=False)
    assert [at for at, _, _ in server.seen][2:] == pytest.approx([2.5, 5.0, 5.5, 6.0, 6.5, 7.0])


def nominated(remotes: tuple[Address, ...], **options: bool) -> tuple[IceAgent, Server]:
    """An agent that uses the first of these addresses, at 0.0."""
    agent = IceAgent("client", "client-password-22-chars", **options)
    agent.start("server", "server-password-22-chars", list(remotes), 0.0)
    server = Server(agent)
    server.answer(0.0)
    server.answer(0.0)
    assert agent.selected == remotes[0]
    server.seen.clear()
    return agent, server


def test_an_answer_that_does_not_come_has_the_other_candidate_checked_and_the_first_that_answers_is_nominated() -> None:
    agent, server = nominated((VIP, OTHER))
    server.run(0.0, 3.0, answering=False)
    assert [(at, remote) for at, _, remote in server.seen] == [(2.5, VIP), (3.0, VIP), (3.0, OTHER)]
    (check,) = (message for _, message, remote in server.seen if remote == OTHER)
    assert not uses_candidate(check)
    assert agent.selected == VIP
    agent.handle_datagram(stun.write_binding_success(check.transaction, CLIENT, "server-password-22-chars"), OTHER, 3.2)
    assert agent.selected == OTHER
    [(_, nomination, remote)] = server.take(3.2)
    assert remote == OTHER
    assert uses_candidate(nomination)


def test_with_two_candidates_an_address_that_answers_is_checked_as_often_as_with_one() -> None:
    agent, server = nominated((VIP, OTHER))
    server.run(0.0, 8.0)
    assert [(at, remote) for at, _, remote in server.seen] == [(2.5, VIP), (5.0, VIP), (7.5, VIP)]
    assert agent.selected == VIP


def test_a_late_answer_of_another_candidate_moves_nothing_while_the_selected_one_answers() -> None:
    agent, server = started(remotes=(VIP, OTHER))
    first, second = server.take(0.0)
    for (_, check, remote), at in ((first, 0.1), (second, 0.2)):
        answer = stun.write_binding_success(check.transaction, CLIENT, "server-password-22-chars")
        agent.handle_datagram(answer, remote, at)
    assert agent.selected == VIP


def test_an_address_that_answers_again_in_time_stays_selected() -> None:
    agent, server = nominated((VIP, OTHER))
    server.run(0.0, 2.5, answering=False)
    agent.handle_timer(3.0)
    to_vip, to_other = server.take(3.0)
    for (_, check, remote), at in ((to_vip, 3.1), (to_other, 3.2)):
        answer = stun.write_binding_success(check.transaction, CLIENT, "server-password-22-chars")
        agent.handle_datagram(answer, remote, at)
    assert agent.selected == VIP


def test_who_nominates_once_stays_with_his_candidate() -> None:
    agent, server = nominated((VIP, OTHER), nominates_again=False)
    server.run(0.0, 10.0, answering=False)
    assert {remote for _, _, remote in server.seen} == {VIP}
    assert agent.selected == VIP


def test_after_a_move_the_pair_is_nominated_again_at_once() -> None:
    agent, server = started()
    server.answer(0.0)
    server.answer(0.0)
    agent.handle_moved(1.0)
    [(_, nomination, _)] = server.take(1.0)
    assert uses_candidate(nomination)
    server.run(1.0, 1.25, answering=False)
    assert [at for at, _, _ in server.seen][2:] == pytest.approx([1.0, 1.1, 1.2])


def test_no_answer_at_all_is_a_failure_after_fifteen_seconds() -> None:
    agent, server = started()
    server.run(0.0, SETUP_LIMIT_SECONDS + 2, answering=False)
    assert agent.failed
    assert agent.poll_timeout() is None


def test_consent_ends_thirty_seconds_after_the_last_answer() -> None:
    agent, server = started()
    server.answer(0.0)
    server.answer(0.0)
    server.run(0.0, CONSENT_LIMIT_SECONDS - 1, answering=False)
    assert not agent.failed
    server.run(0.0, CONSENT_LIMIT_SECONDS + 1, answering=False)
    assert agent.failed


@pytest.mark.parametrize("case", ["wrong password", "wrong source", "unknown transaction", "no integrity", "twice"])
def test_a_response_that_is_not_ours_changes_nothing(case: str) -> None:
    agent, server = started()
    [(_, check, _)] = server.take(0.0)
    transaction = bytes(12) if case == "unknown transaction" else check.transaction
    password = {"wrong password": "wrong-password-22-chars", "no integrity": None}.get(case, "server-password-22-chars")
    response = stun.write_binding_success(transaction, CLIENT, password)
    if case == "twice":
        agent.handle_datagram(response, VIP, 0.01)
    before = agent.counts.answered
    assert not agent.handle_datagram(response, OTHER if case == "wrong source" else VIP, 0.01)
    assert agent.counts.answered == before
    assert agent.counts.refused == 1


def test_the_servers_path_validation_is_answered_to_where_it_came_from() -> None:
    agent, server = started()
    server.take(0.0)
    check = stun.IceCheck(priority=1, controlling=False, tie_breaker=bytes(8))
    request = stun.write_binding_request(bytes(12), "client:server", "client-password-22-chars", check)
    assert agent.handle_datagram(request, OTHER, 1.0)
    [(data, response, remote)] = server.take(1.0)
    assert remote == OTHER
    assert response.kind == stun.BINDING_SUCCESS
    assert stun.mapped_address(response) == OTHER
    assert stun.verified_attributes(data, response, b"client-password-22-chars") is not None
    assert agent.counts.validations == 1


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("client:server", "wrong-password-22-chars"),
        ("somebody:server", "client-password-22-chars"),
        ("client:somebody", "client-password-22-chars"),
        ("client", "client-password-22-chars"),
    ],
)
def test_a_check_with_wrong_credentials_is_not_answered(username: str, password: str) -> None:
    agent, server = started()
    server.take(0.0)
    check = stun.IceCheck(priority=1, controlling=False, tie_breaker=bytes(8))
    assert not agent.handle_datagram(stun.write_binding_request(bytes(12), username, password, check), VIP, 1.0)
    assert server.take(1.0) == []
    assert agent.counts.refused == 1


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(20), b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)])
def test_nonsense_is_refused(data: bytes) -> None:
    agent, server = started()
    server.take(0.0)
    assert not agent.handle_datagram(data, VIP, 1.0)
    assert server.take(1.0) == []


def test_an_ice_restart_checks_with_both_new_credentials_at_once_and_keeps_the_pair() -> None:
    agent, server = started()
    server.run(0.0, 5.0)
    server.take(5.0)
    agent.restart("anew", "new-client-password-chars", "server2", "new-server-password-chars", 5.0)
    assert agent.selected == VIP
    [(data, message, remote)] = server.take(5.0)
    assert remote == VIP
    assert stun.split_username(message) == (b"server2", b"anew")
    assert uses_candidate(message)
    assert stun.verified_attributes(data, message, b"new-server-password-chars") is not None
    answered = agent.counts.answered
    response = stun.write_binding_success(message.transaction, CLIENT, "server-password-22-chars")
    assert not agent.handle_datagram(response, VIP, 5.01)  # with the old password
    response = stun.write_binding_success(message.transaction, CLIENT, "new-server-password-chars")
    assert agent.handle_datagram(response, VIP, 5.02)
    assert agent.counts.answered == answered + 1
