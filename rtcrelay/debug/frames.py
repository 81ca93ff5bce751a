"""Which frames does a capture file hold? The framing of pcap and pcapng, compressed or not, from any stream.

Any bytes give frames or a `DataError` that says where and why; nothing else. Memory stays bounded whatever the lengths
in the file say. A file that ends inside a record is what a killed tcpdump leaves, so that is counted and no error.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final, Literal, TypeAlias, cast

from rtcrelay.errors import DataError

ByteOrder: TypeAlias = Literal["<", ">"]

MAX_FRAME_BYTES: Final = 262_144
"""The longest frame: libpcap's and Wireshark's own limit (MAXIMUM_SNAPLEN, WTAP_MAX_PACKET_SIZE_STANDARD)."""
_MAX_BLOCK: Final = MAX_FRAME_BYTES + 65_536
"""A pcapng block that is read at all: a frame and generous options. Others are skipped, however long they are."""
_MAX_INTERFACES: Final = 65_536
"""Chosen: a block names its interface by 16 bits in the oldest form, and no machine has as many."""
_CHUNK: Final = 65_536

_PCAP_MAGICS: Final[dict[bytes, tuple[ByteOrder, int]]] = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""Byte order, and nanoseconds per unit of the second part of a timestamp."""
_SECTION: Final = 0x0A0D0D0A
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 1, 2, 3, 6


@dataclass(frozen=True, slots=True)
class Frame:
    """One record of a capture, as it was on the link."""

    number: int
    """From 1, in the order of the file, as Wireshark counts."""
    time_ns: int
    """Nanoseconds since 1970, UTC; 0 where the file has no time."""
    link: int
    """LINKTYPE_ value of the interface (tcpdump.org/linktypes.html)."""
    data: bytes
    """The captured bytes."""
    length: int
    """Bytes on the link; more than ``data`` has if the capture cuts frames short."""


@dataclass(slots=True)
class FrameTally:
    """What happened beside the frames."""

    is_truncated: bool = False
    """Whether the file ends inside a record."""


@dataclass(slots=True)
class _Stream:
    """A stream that knows where it is, and what is wrong when it stops being what it should be."""

    raw: IO[bytes]
    offset: int = 0
    """Bytes read, after decompression."""
    is_cut: bool = False
    """Whether a compressed stream ended without its end."""
    pending: bytes = b""
    """Bytes that were looked at and are not taken yet."""

    def pull(self, count: int) -> bytes:
        """Exactly ``count`` bytes. Raises `_Truncated` at the end."""
        data = self.pending[:count]
        self.pending = self.pending[count:]
        while len(data) < count:
            more = self._read(count - len(data))
            if not more:
                raise _Truncated(len(data))
            data += more
        self.offset += count
        return data

    def skip(self, count: int) -> None:
        """Goes past ``count`` bytes in bounded memory."""
        while count:
            count -= len(self.pull(min(count, _CHUNK)))

    def fail(self, offset: int, reason: str) -> DataError:
        return DataError(f"malformed capture at byte {offset}: {reason}")

    def _read(self, count: int) -> bytes:
        try:
            return self.raw.read(count)
        except EOFError:
            self.is_cut = True
            return b""
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self.fail(self.offset, f"the compressed data is damaged ({str(error).lower()})") from error


class _Truncated(Exception):
    """The stream ended before everything was there; args[0] is the number of bytes that were."""


def read_frames(stream: IO[bytes], tally: FrameTally) -> Iterator[Frame]:
    """Every frame of a pcap or pcapng file, also compressed with gzip. Raises DataError."""
    source = _Stream(stream)
    try:
        magic = source.pull(4)
        if magic[:2] == b"\x1f\x8b":
            joined = cast("IO[bytes]", _Rejoined(magic, stream))
            source = _Stream(cast("IO[bytes]", gzip.GzipFile(fileobj=joined)))
            magic = source.pull(4)
    except _Truncated as error:
        raise source.fail(0, f"it has {error.args[0]} bytes, expected a pcap or pcapng file") from None
    if magic in _PCAP_MAGICS:
        yield from _read_pcap(source, *_PCAP_MAGICS[magic], tally)
    elif magic == _SECTION.to_bytes(4, "big"):
        source.pending, source.offset = magic, 0
        yield from _read_pcapng(source, tally)
    else:
        raise source.fail(0, f"it starts with {magic.hex()}, which is neither pcap nor pcapng (nor either with gzip)")


