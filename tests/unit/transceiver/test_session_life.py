"""Limits of a session, and the line that the log has about it at its end."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from rtcrelay.daemon import _JsonFormatter
from rtcrelay.transceiver.counters import Drop, End
from rtcrelay.transceiver.report import describe_session

from .network import Caller, Network

WORD, SILENCE = b"\xf8a word", b"\xf8"


def speaking(network: Network, caller: Caller, seconds: int, payload: bytes) -> None:
    for _ in range(seconds * 2):
        network.pass_time(0.5)
        caller.speak(payload)
        caller.check()


@pytest.fixture
def idle(tmp_path: Path) -> Caller:
    caller = Caller(Network.make(tmp_path, backend="null", max_idle_seconds=60.0))
    caller.connect()
    return caller


def test_a_session_in_which_nobody_says_anything_ends(idle: Caller) -> None:
    speaking(idle.network, idle, 100, WORD)
    assert idle.session.end is None
    speaking(idle.network, idle, 59, SILENCE)
    assert idle.session.end is None
    idle.network.pass_time(2)
    assert idle.session.end is End.IDLE


def test_a_backend_that_speaks_keeps_its_session(tmp_path: Path) -> None:
    caller = Caller(Network.make(tmp_path, backend="tone", max_idle_seconds=10.0))
    caller.connect()
    speaking(caller.network, caller, 30, SILENCE)
    assert caller.session.end is None


def test_without_a_limit_silence_may_last(tmp_path: Path) -> None:
    caller = Caller(Network.make(tmp_path, backend="null"))
    caller.connect()
    speaking(caller.network, caller, 600, SILENCE)
    assert caller.session.end is None


def test_what_is_over_the_bit_rate_is_dropped_and_counted(tmp_path: Path) -> None:
    caller = Caller(Network.make(tmp_path, backend="null", max_bit_rate=64_000))
    caller.connect()
    network = caller.network
    for _ in range(500):  # 10 s at 160 kb/s
        network.pass_time(0.02)
        caller.speak(b"\xf8" + bytes(399))
    taken = caller.session.media.bytes_in * 8 / 10
    assert 60_000 < taken < 75_000
    assert network.drops(Drop.OVER_BIT_RATE) == 500 - caller.session.media.packets_in
    before = caller.session.media.packets_in
    network.pass_time(2)
    for _ in range(100):  # an ordinary voice, at 40 kb/s
        network.pass_time(0.02)
        caller.speak(b"\xf8" + bytes(99))
    assert caller.session.media.packets_in == before + 100


def test_the_log_has_one_line_of_json_about_each_session(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    network = call.network
    for _ in range(20):
        network.pass_time(0.02)
        call.speak()
    call.session.close(End.DELETED, network.now)
    (record,) = [record for record in caplog.records if "ended" in record.getMessage()]
    line = json.loads(_JsonFormatter().format(record))
    assert (line["event"], line["kind"], line["reason"], line["id"]) == (
        "session_ended",
        "session_ended",
        "deleted",
        call.session.id,
    )
    assert (line["rtp_packets_in"], line["rtp_packets_out"]) == (20, 20)
    assert line["client"] == "198.51.100.7:51234"
    assert 0 <= line["first_check_ms"] <= line["keys_ms"] <= line["dtls_ms"] <= line["first_rtp_in_ms"]
    assert line["age_s"] == pytest.approx(0.4, abs=0.05)
    assert call.answer.ice.password not in json.dumps(line)
    assert line["ear_lost_packets"] is None, "echo takes packets"


def test_what_was_lost_and_made_up_on_the_way_to_samples_is_shown_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    network = Network.make(tmp_path, backend="pcm-echo")
    call = Caller(network)
    call.connect()
    for number in range(40):
        network.pass_time(0.02)
        call.lose() if number in (10, 11, 25) else call.speak()
    row = describe_session(call.session, "test", network.now)
    assert row["ear_lost_packets"] == 3
    assert row["ear_recovered_packets"] == 2, "the one before each packet that came again"
    assert row["ear_late_packets"] == 0
    call.session.close(End.DELETED, network.now)
    (record,) = [record for record in caplog.records if "ended" in record.getMessage()]
    line = json.loads(_JsonFormatter().format(record))
    heard = {name: value for name, value in row.items() if name.startswith("ear_")}
    assert len(heard) == 6
    assert heard == {name: line[name] for name in heard}
