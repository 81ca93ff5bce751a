"""RTP headers, sequence numbers over the roll-over, and how long an Opus packet is."""

from __future__ import annotations

import random

import pytest
from aiortc.rtp import RtpPacket as JudgePacket

from rtcrelay.rtc.rtp import RtpPacket, SequenceExtender, is_rtcp, opus_duration, read_rtp, write_rtp

PACKET = RtpPacket(111, True, 65535, 4_294_967_295, 0xDEADBEEF, b"opus")


def test_what_is_written_is_read_back() -> None:
    assert read_rtp(write_rtp(PACKET)) == PACKET


def test_stock_aiortc_reads_what_is_written() -> None:
    judged = JudgePacket.parse(write_rtp(PACKET))
    assert (judged.payload_type, judged.marker, judged.sequence_number) == (111, 1, 65535)
    assert (judged.timestamp, judged.ssrc, judged.payload) == (4_294_967_295, 0xDEADBEEF, b"opus")


def test_numbers_that_grew_too_large_are_cut() -> None:
    written = read_rtp(write_rtp(PACKET._replace(sequence=65536, timestamp=2**32 + 5)))
    assert written is not None
    assert (written.sequence, written.timestamp) == (0, 5)


@pytest.mark.parametrize(
    ("datagram", "payload"),
    [
        ("806f0001000003c000112233", ""),
        ("806f0001000003c0001122336f70", "6f70"),
        ("826f0001000003c00011223300000001000000026f70", "6f70"),
        ("906f0001000003c000112233bede0001100000006f70", "6f70"),
        ("906f0001000003c000112233bede00006f70", "6f70"),
        ("a06f0001000003c0001122336f700002", "6f70"),
    ],
    ids=["empty", "plain", "two sources", "extension", "empty extension", "padding"],
)
def test_the_payload_is_found_behind_any_header(datagram: str, payload: str) -> None:
    packet = read_rtp(bytes.fromhex(datagram))
    assert packet is not None
    assert packet.payload.hex() == payload


@pytest.mark.parametrize(
    "datagram",
    [
        "",
        "806f0001000003c0001122",
        "406f0001000003c000112233",
        "816f0001000003c000112233",
        "906f0001000003c000112233",
        "906f0001000003c000112233bede0001",
        "a06f0001000003c00011223300",
        "a06f0001000003c00011223305",
    ],
    ids=["empty", "short", "version 1", "no source", "no extension", "short extension", "padding 0", "padding 5"],
)
def test_a_wrong_length_is_none(datagram: str) -> None:
    assert read_rtp(bytes.fromhex(datagram)) is None


def test_random_bytes_raise_nothing() -> None:
    dice = random.Random(1)
    for _ in range(20_000):
        read_rtp(dice.randbytes(dice.randrange(60)))


def test_rtcp_is_told_by_its_second_byte() -> None:
    told = [number for number in range(256) if is_rtcp(bytes([0x80, number]))]
    assert told == list(range(192, 224))
    assert not is_rtcp(b"\x80")


def test_sequence_numbers_grow_over_the_roll_over() -> None:
    extender = SequenceExtender()
    seen = [extender.extend(number) for number in (65534, 65535, 1, 0, 65533, 2)]
    assert seen == [65534, 65535, 65537, 65536, 65533, 65538]
    assert extender.highest == 65538


def test_sequence_numbers_grow_through_a_long_call() -> None:
    extender = SequenceExtender()
    for number in range(0, 500_000, 7):
        assert extender.extend(number & 0xFFFF) == number


@pytest.mark.parametrize(
    ("payload", "samples"),
    [
        ("", 0),
        ("08", 960),  # SILK narrowband 20 ms
        ("18", 2880),
        ("60", 480),  # hybrid 10 ms
        ("78", 960),
        ("80", 120),  # CELT 2.5 ms
        ("f8", 960),
        ("f9", 1920),  # two frames
        ("fa", 1920),
        ("fb", 0),  # code 3 without its count
        ("fb03", 2880),
        ("fb06", 5760),
        ("fb07", 0),  # over 120 ms: not allowed
    ],
)
def test_the_length_of_an_opus_packet_is_in_its_first_bytes(payload: str, samples: int) -> None:
    assert opus_duration(bytes.fromhex(payload)) == samples
