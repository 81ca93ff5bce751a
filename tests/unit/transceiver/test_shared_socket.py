"""The socket: headers, trust, lengths, and a kernel that refuses."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rtcrelay._dataplane import SppHeader, pack_spp
from rtcrelay.errors import BackendError, ExitStatus
from rtcrelay.transceiver.counters import Count, Counters, Drop, End
from rtcrelay.transceiver.paths import Arrival, Reply
from rtcrelay.transceiver.service import _open_media
from rtcrelay.transceiver.shared_socket import DATAGRAMS_PER_TURN, SharedSocket
from rtcrelay.transceiver.transceiver import Transceiver

from .network import Caller, Network, key_file, settings

LOOPBACK = ("127.0.0.1", 0)
HEADER = pack_spp(SppHeader(("198.51.100.7", 51234), ("127.0.0.1", 3479)))
KEY = ("198.51.100.7", 51234, 3479)


class Box:
    """A shared socket, and what it received."""

    def __init__(self, relays: tuple[str, ...] | None, known: bool = True) -> None:
        self.counters = Counters()
        self.received: list[tuple[Arrival, bytes]] = []
        self.socket = SharedSocket(
            self.counters,
            lambda arrival, payload, now: self.received.append((arrival, payload)),
            lambda key: known,
            relays,
        )
        self.address = self.socket.open(LOOPBACK, asyncio.get_running_loop())

    async def until(self, datagrams: int) -> None:
        """Lets the loop read until so many datagrams were counted or dropped."""
        async with asyncio.timeout(5):
            while self.counters.counts[Count.DATAGRAMS_IN] + self.drops(Drop.UNTRUSTED_SOURCE) < datagrams:  # noqa: ASYNC110
                await asyncio.sleep(0)  # a turn of the loop, not time

    def drops(self, reason: Drop) -> int:
        return self.counters.drops[reason]


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    box = Box(("127.0.0.0/8",))
    yield box
    box.socket.close()


@pytest.fixture
def relay() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(LOOPBACK)
        yield relay


async def test_the_header_is_read_and_the_payload_passed_on(box: Box, relay: socket.socket) -> None:
    relay.sendto(HEADER + b"payload", box.address)
    await box.until(1)
    assert box.received == [(Arrival(KEY, Reply(HEADER, relay.getsockname())), b"payload")]
    assert box.counters.counts[Count.BYTES_IN] == len(b"payload")


async def test_the_header_goes_back_as_it_came(box: Box, relay: socket.socket) -> None:
    relay.sendto(HEADER + b"payload", box.address)
    await box.until(1)
    box.socket.send(box.received[0][0].reply, b"answer")
    box.socket.send(box.received[0][0].reply, b"")
    assert relay.recv(2048) == HEADER + b"answer"
    assert relay.recv(2048) == HEADER


async def test_the_same_header_from_another_relay_is_answered_there(box: Box, relay: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(LOOPBACK)
        for sender in (relay, other, relay):
            sender.sendto(HEADER + b"payload", box.address)
        await box.until(3)
        destinations = [arrival.reply.destination for arrival, _ in box.received]
        assert destinations == [relay.getsockname(), other.getsockname(), relay.getsockname()]


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", Drop.SPP_MALFORMED),
        (HEADER[:37], Drop.SPP_MALFORMED),
        (b"\0\0" + HEADER[2:] + b"payload", Drop.SPP_MALFORMED),
        (HEADER, Drop.EMPTY),
        (HEADER + b"\x80" * 1501, Drop.OVERSIZE),
        (HEADER + b"\x80" * 60_000, Drop.OVERSIZE),
    ],
    ids=["nothing", "short", "magic", "announce", "1501 bytes", "60000 bytes"],
)
async def test_what_does_not_fit_is_counted_and_dropped(
    box: Box, relay: socket.socket, datagram: bytes, reason: Drop
) -> None:
    relay.sendto(datagram, box.address)
    await box.until(1)
    assert box.received == []
    assert box.drops(reason) == 1
    assert sum(box.counters.drops) == 1


async def test_1500_bytes_are_passed_on(box: Box, relay: socket.socket) -> None:
    relay.sendto(HEADER + b"\x80" * 1500, box.address)
    await box.until(1)
    assert len(box.received[0][1]) == 1500


async def test_who_is_no_relay_is_not_believed(relay: socket.socket) -> None:
    box = Box(("10.0.0.0/8", "fd00::/8"))
    relay.sendto(HEADER + b"payload", box.address)
    await box.until(1)
    assert box.received == []
    assert box.drops(Drop.UNTRUSTED_SOURCE) == 1
    box.socket.close()


async def test_strangers_fill_no_table(relay: socket.socket) -> None:
    box = Box(("127.0.0.0/8",), known=False)
    for port in range(1, 200):
        relay.sendto(pack_spp(SppHeader(("198.51.100.7", port), ("127.0.0.1", 3479))) + b"payload", box.address)
    await box.until(199)
    assert len(box.received) == 199
    assert box.socket._arrivals == {}
    box.socket.close()


async def test_the_table_forgets_paths_that_are_gone(relay: socket.socket) -> None:
    box = Box(("127.0.0.0/8",))
    try:
        for number in range(200):
            client = ("198.51.100.7", 10_000 + number)
            relay.sendto(pack_spp(SppHeader(client, ("127.0.0.1", 3479))) + b"payload", box.address)
            await box.until(number + 1)
            if number >= 20:
                box.socket.forget_path(("198.51.100.7", 10_000 + number - 20, 3479))
        assert len(box.socket._arrivals) == len(box.socket._latest) == 20
        relay.sendto(HEADER + b"payload", box.address)
        await box.until(201)
        assert box.received[-1][0].reply.header == HEADER
        for number in range(180, 200):
            box.socket.forget_path(("198.51.100.7", 10_000 + number, 3479))
        box.socket.forget_path(KEY)
        box.socket.forget_path(KEY)
        assert box.socket._arrivals == {}
        assert box.socket._latest == {}
    finally:
        box.socket.close()


async def test_the_sockets_of_a_transceiver_keep_nothing_of_a_session_that_is_gone(
    tmp_path: Path, relay: socket.socket
) -> None:
    transceiver = Transceiver(settings(tmp_path, media=LOOPBACK, direct=LOOPBACK), key_file(tmp_path), time.monotonic)
    async with AsyncExitStack() as stack:
        shared, direct = _open_media(transceiver, ("127.0.0.1", 8080), stack), transceiver._direct
        assert isinstance(direct, SharedSocket)
        to_direct = transceiver._direct_address
        assert to_direct is not None
        caller = Caller(Network(transceiver, time.monotonic()))
        for number in range(1, 3):  # what comes on a path that is known already is kept
            relay.sendto(HEADER + caller.write_check(), transceiver.addresses[0])
            relay.sendto(caller.write_check(), to_direct)
            async with asyncio.timeout(5):
                while transceiver.counters.counts[Count.DATAGRAMS_IN] < 2 * number:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        assert list(shared._latest) == [KEY]
        assert list(direct._latest) == [(*relay.getsockname(), 0)]
        caller.session.close(End.DELETED, time.monotonic())
        assert shared._arrivals == {}
        assert direct._arrivals == {}


async def test_a_path_that_changes_its_relay_all_the_time_is_kept_once(box: Box, relay: socket.socket) -> None:
    headers = [pack_spp(SppHeader(KEY[:2], (f"127.0.0.{number}", KEY[2]))) for number in range(1, 100)]
    for header in headers * 2:
        relay.sendto(header + b"payload", box.address)
        await box.until(len(box.received) + 1)
    assert [arrival.reply.header for arrival, _ in box.received] == headers * 2
    assert list(box.socket._arrivals) == [headers[-1]]
    box.socket.forget_path(KEY)
    assert box.socket._arrivals == {}


async def test_a_direct_socket_needs_no_header(relay: socket.socket) -> None:
    box = Box(None)
    relay.sendto(b"payload", box.address)
    await box.until(1)
    source = relay.getsockname()
    assert box.received == [(Arrival((*source, 0), Reply(b"", source)), b"payload")]
    box.socket.send(box.received[0][0].reply, b"answer")
    assert relay.recv(2048) == b"answer"
    box.socket.close()


async def test_ipv6_works_like_ipv4() -> None:
    box = Box(None)
    box.socket.close()
    try:
        box.address = box.socket.open(("::1", 0), asyncio.get_running_loop())
    except BackendError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.bind(("::1", 0))
        client.sendto(b"payload", box.address)
        await box.until(1)
        assert box.received[0][0].key == ("::1", client.getsockname()[1], 0)
        box.socket.send(box.received[0][0].reply, b"answer")
        assert client.recv(2048) == b"answer"
    box.socket.close()


async def test_what_the_kernel_refuses_is_counted_and_nothing_stops(box: Box, relay: socket.socket) -> None:
    gone = Reply(HEADER, ("127.0.0.1", 9))  # nobody listens: the kernel tells so on a later call
    for _ in range(5):
        box.socket.send(gone, b"payload")
    box.socket.send(Reply(HEADER, ("127.0.0.1", 9)), bytes(70_000))
    assert box.drops(Drop.SEND_FAILED) >= 1
    relay.sendto(HEADER + b"payload", box.address)
    await box.until(1)
    assert len(box.received) == 1


async def test_a_defect_costs_one_datagram_and_not_the_others(
    box: Box, relay: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(arrival: Arrival, payload: bytes, now: float) -> None:
        if payload == b"defect":
            raise RuntimeError("a defect")
        box.received.append((arrival, payload))

    monkeypatch.setattr(box.socket, "_receive", receive)
    for payload in (b"one", b"defect", b"defect", b"two"):
        relay.sendto(HEADER + payload, box.address)
    await box.until(4)
    assert [payload for _, payload in box.received] == [b"one", b"two"]
    assert box.drops(Drop.DEFECT) == 2


async def test_one_turn_of_the_loop_reads_a_bounded_number(box: Box, relay: socket.socket) -> None:
    for _ in range(2 * DATAGRAMS_PER_TURN):
        relay.sendto(HEADER + b"payload", box.address)
    box.socket._drain()
    assert len(box.received) == DATAGRAMS_PER_TURN


async def test_nothing_is_sent_after_the_end(box: Box) -> None:
    box.socket.close()
    box.socket.close()
    box.socket.send(Reply(HEADER, ("127.0.0.1", 9)), b"payload")
    assert box.counters.counts[Count.DATAGRAMS_OUT] == 0


async def test_an_address_in_use_says_who_to_ask(box: Box) -> None:
    second = SharedSocket(Counters(), lambda *_: None, lambda key: False, ())
    with pytest.raises(BackendError) as caught:
        second.open(box.address, asyncio.get_running_loop())
    assert str(caught.value) == f"cannot bind 127.0.0.1:{box.address[1]}: address already in use"
    assert caught.value.hint == f"ss -ulpn sport = :{box.address[1]}"
    assert caught.value.status == ExitStatus.OS
