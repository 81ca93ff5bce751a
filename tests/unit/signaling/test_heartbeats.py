"""What signaling makes of the heartbeats of workers, which share an address."""

from __future__ import annotations

from rtcrelay.signaling.heartbeats import _by_address
from rtcrelay.signaling.steer import TransceiverState
from rtcrelay.store.node_entry import State

HERE, THERE = ("10.0.3.7", 8080), ("10.0.3.8", 8080)


def worker(number: int, sessions: int, state: State = "serving") -> TransceiverState:
    return TransceiverState(f"a-w{number}", HERE, state, sessions, 500)


def test_the_workers_of_an_address_are_one_with_the_room_of_all() -> None:
    other = TransceiverState("b", THERE, "serving", 7, 500)
    one, unchanged = _by_address([worker(0, 10), other, worker(1, 20), worker(2, 30)])
    assert (one.address, one.state, one.sessions, one.max_sessions) == (HERE, "serving", 60, 1500)
    assert unchanged == other


def test_workers_that_take_no_calls_add_no_room() -> None:
    (one,) = _by_address([worker(0, 10, "draining"), worker(1, 20), worker(2, 30, "cordoned")])
    assert (one.state, one.sessions, one.max_sessions) == ("serving", 20, 500)
    (none,) = _by_address([worker(0, 10, "draining"), worker(1, 20, "draining")])
    assert not none.has_room
