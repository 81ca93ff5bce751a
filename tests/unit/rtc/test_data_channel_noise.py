"""Data channels and a peer that sends anything: with the right checksum and tag, so that aiortc's parser sees it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from aiortc.rtcsctptransport import Chunk, RTCSctpTransport, serialize_packet
from google_crc32c import value as crc32c

from .test_data_channels import End, Raw, connected


@pytest.fixture
async def ends() -> tuple[End, End]:
    return await connected()


class Parsed:
    """Counts the chunks that came through to aiortc's own code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kinds: Counter[int] = Counter()
        receive = RTCSctpTransport._receive_chunk

        def count(association: RTCSctpTransport, chunk: Chunk) -> Coroutine[Any, Any, None]:
            self.kinds[chunk.type] += 1
            return receive(association, chunk)

        monkeypatch.setattr(RTCSctpTransport, "_receive_chunk", count)


def with_checksum(packet: bytes | bytearray) -> bytes:
    """As the peer would send it: noise that fails its CRC is not looked at."""
    head = bytes(packet[:8]) + bytes(4)
    checksum: int = crc32c(head + bytes(packet[12:]))
    return bytes(packet[:8]) + checksum.to_bytes(4, "little") + bytes(packet[12:])


async def test_any_bytes_raise_nothing(ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutated packets of a whole conversation and chunks of noise, each with the right checksum and tag."""
    left, right = ends
    left.channels.open_channel("chat")
    conversation: list[bytes] = []
    for number in range(20):
        conversation += left.wire.sent
        await exchange_once(left, right)
        for channel in left.channels.open_channels():
            left.channels.send(channel, "x" * 100 * number)
    assert len(conversation) > 20
    seen, dice, over = Parsed(monkeypatch), random.Random(1), 0
    tries = 12_000
    for _ in range(tries):
        if dice.random() < 0.5:
            body = bytearray(dice.choice(conversation))
            for _ in range(dice.randint(1, 4)):
                body[dice.randrange(12, len(body))] = dice.randrange(256)
            cut = len(body) if dice.random() < 0.8 else dice.randint(12, len(body))
            packet = with_checksum(body[:cut])
        else:
            kind = dice.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 130, 192, 77])
            tag = 0 if kind == 1 else right.channels._association._local_verification_tag
            raw = Raw(kind, dice.randbytes(dice.randrange(40)))
            packet = serialize_packet(5000, 5000, tag, raw)  # type: ignore[arg-type]  # a chunk of any content
        packet = packet[:4] + (tag_of(right, packet)).to_bytes(4, "big") + packet[8:]
        right.channels.handle_data(with_checksum(packet))
        right.wire.sent.clear()
        if right.closed or not right.channels.is_established:
            over += 1
            right.channels.close()
            left, right = await connected()
    assert sum(seen.kinds.values()) > tries / 3, seen.kinds
    assert {0, 1, 3, 4, 5, 6, 7, 130, 192} <= {kind for kind, count in seen.kinds.items() if count >= 10}
    assert over > 100


def tag_of(end: End, packet: bytes) -> int:
    """What the packet has to say to reach this end: nothing, if it is an INIT."""
    return 0 if packet[12:13] == b"\1" else end.channels._association._local_verification_tag


async def exchange_once(left: End, right: End) -> None:
    for sender, receiver in ((left, right), (right, left)):
        packets, sender.wire.sent = sender.wire.sent, []
        for packet in packets:
            receiver.channels.handle_data(packet)
    await asyncio.sleep(0)
