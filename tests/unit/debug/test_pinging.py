"""A run of requests in virtual time: who is asked when, what counts, and what it amounts to."""

from __future__ import annotations

import math

import pytest

from rtcrelay.debug import pinging
from rtcrelay.debug.pinging import MAX_BURST, Pinger, PingPlan, Reply
from rtcrelay.debug.stun_probe import Probe
from rtcrelay.rtc import stun

TARGET = ("203.0.113.10", 3478)
ELSEWHERE = ("203.0.113.99", 3478)
MAPPED = ("198.51.100.7", 51234)


class Run:
    """A pinger, a clock, and a server that answers after so many seconds, or not at all."""

    def __init__(self, plan: PingPlan, delays: list[float | None]) -> None:
        self.pinger = Pinger(plan, TARGET)
        self.sent: list[tuple[float, bytes]] = []
        self.replies: list[Reply] = []
        self._delays = delays
        self._answers: list[tuple[float, bytes]] = []

    def go(self, limit: float = 1000.0) -> float:
        now = 0.0
        while (due := self.pinger.poll_timeout()) is not None and now < limit:
            arriving = min(self._answers, default=(math.inf, b""))
            now = max(now, min(due, arriving[0]))
            if arriving[0] <= now:
                self._answers.remove(arriving)
                reply = self.pinger.handle_datagram(arriving[1], TARGET, now)
                self.replies += [reply] if reply else []
                continue
            self.replies += self.pinger.poll_unanswered(now)
            for message in self.pinger.poll_transmit(now):
                delay = self._delays[len(self.sent) % len(self._delays)]
                self.sent.append((now, message))
                if delay is not None:
                    self._answers.append((now + delay, answer(message)))
        return now


def answer(request: bytes, password: str | None = None) -> bytes:
    return stun.write_binding_success(request[8:20], MAPPED, password)


def test_four_requests_go_out_a_second_apart_and_are_timed() -> None:
    run = Run(PingPlan(Probe()), [0.010, 0.020, 0.030, 0.040])
    assert run.go() == pytest.approx(3.040)
    assert [at for at, _ in run.sent] == pytest.approx([0.0, 1.0, 2.0, 3.0])
    tally = run.pinger.tally
    assert (tally.sent, tally.received, tally.loss_percent) == (4, 4, 0.0)
    assert (tally.min_seconds, tally.avg_seconds, tally.max_seconds) == pytest.approx((0.010, 0.025, 0.040))
    assert tally.mdev_seconds == pytest.approx(math.sqrt((15**2 + 5**2) / 2) / 1000)
    assert [reply.number for reply in run.replies] == [1, 2, 3, 4]


def test_what_is_not_answered_in_time_is_lost_and_said() -> None:
    run = Run(PingPlan(Probe(), count=3, interval_seconds=0.1, timeout_seconds=0.5), [0.01, None, 0.9])
    run.go()
    tally = run.pinger.tally
    assert (tally.received, tally.unanswered) == (1, 2)
    assert tally.loss_percent == pytest.approx(200 / 3)
    assert [reply.source for reply in run.replies] == [TARGET, None, None]


def test_rfc_timers_repeat_a_request_seven_times_doubling_the_wait() -> None:
    run = Run(PingPlan(Probe(), count=1, rfc_timers=True), [None])
    assert run.go() == pytest.approx(31.5 + 8.0)
    assert [at for at, _ in run.sent] == pytest.approx([0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5])
    assert len({message for _, message in run.sent}) == 1
    assert (run.pinger.tally.sent, run.pinger.tally.sent_again, run.pinger.tally.unanswered) == (1, 6, 1)


def test_with_rfc_timers_the_next_request_waits_for_the_end_of_the_one_before() -> None:
    run = Run(PingPlan(Probe(), count=2, rfc_timers=True), [None, None, 0.1, 0.1])
    run.go()
    assert [at for at, _ in run.sent] == pytest.approx([0.0, 0.5, 1.5, 1.6])
    assert run.pinger.tally.received == 2


def test_a_second_answer_is_a_duplicate_and_a_stranger_is_ignored() -> None:
    pinger = Pinger(PingPlan(Probe(), count=1), TARGET)
    [request] = pinger.poll_transmit(0.0)
    first, second = (pinger.handle_datagram(answer(request), TARGET, at) for at in (0.1, 0.3))
    assert first is not None
    assert first.is_good
    assert second is not None
    assert second.duplicate
    assert not second.is_good
    assert pinger.tally.duplicates == 1
    assert pinger.handle_datagram(answer(bytes(20)), TARGET, 0.4) is None
    assert pinger.handle_datagram(b"garbage", TARGET, 0.4) is None


def test_a_forged_answer_does_not_end_the_wait_for_the_right_one() -> None:
    pinger = Pinger(PingPlan(Probe(username="s:c", password="right"), count=1), TARGET)
    [request] = pinger.poll_transmit(0.0)
    forged = pinger.handle_datagram(answer(request, "wrong"), TARGET, 0.1)
    elsewhere = pinger.handle_datagram(answer(request, "right"), ELSEWHERE, 0.2)
    right = pinger.handle_datagram(answer(request, "right"), TARGET, 0.3)
    assert [reply.is_good for reply in (forged, elsewhere, right) if reply] == [False, False, True]
    assert (pinger.tally.refused, pinger.tally.received) == (2, 1)


def test_a_clock_that_jumped_makes_no_endless_burst() -> None:
    pinger = Pinger(PingPlan(Probe(), count=None, interval_seconds=0.001), TARGET)
    assert len(list(pinger.poll_transmit(0.0))) == 1
    assert len(list(pinger.poll_transmit(60.0))) == MAX_BURST
    assert len(list(pinger.poll_transmit(60.0))) <= 1


def test_without_a_count_it_goes_on_until_it_is_stopped() -> None:
    pinger = Pinger(PingPlan(Probe(), count=None), TARGET)
    for second in range(100):
        list(pinger.poll_transmit(float(second)))
        list(pinger.poll_unanswered(float(second)))
    assert pinger.tally.sent == 100
    assert len(pinger._waiting) <= 2
    pinger.stop()
    assert pinger.poll_timeout() is None
    assert list(pinger.poll_transmit(200.0)) == []


def test_a_flood_that_nobody_answers_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinging, "_MAX_WAITING", 100)
    pinger = Pinger(PingPlan(Probe(), count=None, interval_seconds=0.001, timeout_seconds=60.0), TARGET)
    given_up = []
    for millisecond in range(1000):
        list(pinger.poll_transmit(millisecond / 1000))
        given_up += [reply.number for reply in pinger.poll_unanswered(millisecond / 1000)]
    assert len(pinger._waiting) == 100
    assert given_up == list(range(1, pinger.tally.sent - 99))
