"""Backends in whole calls: what they may do, and that one that fails ends its own session and no other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from rtcrelay.transceiver.audio import OpusPacket
from rtcrelay.transceiver.backends import BaseBackend, Call, Message
from rtcrelay.transceiver.counters import Count, End
from rtcrelay.transceiver.transceiver import OverloadedError

from .network import Caller, Network, arrival


class Broken(BaseBackend):
    """Raises where it is told to."""

    where = ""

    def __init__(self, call: Call) -> None:
        self.call = call
        if self.where == "frame":
            call.start_frames(lambda number: self.fail("frame"))

    def fail(self, where: str) -> None:
        if where == self.where:
            raise RuntimeError(f"broken in {where}")

    def on_opus(self, packet: OpusPacket) -> None:
        self.fail("opus")

    def on_message(self, channel: int, label: str, message: Message) -> None:
        self.fail("message")

    def on_close(self) -> None:
        self.fail("close")


def use(network: Network, backend: Callable[[Call], BaseBackend]) -> None:
    network.transceiver.make_backend = backend


def caller_from(network: Network, port: int) -> Caller:
    caller = Caller(network)
    caller.at = arrival(("198.51.100.7", port))
    caller.addresses = {("198.51.100.7", port)}
    caller.connect()
    return caller


def broken(place: str) -> type[Broken]:
    return type("Broken", (Broken,), {"where": place})


@pytest.mark.parametrize("where", ["opus", "frame"])
def test_a_backend_that_raises_ends_its_own_session_and_no_other(
    network: Network, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    healthy = caller_from(network, 1001)
    use(network, broken(where))
    sick = caller_from(network, 1002)
    if where == "opus":
        sick.speak()
    network.pass_time(0.05)
    assert sick.session.end is End.BACKEND_FAILED
    assert network.transceiver.counters.ends[End.BACKEND_FAILED] == 1
    assert network.count(Count.BACKEND_FAILURES) == 1
    assert "broken in" in caplog.text
    sick.pump()
    assert sick.dtls.end is not None
    healthy.speak()
    healthy.pump()
    assert len(healthy.media) == 1
    assert list(network.transceiver.sessions()) == [healthy.session]


def test_a_backend_that_raises_while_it_is_closed_is_counted(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    use(network, broken("close"))
    caller = caller_from(network, 1001)
    caller.session.close(End.DELETED, network.now)
    assert network.count(Count.BACKEND_FAILURES) == 1
    assert caller.session.end is End.DELETED
    assert network.transceiver.session_count == 0


@pytest.mark.parametrize("how", ["hang up", "raise"])
def test_a_backend_that_gives_up_while_it_is_made_refuses_the_offer(network: Network, how: str) -> None:
    closed: list[str] = []

    class Busy(BaseBackend):
        def __init__(self, call: Call) -> None:
            call.start_frames(lambda number: closed.append("a frame"))
            if how == "raise":
                raise RuntimeError("no line to the model")
            call.hang_up()

        def on_close(self) -> None:
            closed.append("closed")

    use(network, Busy)
    with pytest.raises(OverloadedError, match="takes none now"):
        Caller(network)
    assert network.transceiver.session_count == 0
    assert network.transceiver.timers.poll_timeout() is None
    assert closed == (["closed"] if how == "hang up" else [])
    assert network.count(Count.BACKEND_FAILURES) == (how == "raise")


def test_a_backend_can_hang_up(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    class Brief(BaseBackend):
        def __init__(self, call: Call) -> None:
            self.call = call

        def on_opus(self, packet: OpusPacket) -> None:
            self.call.hang_up()
            assert not self.call.send_opus(b"\xf8late")

    use(network, Brief)
    caller = caller_from(network, 1001)
    caller.speak()
    assert caller.session.end is End.BACKEND_ENDED
    assert "backend_ended" in caplog.text
    caller.pump()
    assert caller.dtls.end is not None


def test_a_tone_begins_with_the_keys_and_ends_with_the_session(tmp_path: Path) -> None:
    network = Network.make(tmp_path, backend="tone")
    caller = Caller(network)
    network.pass_time(1.0)
    assert network.count(Count.RTP_OUT) == 0
    caller.connect()
    network.pass_time(1.0)
    caller.pump()
    assert len(caller.media) in (50, 51)
    steps = {(b.timestamp - a.timestamp) % 2**32 for a, b in zip(caller.media, caller.media[1:], strict=False)}
    assert steps == {960}
    assert [packet.marker for packet in caller.media].count(True) == 1
    caller.session.close(End.DELETED, network.now)
    sent = network.count(Count.RTP_OUT)
    network.pass_time(1.0)
    assert network.count(Count.RTP_OUT) == sent


def test_all_sessions_that_speak_share_one_place_among_the_timers(tmp_path: Path) -> None:
    network = Network.make(tmp_path, backend="tone")
    callers = [caller_from(network, 1000 + index) for index in range(20)]
    network.pass_time(0.5)
    assert len(network.transceiver.timers._armed) == len(callers) + 1
    assert {caller.session.media.reports.sent_packets for caller in callers} <= set(range(25, 45))


def test_the_client_is_asked_for_silence_if_nobody_listens(tmp_path: Path) -> None:
    for backend, asked in (("null", True), ("tone", True), ("echo", False)):
        directory = tmp_path / backend
        directory.mkdir()
        answer = Caller(Network.make(directory, backend=backend)).accepted.answer
        assert ("usedtx=1" in answer) is asked
        assert "useinbandfec=1" in answer


def test_a_replaced_frame_function_is_the_one_that_is_called(network: Network) -> None:
    called: list[str] = []

    class Changing(BaseBackend):
        def __init__(self, call: Call) -> None:
            call.start_frames(lambda number: called.append("first"))
            call.start_frames(lambda number: called.append("second"))

    use(network, Changing)
    caller_from(network, 1001)
    network.pass_time(0.1)
    assert set(called) == {"second"}
    assert len(called) in (5, 6)


def test_silence_that_need_not_be_sent_is_no_failure_to_send(network: Network) -> None:
    class Quiet(Caller):
        def offer(self, fingerprint: object) -> str:
            return super().offer(fingerprint).replace("useinbandfec=1", "useinbandfec=1;usedtx=1")

    caller = Quiet(network)
    assert "usedtx=1" in caller.accepted.answer
    caller.connect()
    sent = [network.session.send_opus(payload) for payload in (b"\xf8word", b"\xf8", b"\xf8", b"\xf8", b"\xf8word")]
    caller.pump()
    assert sent == [True] * 5
    assert [packet.payload for packet in caller.media] == [b"\xf8word", b"\xf8", b"\xf8word"]
