"""New sessions are refused when there is no room for them, and room is judged by what is late now."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcrelay.metrics.families import Histogram
from rtcrelay.transceiver.admission import WINDOW_SECONDS, Admission
from rtcrelay.transceiver.transceiver import OverloadedError

from .network import Caller, Network


class Process:
    def __init__(self) -> None:
        self.now = 100.0
        self.lateness, self.lag = Histogram(), Histogram()
        self.admission = Admission(self.lateness, self.now)
        self.admission.watch_lag(self.lag, self.now)

    def run(self, seconds: float, *, late: float = 0.001, lag: float = 0.001, part: float = 1.0) -> None:
        """50 sessions' frames and the loop's samples; ``part`` of them are as late as that."""
        for step in range(round(seconds * 10)):
            self.now += 0.1
            slow = step % 100 < 100 * part
            for _ in range(250):
                self.lateness.observe(late if slow else 0.001)
            self.lag.observe(lag if slow else 0.001)
            self.admission.handle_time(self.now)

    @property
    def refusal(self) -> str | None:
        return self.admission.refusal(1, 10)


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_process_in_time_takes_sessions_up_to_the_limit(process: Process) -> None:
    process.run(20, late=0.015, lag=0.04)
    assert process.refusal is None
    assert process.admission.loads(5, 10) == {"sessions": 0.5, "event_loop_lag": 0.0, "frame_lateness": 0.0}
    assert process.admission.refusal(10, 10) == "this transceiver has as many calls as it takes"


def test_late_frames_refuse_and_are_forgotten_when_they_are_over(process: Process) -> None:
    process.run(5, late=0.03)
    assert process.refusal is not None
    assert "sound" in process.refusal
    process.run(2 * WINDOW_SECONDS + 0.2)
    assert process.refusal is None


def test_a_late_loop_refuses(process: Process) -> None:
    process.run(5, lag=0.2)
    assert process.refusal is not None
    assert "packets" in process.refusal


def test_one_pause_of_the_process_refuses_nobody(process: Process) -> None:
    process.run(10)
    process.run(0.1, late=0.3, lag=0.3)
    assert process.refusal is None
    assert 0 < process.admission.loads(0, 1)["frame_lateness"] < 1


def test_few_samples_say_nothing() -> None:
    process = Process()
    process.lateness.observe(0.5)
    process.lag.observe(0.5)
    assert process.refusal is None


def test_a_transceiver_that_is_late_refuses_an_offer(network: Network) -> None:
    Caller(network)
    for _ in range(1000):
        network.transceiver.frame_clock.lateness.observe(0.05)
    assert network.transceiver.loads()["frame_lateness"] == 20.0
    with pytest.raises(OverloadedError, match="too late with its sound"):
        Caller(network)


def test_the_limit_of_sessions_is_a_load(tmp_path: Path) -> None:
    network = Network.make(tmp_path, max_sessions=4)
    Caller(network)
    assert network.transceiver.loads()["sessions"] == 0.25
