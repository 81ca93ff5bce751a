"""Packets sent again to a socket of ours on loopback: from whom, when, how many, how fast."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from rtcrelay.debug import replaying
from rtcrelay.debug.replay_source import Replayed
from rtcrelay.debug.replaying import Limits, Pace, Replay, ReplayTally, Sockets, again
from rtcrelay.errors import DataError
from rtcrelay.rtc import stun

A, B = ("198.51.100.7", 1), ("198.51.100.8", 2)
LOCAL = ("127.0.0.1", 0)


def packets(count: int, step_ns: int = 1_000_000) -> list[Replayed]:
    return [
        Replayed(n * step_ns, (A, B)[n % 2], b"\x80\x60" + n.to_bytes(4, "big") + bytes(20), "rtp")
        for n in range(count)
    ]


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(LOCAL)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_194_304)
        bound.settimeout(5)
        yield bound


def run(
    sink: socket.socket, sent: list[Replayed], pace: Pace, limits: Limits | None = None
) -> tuple[ReplayTally, list[tuple[bytes, tuple[str, int]]]]:
    """The tally, and what arrived."""
    tally = ReplayTally()
    sockets = Sockets(sink.getsockname(), lambda source: LOCAL, tally)
    try:
        Replay(lambda: sent, sockets, tally).run(pace, limits or Limits())
    finally:
        sockets.close()
    return tally, [sink.recvfrom(2000) for _ in range(tally.packets)]


@pytest.mark.parametrize(
    "pace", [Pace(top_speed=True), Pace(packets_per_second=2000), Pace(multiplier=10)], ids=["top", "rate", "times"]
)
def test_each_source_has_a_socket_of_its_own_and_order_is_kept(sink: socket.socket, pace: Pace) -> None:
    sent = packets(100)
    tally, arrived = run(sink, sent, pace)
    assert [payload for payload, _ in arrived] == [packet.payload for packet in sent]
    ports = {packet.source: source for packet, (_, source) in zip(sent, arrived, strict=True)}
    assert len(set(ports.values())) == 2
    assert {source: mine.local for source, mine in tally.sources.items()} == ports
    assert (tally.packets, tally.bytes, tally.loops) == (100, 2600, 1)
    assert [tally.sources[source].packets for source in (A, B)] == [50, 50]


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [(Pace(multiplier=1.0), 0.2), (Pace(multiplier=4.0), 0.05), (Pace(packets_per_second=100), 0.2)],
)
def test_packets_go_at_their_times(sink: socket.socket, pace: Pace, seconds: float) -> None:
    tally, _ = run(sink, packets(21, 10_000_000), pace)
    assert seconds - 0.001 <= tally.seconds < seconds + tally.latest_seconds + 0.05


@pytest.mark.parametrize("pace", [Pace(top_speed=True), Pace(packets_per_second=5000)], ids=["top", "rate"])
@pytest.mark.parametrize(
    ("limits", "count"), [(Limits(packets=7), 7), (Limits(loops=3), 30), (Limits(packets=25, loops=None), 25)]
)
def test_limits_end_it(sink: socket.socket, pace: Pace, limits: Limits, count: int) -> None:
    assert run(sink, packets(10), pace, limits)[0].packets == count


def test_a_duration_ends_it_in_the_middle_of_a_pause(sink: socket.socket) -> None:
    began = time.monotonic()
    tally, _ = run(sink, packets(2, 60 * 10**9), Pace(multiplier=1.0), Limits(seconds=0.1))
    assert tally.packets == 1
    assert time.monotonic() - began < 5


def test_answers_are_counted_by_their_transactions(sink: socket.socket) -> None:
    requests = [Replayed(n, A, stun.write_message(1, n.to_bytes(12, "big"), []), "stun") for n in range(4)]
    tally = ReplayTally()
    sockets = Sockets(sink.getsockname(), lambda source: LOCAL, tally)
    replay = Replay(lambda: requests, sockets, tally)
    replay.run(Pace(top_speed=True), Limits())
    for _ in range(4):
        request, source = sink.recvfrom(2000)
        transaction = request[8:20]
        if transaction[-1] != 3:
            for _ in range(2):  # a second answer is a reply, and answers nothing
                sink.sendto(stun.write_binding_success(transaction, source, None), source)
    replay.wait(0.1)
    sockets.close()
    assert (tally.requests, tally.answered, tally.replies) == (4, 3, 6)
    assert tally.sources[A].replies == 6


def test_a_closed_port_is_told_and_ends_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(LOCAL)
        target = gone.getsockname()
    tally = ReplayTally()
    sockets = Sockets(target, lambda source: LOCAL, tally)
    Replay(lambda: packets(2000), sockets, tally).run(Pace(top_speed=True), Limits())
    sockets.close()
    assert tally.packets + tally.refused == 2000
    assert tally.troubles["connection refused"] > 0


def test_a_stream_is_read_once_for_many_loops_if_it_is_not_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def read() -> Iterator[Replayed]:
        reads.append(1)
        yield from packets(5)

    kept = again(read)
    assert (list(kept()), list(kept()), len(reads)) == (packets(5), packets(5), 1)
    monkeypatch.setattr(replaying, "PRELOADED_PACKETS", 4)
    with pytest.raises(DataError, match="over 4 packets"):
        again(read)


def test_a_long_capture_at_top_speed_goes_in_parts(sink: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "PRELOADED_PACKETS", 16)
    tally, arrived = run(sink, packets(50), Pace(top_speed=True), Limits(loops=2))
    assert (tally.packets, tally.loops) == (100, 2)
    assert [payload for payload, _ in arrived] == [packet.payload for packet in packets(50)] * 2