class _Rejoined:
    """A stream whose first bytes were read already; a pipe cannot go back."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._first = first
        self._rest = rest

    def read(self, count: int = -1) -> bytes:
        if self._first:
            taken = self._first if count < 0 else self._first[:count]
            self._first = self._first[len(taken) :]
            return taken
        return self._rest.read(count)


# -- pcap


def _read_pcap(source: _Stream, order: ByteOrder, unit_ns: int, tally: FrameTally) -> Iterator[Frame]:
    try:
        header = source.pull(20)
    except _Truncated:
        raise source.fail(4, "the file header is cut short") from None
    major, _, _, _, _, link = struct.unpack(order + "HHiIII", header)
    if major != 2:
        raise source.fail(4, f"the file has version {major}, expected 2")
    record = struct.Struct(order + "IIII")
    number = 0
    while True:
        start = source.offset
        try:
            seconds, fraction, captured, length = record.unpack(source.pull(16))
            if captured > MAX_FRAME_BYTES:
                raise source.fail(start, f"a frame of {captured} bytes, expected at most {MAX_FRAME_BYTES}")
            data = source.pull(captured)
        except _Truncated as error:
            tally.is_truncated = bool(error.args[0]) or source.offset != start or source.is_cut
            return
        number += 1
        # The upper bits of the link type say how long the frame check sequence is.
        yield Frame(number, seconds * 1_000_000_000 + fraction * unit_ns, link & 0xFFFF, data, max(length, captured))


# -- pcapng


@dataclass(slots=True)
class _Interface:
    link: int
    snap_length: int
    unit: tuple[int, int] = (1000, 1)
    """Nanoseconds per tick as a fraction; microseconds unless the file says otherwise."""
    offset_seconds: int = 0

    def time_ns(self, ticks: int) -> int:
        return self.offset_seconds * 1_000_000_000 + ticks * self.unit[0] // self.unit[1]


@dataclass(slots=True)
class _Section:
    """The state of a pcapng file between blocks."""

    order: ByteOrder = "<"
    interfaces: list[_Interface] = field(default_factory=list)
    number: int = 0


def _read_pcapng(source: _Stream, tally: FrameTally) -> Iterator[Frame]:
    section = _Section()
    while True:
        start = source.offset
        try:
            kind, body = _pull_block(source, section)
        except _Truncated as error:
            tally.is_truncated = bool(error.args[0]) or source.offset != start or source.is_cut
            return
        if kind == _SECTION:
            section.interfaces = []
        elif kind == _INTERFACE:
            section.interfaces.append(_interface(source, start, section, body))
        elif kind in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            section.number += 1
            yield _frame(source, start, section, kind, body)


def _pull_block(source: _Stream, section: _Section) -> tuple[int, bytes]:
    """The type and the body of the next block; the body of one that says nothing to us is empty."""
    start = source.offset
    head = source.pull(8)
    if head[:4] == _SECTION.to_bytes(4, "big"):  # the same in both byte orders
        order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(magic := source.pull(4))
        if order is None:
            raise source.fail(start + 8, f"the byte-order magic is {magic.hex()}, expected 1a2b3c4d in either order")
        section.order = cast("ByteOrder", order)
    taken = source.offset - start
    kind, length = struct.unpack(section.order + "II", head)
    if length < taken + 4 or length % 4:
        raise source.fail(start, f"a block of {length} bytes, expected a multiple of 4 from {taken + 4} on")
    if kind in (_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET):
        if length > _MAX_BLOCK:
            raise source.fail(start, f"a block of {length} bytes, expected at most {_MAX_BLOCK}")
        body = source.pull(length - 12)
    else:
        source.skip(length - taken - 4)
        body = b""
    again = int.from_bytes(source.pull(4), "little" if section.order == "<" else "big")
    if again != length:
        raise source.fail(start, f"a block that begins with length {length} and ends with length {again}")
    return kind, body


def _interface(source: _Stream, start: int, section: _Section, body: bytes) -> _Interface:
    if len(body) < 8:
        raise source.fail(start, "an interface block that is too short")
    if len(section.interfaces) == _MAX_INTERFACES:
        raise source.fail(start, f"more than {_MAX_INTERFACES} interfaces")
    link, _, snap_length = struct.unpack_from(section.order + "HHI", body)
    interface = _Interface(link, snap_length)
    for code, value in _options(section.order, body[8:]):
        if code == 9 and len(value) == 1:  # if_tsresol
            exponent = value[0] & 0x7F
            if value[0] & 0x80:
                interface.unit = (1_000_000_000, 1 << exponent)
            elif exponent <= 9:
                interface.unit = (10 ** (9 - exponent), 1)
            else:
                interface.unit = (1, 10 ** (exponent - 9))
        elif code == 14 and len(value) == 8:  # if_tsoffset
            interface.offset_seconds = struct.unpack(section.order + "q", value)[0]
    return interface


def _options(order: ByteOrder, data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, offset)
        if code == 0:
            return
        yield code, data[offset + 4 : offset + 4 + length]
        offset += 4 + (length + 3) // 4 * 4


def _frame(source: _Stream, start: int, section: _Section, kind: int, body: bytes) -> Frame:
    fixed = 4 if kind == _SIMPLE_PACKET else 20
    if len(body) < fixed:
        raise source.fail(start, "a packet block that is too short")
    index, high, low = 0, 0, 0
    if kind == _PACKET:
        index, high, low, captured, length = struct.unpack_from(section.order + "IIIII", body)
    elif kind == _OLD_PACKET:
        index, _, high, low, captured, length = struct.unpack_from(section.order + "HHIIII", body)
    else:
        captured = length = struct.unpack_from(section.order + "I", body)[0]
    if index >= len(section.interfaces):
        raise source.fail(start, f"a packet of interface {index}, of which there is no description before it")
    interface = section.interfaces[index]
    if kind == _SIMPLE_PACKET:
        # Its captured length is not written: what the interface keeps, or what there is.
        captured = min(length, interface.snap_length or length, len(body) - fixed)
    if captured > min(len(body) - fixed, MAX_FRAME_BYTES):
        raise source.fail(start, f"a frame of {captured} bytes in a block that holds {len(body) - fixed}")
    time_ns = 0 if kind == _SIMPLE_PACKET else interface.time_ns(high << 32 | low)
    return Frame(section.number, time_ns, interface.link, body[fixed : fixed + captured], max(length, captured))
