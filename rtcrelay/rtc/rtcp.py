"""What is in an RTCP packet, and how do we write one? (RFC 3550 section 6, reduced size: RFC 5506)

Any bytes give a list of reports or None; nothing raises, and the work grows with the length of the packet alone.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
GOODBYE: Final = 203
MAX_REPORT_BLOCKS: Final = 31
"""The count has five bits."""
NTP_EPOCH_SECONDS: Final = 2_208_988_800
"""From 1900, where NTP counts from, to 1970 (RFC 5905 section 6)."""
_CNAME: Final = 1
_BLOCK: Final = struct.Struct("!IIIIII")
_SENDER_INFO: Final = struct.Struct("!QIII")
_MAX_CNAME_BYTES: Final = 255


class ReportBlock(NamedTuple):
    """What a receiver says about one source (RFC 3550 section 6.4.1)."""

    ssrc: int
    """The source it is about."""
    fraction_lost: int
    """Since the report before, in 1/256, 0 to 255."""
    lost: int
    """Since the beginning, -2**23 to 2**23 - 1; negative if packets came twice."""
    highest_sequence: int
    """Extended: 16 bits of roll-overs, 16 bits of sequence number."""
    jitter: int
    """Interarrival jitter in units of the payload's clock, 0 to 2**32 - 1."""
    last_report: int
    """The middle 32 bits of the NTP time of the last sender report; 0: none came."""
    delay: int
    """Since that came, in 1/65536 s."""


class SenderInfo(NamedTuple):
    """What a sender says about itself in a sender report."""

    ntp: int
    """64 bits: seconds since 1900, and their fraction in 2**-32 s."""
    timestamp: int
    """The same instant in units of the payload's clock, modulo 2**32."""
    packets: int
    payload_bytes: int


class Report(NamedTuple):
    """A sender or receiver report."""

    ssrc: int
    """Who reports."""
    sender: SenderInfo | None
    """None in a receiver report."""
    blocks: tuple[ReportBlock, ...]


class Goodbye(NamedTuple):
    """Sources that leave."""

    sources: tuple[int, ...]


class Description(NamedTuple):
    """The canonical name of a source (SDES CNAME)."""

    ssrc: int
    cname: bytes
    """As it came, at most 255 bytes of any kind."""


RtcpItem: TypeAlias = Report | Goodbye | Description


def read_rtcp(packet: bytes) -> list[RtcpItem] | None:
    """What we understand of a compound or reduced-size packet, in order; None unless every length is right.

    Types that we do not know (feedback, extended reports, …) are passed over.
    """
    items: list[RtcpItem] = []
    position, end = 0, len(packet)
    if end == 0 or end % 4:
        return None
    while position < end:
        body = _body(packet, position)
        if body is None:
            return None
        kind, count = packet[position + 1], packet[position] & 0x1F
        position += 4 * (1 + int.from_bytes(packet[position + 2 : position + 4], "big"))
        if not _read_body(kind, count, body, items):
            return None
    return items


def write_report(ssrc: int, sender: SenderInfo | None, blocks: Sequence[ReportBlock], cname: bytes) -> bytes:
    """A compound packet: a report (a sender's if there is ``sender``) and the CNAME, as RFC 3550 section 6.1 wants.

    At most `MAX_REPORT_BLOCKS` blocks are written; counts are cut to their bits.
    """
    blocks = blocks[:MAX_REPORT_BLOCKS]
    body = struct.pack("!I", ssrc)
    if sender is not None:
        body += _SENDER_INFO.pack(
            sender.ntp, sender.timestamp & 0xFFFF_FFFF, sender.packets & 0xFFFF_FFFF, sender.payload_bytes & 0xFFFF_FFFF
        )
    kind = RECEIVER_REPORT if sender is None else SENDER_REPORT
    return _packet(kind, len(blocks), body + b"".join(map(_write_block, blocks))) + _write_cname(ssrc, cname)


def write_goodbye(ssrc: int) -> bytes:
    """A BYE; RFC 3550 section 6.1 wants it last in a compound packet, behind a report."""
    return _packet(GOODBYE, 1, struct.pack("!I", ssrc))


