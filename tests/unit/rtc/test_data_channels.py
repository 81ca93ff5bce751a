"""Data channels: two ends of ours, stock aiortc's own judgement, and a peer that breaks the rules."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from aiortc import RTCDataChannel
from aiortc.rtcsctptransport import (
    DataChunk,
    ForwardTsnChunk,
    HeartbeatChunk,
    RTCSctpTransport,
    SackChunk,
    serialize_packet,
)

from rtcrelay.rtc import sctp, sctp_guard
from rtcrelay.rtc.dtls import Role
from rtcrelay.rtc.offer_answer import DataOffer
from rtcrelay.rtc.sctp import DataChannels, Message


@dataclass
class Wire:
    """A `DataTransport` that keeps what is sent."""

    role: Role
    sent: list[bytes] = field(default_factory=list)

    def send(self, data: bytes) -> bool:
        self.sent.append(data)
        return True


class End:
    """One end and what it was told."""

    def __init__(self, role: Role, max_message_bytes: int = 65_536) -> None:
        self.wire = Wire(role)
        self.messages: list[tuple[str, Message]] = []
        self.opened: list[str] = []
        self.closed = 0
        self.channels = DataChannels(
            self.wire,
            DataOffer(5000, max_message_bytes),
            on_transmit=lambda: None,
            on_message=lambda channel, label, message: self.messages.append((label, message)),
            on_open=lambda channel, label: self.opened.append(label),
            on_closed=self._on_closed,
        )

    def _on_closed(self) -> None:
        self.closed += 1


async def exchange(left: End, right: End, lose: Callable[[], bool] = lambda: False) -> None:
    """Delivers until nothing moves any more; aiortc needs a few turns of the loop for what it schedules."""
    quiet = 0
    while quiet < 5:
        moved = False
        for sender, receiver in ((left, right), (right, left)):
            packets, sender.wire.sent = sender.wire.sent, []
            for packet in packets:
                moved = True
                if not lose():
                    receiver.channels.handle_data(packet)
        quiet = 0 if moved else quiet + 1
        await asyncio.sleep(0)


async def connected() -> tuple[End, End]:
    left, right = End("client"), End("server")
    left.channels.handle_start(0.0)
    right.channels.handle_start(0.0)
    await exchange(left, right)
    assert left.channels.is_established
    assert right.channels.is_established
    return left, right


@pytest.fixture
async def ends() -> tuple[End, End]:
    return await connected()


async def test_messages_of_both_kinds_and_any_size_arrive(ends: tuple[End, End]) -> None:
    left, right = ends
    left.channels.open_channel("chat")
    await exchange(left, right)
    assert (left.opened, right.opened) == (["chat"], ["chat"])
    (channel,) = left.channels.open_channels()
    messages: list[Message] = ["", "hello", "grüße", b"", b"\0\1", bytes(60_000)]
    for message in messages:
        assert left.channels.send(channel, message)
        await exchange(left, right)
    assert right.messages == [("chat", message) for message in messages]


async def test_the_other_end_can_answer_on_the_channel(ends: tuple[End, End]) -> None:
    left, right = ends
    left.channels.open_channel("chat")
    await exchange(left, right)
    (channel,) = right.channels.open_channels()
    assert right.channels.send(channel, "answer")
    await exchange(left, right)
    assert left.messages == [("chat", "answer")]


async def test_nothing_is_sent_on_a_channel_that_is_not_open(ends: tuple[End, End]) -> None:
    left, _ = ends
    assert not left.channels.send(7, "nobody")


async def test_a_message_that_the_peer_does_not_take_is_refused() -> None:
    left, right = End("client", max_message_bytes=100), End("server")
    left.channels.handle_start(0.0)
    right.channels.handle_start(0.0)
    await exchange(left, right)
    left.channels.open_channel("chat")
    await exchange(left, right)
    (channel,) = left.channels.open_channels()
    assert left.channels.send(channel, "x" * 100)
    assert not left.channels.send(channel, "x" * 101)
    assert left.channels.refused == 1


async def test_what_the_peer_does_not_acknowledge_is_bounded(ends: tuple[End, End]) -> None:
    left, right = ends
    left.channels.open_channel("chat")
    await exchange(left, right)
    (channel,) = left.channels.open_channels()
    taken = sum(left.channels.send(channel, bytes(50_000)) for _ in range(100))
    assert 15 <= taken * 50_000 / 65_536 <= 30
    assert left.channels.refused == 100 - taken


async def test_closing_tells_the_peer_at_once(ends: tuple[End, End]) -> None:
    left, right = ends
    left.channels.close()
    await exchange(left, right)
    assert (left.closed, right.closed) == (0, 1)
    assert not right.channels.is_established
    assert right.channels.poll_timeout() is None
    right.channels.handle_data(b"anything")


async def test_a_heartbeat_is_sent_every_10_s_and_answered(ends: tuple[End, End]) -> None:
    left, right = ends
    assert left.channels.poll_timeout() == 10.0
    left.channels.handle_timeout(9.9)
    assert left.wire.sent == []
    left.channels.handle_timeout(10.0)
    assert len(left.wire.sent) == 1
    assert left.wire.sent[0][12] == 4
    right.channels.handle_data(left.wire.sent[0])
    assert [packet[12] for packet in right.wire.sent] == [5]
    assert left.channels.poll_timeout() == 20.0


def packet_to(end: End, chunk: object) -> bytes:
    tag = end.channels._association._local_verification_tag
    return serialize_packet(5000, 5000, tag, chunk)  # type: ignore[arg-type]  # any of aiortc's chunks


class Raw:
    """A chunk of any content."""

    def __init__(self, kind: int, body: bytes) -> None:
        self._bytes = bytes([kind, 0]) + (4 + len(body)).to_bytes(2, "big") + body + bytes(-len(body) % 4)

    def __bytes__(self) -> bytes:
        return self._bytes


async def test_a_parameter_of_length_zero_does_not_hang_the_process(ends: tuple[End, End]) -> None:
    left, _ = ends
    heartbeat = packet_to(left, HeartbeatChunk())
    hostile = serialize_packet(5000, 5000, 0, Raw(4, bytes(8)))  # type: ignore[arg-type]
    assert len(hostile) > len(heartbeat)
    left.channels.handle_data(hostile)
    assert left.channels.refused == 1
    assert left.channels.is_established


async def test_a_sack_with_absurd_gaps_is_refused(ends: tuple[End, End]) -> None:
    left, _ = ends
    sack = SackChunk()
    sack.cumulative_tsn, sack.advertised_rwnd = 0, 0
    sack.gaps = [(1, 65535)] * 100
    left.channels.handle_data(packet_to(left, sack))
    assert left.channels.refused == 1


def data_chunk(left: End, ahead: int, stream: int = 0, payload: bytes = b"x", flags: int = 0) -> DataChunk:
    last = left.channels._association._last_received_tsn
    assert last is not None
    chunk = DataChunk(flags=flags)
    chunk.tsn = (last + ahead) % 2**32
    chunk.stream_id, chunk.protocol, chunk.user_data = stream, 51, payload
    return chunk


async def test_fragments_without_end_abandon_the_association(ends: tuple[End, End]) -> None:
    left, _ = ends
    for _ in range(2000):
        left.channels.handle_data(packet_to(left, data_chunk(left, 1)))
        left.wire.sent.clear()
    assert left.closed == 1
    assert not left.channels.is_established


async def test_data_far_ahead_is_dropped(ends: tuple[End, End]) -> None:
    left, _ = ends
    for ahead in range(3000, 9000):
        left.channels.handle_data(packet_to(left, data_chunk(left, ahead)))
    assert len(left.channels._association._sack_misordered) == 0
    assert left.channels.is_established


async def test_streams_without_end_abandon_the_association(ends: tuple[End, End]) -> None:
    left, _ = ends
    for stream in range(sctp.MAX_STREAMS + 1):
        left.channels.handle_data(packet_to(left, data_chunk(left, 1, stream)))
    assert left.closed == 1


async def test_streams_of_a_forward_tsn_are_bounded_too(ends: tuple[End, End]) -> None:
    left, _ = ends
    chunk = ForwardTsnChunk()
    chunk.cumulative_tsn = data_chunk(left, 1).tsn
    chunk.streams = [(stream, 1) for stream in range(100)]
    left.channels.handle_data(packet_to(left, chunk))
    assert left.channels.refused == 1
    assert len(left.channels._association._inbound_streams) == 0


async def test_many_heartbeats_in_a_packet_are_refused() -> None:
    chunk = bytes(HeartbeatChunk())
    assert sctp_guard.is_acceptable(bytes(12) + 2 * chunk)
    assert not sctp_guard.is_acceptable(bytes(12) + 3 * chunk)


async def test_messages_without_end_that_nobody_acknowledges_are_refused_without_tasks(ends: tuple[End, End]) -> None:
    left, right = ends
    left.channels.open_channel("chat")
    await exchange(left, right)
    (channel,) = left.channels.open_channels()
    tasks = len(asyncio.all_tasks())
    assert 500 < sum(left.channels.send(channel, "x") for _ in range(10_000)) < 5000
    assert len(asyncio.all_tasks()) == tasks


async def test_nothing_is_armed_again_after_the_end(ends: tuple[End, End]) -> None:
    left, right = ends
    left.channels.open_channel("chat")
    await exchange(left, right)
    (channel,) = left.channels.open_channels()
    left.channels.send(channel, "hello")
    association = left.channels._association
    assert association._t3_handle is not None
    association._t3_handle.cancel()
    association._t3_expired()
    left.channels.close()
    await asyncio.sleep(0)
    assert association._t3_handle is None


async def test_channels_that_are_closing_count_too(ends: tuple[End, End]) -> None:
    left, _ = ends
    for number in range(sctp.MAX_STREAMS + 1):
        hostile = data_chunk(left, 1, 2 * number + 1, b"\x03" + bytes(8) + b"\1\0\0x", flags=3)
        hostile.protocol = 50
        left.channels.handle_data(packet_to(left, hostile))
        left.channels._association._inbound_streams.clear()  # as a reset of the stream does
    assert left.closed == 1


async def test_text_that_is_no_utf8_abandons_the_association(ends: tuple[End, End]) -> None:
    left, right = ends
    right.channels.open_channel("chat")
    await exchange(left, right)
    hostile = data_chunk(left, 1, stream=1, payload=b"\xff\xff", flags=3)
    hostile.stream_seq = 1
    left.channels.handle_data(packet_to(left, hostile))
    assert left.closed == 1


async def test_what_a_peer_has_under_way_is_bounded_by_the_receive_window(ends: tuple[End, End]) -> None:
    left, _ = ends
    association = left.channels._association
    for number in range(250):  # fragments of one message that never ends, each acknowledged
        left.channels.handle_data(
            packet_to(left, data_chunk(left, 1, payload=bytes(1200), flags=2 if not number else 0))
        )
        left.wire.sent.clear()
    kept = sum(len(piece.user_data) for stream in association._inbound_streams.values() for piece in stream.reassembly)
    assert 262_144 - 1200 < kept <= 262_144
    assert association._advertised_rwnd == 262_144 - kept
    assert left.closed == 0


def private_members_in_use() -> set[str]:
    """Every `_name` that sctp.py takes from aiortc's objects, read from its source."""
    source = inspect.getsource(sctp)
    association = inspect.getsource(sctp._Association)
    used = set(re.findall(r"_association\.(_\w+)", source)) | set(re.findall(r"channel\.(_\w+)", source))
    used |= set(re.findall(r"(?:self|super\(\))\.(_\w+)", association))
    return used - {"_is_over", "__init__"}


async def test_the_list_of_private_members_is_what_is_used_and_stock_aiortc_has_them_all() -> None:
    assert private_members_in_use() == set(sctp._PRIVATE)
    stock = RTCSctpTransport(sctp._Pipe(Wire("client"), lambda: None), 5000)  # type: ignore[arg-type]  # duck-typed
    missing = [name for name in sctp._PRIVATE if not hasattr(stock, name) and not hasattr(RTCDataChannel, name)]
    assert missing == []


async def test_stock_aiortc_still_does_what_we_build_on() -> None:
    for name in ("_send_chunk", "_handle_data", "_receive_data_chunk", "_data_channel_flush", "start", "stop"):
        assert inspect.iscoroutinefunction(getattr(RTCSctpTransport, name))
    assert "stream_id" in inspect.signature(RTCSctpTransport._get_inbound_stream).parameters
    assert "self._rto" in inspect.getsource(RTCSctpTransport._t1_start)
