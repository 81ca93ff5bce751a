"""RTCP on the wire: what is written is read back, judged by aiortc; any bytes give reports or None."""

from __future__ import annotations

import random

import pytest
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpRrPacket, RtcpSdesPacket, RtcpSrPacket

from rtcrelay.rtc.rtcp import (
    Description,
    Goodbye,
    Report,
    ReportBlock,
    SenderInfo,
    middle_bits,
    ntp_time,
    read_rtcp,
    write_goodbye,
    write_report,
)

BLOCK = ReportBlock(0xCAFE, 128, 77, 0x0002_FFFE, 480, 0x8765_4321, 65536)
SENDER = SenderInfo(0xE000_0000_8000_0000, 0xFFFF_FFF0, 1000, 80_000)


def test_what_is_written_is_read_back() -> None:
    packet = write_report(7, SENDER, [BLOCK], b"rtcrelay") + write_goodbye(7)
    assert read_rtcp(packet) == [Report(7, SENDER, (BLOCK,)), Description(7, b"rtcrelay"), Goodbye((7,))]


def test_without_a_sender_it_is_a_receiver_report() -> None:
    packet = write_report(7, None, [BLOCK, BLOCK], b"")
    assert packet[1] == 201
    assert read_rtcp(packet) == [Report(7, None, (BLOCK, BLOCK)), Description(7, b"")]


def test_stock_aiortc_reads_what_is_written() -> None:
    sender, names, bye = RtcpPacket.parse(write_report(7, SENDER, [BLOCK], b"name") + write_goodbye(7))
    assert isinstance(sender, RtcpSrPacket)
    assert sender.sender_info.ntp_timestamp == SENDER.ntp
    assert sender.sender_info.rtp_timestamp == SENDER.timestamp
    assert (sender.sender_info.packet_count, sender.sender_info.octet_count) == (1000, 80_000)
    (block,) = sender.reports
    assert (block.ssrc, block.fraction_lost, block.packets_lost) == (0xCAFE, 128, 77)
    assert (block.highest_sequence, block.jitter, block.lsr, block.dlsr) == BLOCK[3:]
    assert isinstance(names, RtcpSdesPacket)
    assert names.chunks[0].items == [(1, b"name")]
    assert isinstance(bye, RtcpByePacket)
    assert bye.sources == [7]


def test_what_stock_aiortc_writes_is_read() -> None:
    assert read_rtcp(bytes(RtcpRrPacket(ssrc=9))) == [Report(9, None, ())]
    assert read_rtcp(bytes(RtcpByePacket(sources=[1, 2]))) == [Goodbye((1, 2))]


def test_a_reduced_size_packet_needs_no_report_in_front() -> None:
    feedback = bytes.fromhex("81cd000300000001000000020000abcd")
    assert read_rtcp(feedback) == []
    assert read_rtcp(feedback + write_goodbye(7)) == [Goodbye((7,))]


@pytest.mark.parametrize("lost", [-0x80_0000, -1, 0, 0x7F_FFFF])
def test_lost_packets_have_a_sign(lost: int) -> None:
    (report, _) = read_rtcp(write_report(1, None, [BLOCK._replace(lost=lost)], b"")) or []
    assert isinstance(report, Report)
    assert report.blocks[0].lost == lost


def test_numbers_that_grew_too_large_are_cut() -> None:
    block = ReportBlock(1, 256, 2**30, 2**33 + 5, 2**40, 0, 2**40)
    (report, _) = read_rtcp(write_report(1, SenderInfo(0, 2**32 + 3, 2**32, 2**33 + 1), [block], b"x" * 300)) or []
    assert isinstance(report, Report)
    assert report.blocks == (ReportBlock(1, 0, 0x7F_FFFF, 5, 0xFFFF_FFFF, 0, 0xFFFF_FFFF),)
    assert report.sender == SenderInfo(0, 3, 0, 1)


def test_no_more_blocks_are_written_than_the_count_can_say() -> None:
    (report, _) = read_rtcp(write_report(1, None, [BLOCK] * 40, b"")) or []
    assert isinstance(report, Report)
    assert len(report.blocks) == 31


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("empty", ""),
        ("three bytes", "80c900"),
        ("no whole word", "80c9000100000001ff"),
        ("version 1", "40c9000100000001"),
        ("longer than it is", "80c9000200000001"),
        ("no block where one is said", "81c9000100000001"),
        ("no sender info", "80c8000100000001"),
        ("no source where one is said", "81cb0000"),
        ("SDES without its chunk", "81ca0000"),
        ("SDES item over the end", "81ca000200000001010a6161"),
        ("padding of 0", "a0c9000200000001" + "00000000"),
        ("padding of 3", "a0c9000200000001" + "00000003"),
        ("padding over the header", "a0c9000200000001" + "0000000c"),
        ("padding before the last packet", "a0c900020000000100000004" + "80c9000100000001"),
    ],
    ids=lambda value: value if " " in value or value == "empty" else "",
)
def test_a_wrong_length_is_none(name: str, packet: str) -> None:
    assert read_rtcp(bytes.fromhex(packet)) is None, name


def test_padding_behind_the_last_packet_is_passed_over() -> None:
    assert read_rtcp(bytes.fromhex("a0c900020000000100000004")) == [Report(1, None, ())]


def test_every_prefix_and_every_changed_byte_raise_nothing() -> None:
    packet = write_report(7, SENDER, [BLOCK], b"rtcrelay") + write_goodbye(7)
    for length in range(len(packet)):
        read_rtcp(packet[:length])
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            read_rtcp(packet[:length] + bytes([value]) + packet[length + 1 :])


def test_random_bytes_raise_nothing() -> None:
    dice = random.Random(1)
    for _ in range(20_000):
        body = dice.randbytes(4 * dice.randrange(20))
        read_rtcp(bytes([0x80 | dice.randrange(32), dice.randrange(198, 208), 0, len(body) // 4]) + body)
        read_rtcp(dice.randbytes(dice.randrange(80)))


def test_ntp_time_counts_from_1900_in_parts_of_two_to_the_32() -> None:
    assert ntp_time(0.0) == 2_208_988_800 << 32
    assert ntp_time(0.5) & 0xFFFF_FFFF == 1 << 31
    assert middle_bits(0x1234_5678_9ABC_DEF0) == 0x5678_9ABC