def ntp_time(unix_seconds: float) -> int:
    """An instant as 64 bits of NTP."""
    seconds = unix_seconds + NTP_EPOCH_SECONDS
    return int(seconds * 2**32) & 0xFFFF_FFFF_FFFF_FFFF


def middle_bits(ntp: int) -> int:
    """The 32 bits of an NTP time that reports quote, in units of 1/65536 s."""
    return (ntp >> 16) & 0xFFFF_FFFF


# -- reading


def _body(packet: bytes, position: int) -> bytes | None:
    """What follows the four header bytes, without padding; None if version, length or padding is wrong."""
    end = position + 4 * (1 + int.from_bytes(packet[position + 2 : position + 4], "big"))
    if packet[position] >> 6 != 2 or end > len(packet):
        return None
    if not packet[position] & 0x20:
        return packet[position + 4 : end]
    padding = packet[end - 1]
    if padding == 0 or padding % 4 or end != len(packet) or position + 4 + padding > end:
        return None  # only the last packet of a compound may be padded (RFC 3550 section 6.4.1)
    return packet[position + 4 : end - padding]


def _read_body(kind: int, count: int, body: bytes, items: list[RtcpItem]) -> bool:
    """Adds what a packet says; False if it is too short for it."""
    if kind in (SENDER_REPORT, RECEIVER_REPORT):
        report = _read_report(kind, count, body)
        if report is None:
            return False
        items.append(report)
    elif kind == GOODBYE:
        if len(body) < 4 * count:
            return False
        items.append(Goodbye(struct.unpack_from(f"!{count}I", body)))
    elif kind == SOURCE_DESCRIPTION:
        return _read_descriptions(count, body, items)
    return True


def _read_report(kind: int, count: int, body: bytes) -> Report | None:
    start = 4 + (_SENDER_INFO.size if kind == SENDER_REPORT else 0)
    if len(body) < start + count * _BLOCK.size:
        return None
    sender = SenderInfo(*_SENDER_INFO.unpack_from(body, 4)) if kind == SENDER_REPORT else None
    blocks = []
    for index in range(count):
        ssrc, losses, highest, jitter, last, delay = _BLOCK.unpack_from(body, start + index * _BLOCK.size)
        lost = losses & 0xFF_FFFF
        blocks.append(
            ReportBlock(ssrc, losses >> 24, lost - 0x100_0000 if lost >> 23 else lost, highest, jitter, last, delay)
        )
    return Report(int.from_bytes(body[:4], "big"), sender, tuple(blocks))


def _read_descriptions(count: int, body: bytes, items: list[RtcpItem]) -> bool:
    position = 0
    for _ in range(count):
        if position + 4 > len(body):
            return False
        ssrc = int.from_bytes(body[position : position + 4], "big")
        position += 4
        while position < len(body) and body[position] != 0:
            start = position + 2
            if start > len(body) or start + body[position + 1] > len(body):
                return False
            if body[position] == _CNAME:
                items.append(Description(ssrc, body[start : start + body[position + 1]]))
            position = start + body[position + 1]
        position = (position // 4 + 1) * 4  # at least one zero byte, then up to the next word
    return True


# -- writing


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def _write_block(block: ReportBlock) -> bytes:
    lost = max(-0x80_0000, min(block.lost, 0x7F_FFFF)) & 0xFF_FFFF
    return _BLOCK.pack(
        block.ssrc,
        (block.fraction_lost & 0xFF) << 24 | lost,
        block.highest_sequence & 0xFFFF_FFFF,
        max(0, min(block.jitter, 0xFFFF_FFFF)),
        block.last_report,
        max(0, min(block.delay, 0xFFFF_FFFF)),
    )


def _write_cname(ssrc: int, cname: bytes) -> bytes:
    cname = cname[:_MAX_CNAME_BYTES]
    chunk = struct.pack("!IBB", ssrc, _CNAME, len(cname)) + cname + b"\0"
    return _packet(SOURCE_DESCRIPTION, 1, chunk + bytes(-len(chunk) % 4))
