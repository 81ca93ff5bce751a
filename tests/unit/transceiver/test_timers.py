"""The deadlines of many sessions in one heap."""

from __future__ import annotations

from rtcrelay.transceiver.timers import SESSIONS_PER_TURN, Timers


class Thing:
    """Wants to be called at a time, and again after each call."""

    def __init__(self, at: float, every: float = 10.0) -> None:
        self.at, self.every = at, every
        self.calls: list[float] = []

    def poll_timeout(self, now: float) -> float:
        return self.at

    def handle_timeout(self, now: float) -> None:
        self.calls.append(now)
        self.at = now + self.every


def test_things_are_called_when_they_asked_for_it() -> None:
    timers, early, late = Timers(), Thing(1.0), Thing(2.0)
    timers.arm(late, 0.0)
    timers.arm(early, 0.0)
    assert timers.poll_timeout() == 1.0
    timers.handle_timeout(0.9)
    assert (early.calls, late.calls) == ([], [])
    timers.handle_timeout(1.5)
    assert (early.calls, late.calls) == ([1.5], [])
    assert timers.poll_timeout() == 2.0


def test_a_deadline_that_moved_into_the_future_is_looked_at_when_it_was_due() -> None:
    timers, thing = Timers(), Thing(1.0)
    timers.arm(thing, 0.0)
    thing.at = 5.0
    timers.arm(thing, 0.5)
    assert timers.poll_timeout() == 1.0


def test_a_deadline_that_came_nearer_is_kept() -> None:
    timers, thing = Timers(), Thing(5.0)
    timers.arm(thing, 0.0)
    thing.at = 1.0
    timers.arm(thing, 0.0)
    timers.handle_timeout(1.0)
    timers.handle_timeout(5.0)
    assert thing.calls == [1.0]


def test_what_is_forgotten_is_not_called() -> None:
    timers, thing = Timers(), Thing(1.0)
    timers.arm(thing, 0.0)
    timers.forget(thing)
    timers.handle_timeout(2.0)
    assert thing.calls == []
    assert timers.poll_timeout() is None


def test_what_is_forgotten_is_not_kept_alive() -> None:
    timers = Timers()
    for number in range(10_000):
        thing = Thing(1000.0 + number)
        timers.arm(thing, 0.0)
        thing.at = 500.0
        timers.arm(thing, 0.0)
        timers.forget(thing)
    assert len(timers._heap) < 100
    assert all(entry.timed is None for entry in timers._heap)


def test_what_forgets_itself_while_it_is_called_is_not_called_again() -> None:
    timers = Timers()

    class Last(Thing):
        def handle_timeout(self, now: float) -> None:
            super().handle_timeout(now)
            timers.forget(self)

    last = Last(1.0, every=0.0)
    timers.arm(last, 0.0)
    timers.handle_timeout(1.0)
    timers.handle_timeout(2.0)
    assert last.calls == [1.0]


def test_a_deadline_in_the_past_does_not_turn_for_ever() -> None:
    timers, thing = Timers(), Thing(0.0, every=-1.0)
    timers.arm(thing, 10.0)
    timers.handle_timeout(10.5)
    assert thing.calls == [10.5]


def test_the_work_of_one_turn_is_bounded() -> None:
    timers = Timers()
    things = [Thing(1.0) for _ in range(3 * SESSIONS_PER_TURN)]
    for thing in things:
        timers.arm(thing, 0.0)
    timers.handle_timeout(1.0)
    assert sum(len(thing.calls) for thing in things) == SESSIONS_PER_TURN
    assert timers.poll_timeout() == 1.0
