"""pcap and pcapng, well formed and not: any bytes give frames or a DataError, and nothing else."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay.debug.capture_writer import CaptureWriter
from rtcrelay.debug.frames import Frame, FrameTally, read_frames
from rtcrelay.errors import DataError

DATA = b"0123456789abcdef"
TIME_NS = 1_700_000_000_123_456_789


def frames_of(data: bytes) -> tuple[list[Frame], bool]:
    """The frames of a file, and whether it ends inside a record."""
    tally = FrameTally()
    return list(read_frames(io.BytesIO(data), tally)), tally.is_truncated


def pcap(*records: tuple[int, int, bytes], order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1) -> bytes:
    file = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for seconds, fraction, data in records:
        file += struct.pack(order + "IIII", seconds, fraction, len(data), len(data) + 4) + data
    return file


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, options: bytes = b"", order: str = "<", snap: int = 0) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap) + options, order)


def enhanced(data: bytes, ticks: int = 0, index: int = 0, order: str = "<", captured: int | None = None) -> bytes:
    size = len(data) if captured is None else captured
    return block(6, struct.pack(order + "IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, size, size) + data, order)


PCAPNG = section() + interface() + enhanced(DATA)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit_ns"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_pcap_is_read_in_both_byte_orders_and_resolutions(order: str, magic: int, unit_ns: int) -> None:
    frames, truncated = frames_of(pcap((7, 500, DATA), (8, 1, b""), order=order, magic=magic, link=113))
    assert not truncated
    assert frames == [
        Frame(1, 7_000_000_000 + 500 * unit_ns, 113, DATA, len(DATA) + 4),
        Frame(2, 8_000_000_000 + unit_ns, 113, b"", 4),
    ]


def test_the_upper_bits_of_a_link_type_are_not_part_of_it() -> None:
    assert frames_of(pcap((0, 0, DATA), link=0x2400_0001))[0][0].link == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_is_read_in_both_byte_orders(order: str) -> None:
    data = section(order) + interface(276, order=order) + enhanced(DATA, 1_700_000_000_000_001, order=order)
    assert frames_of(data) == ([Frame(1, 1_700_000_000_000_001_000, 276, DATA, len(DATA))], False)


@pytest.mark.parametrize(
    ("resolution", "ticks", "time_ns"),
    [(9, 5, 5), (6, 5, 5000), (0, 5, 5_000_000_000), (12, 5000, 5), (0x80 | 10, 1024, 1_000_000_000), (127, 1, 0)],
)
def test_the_resolution_of_an_interface_counts(resolution: int, ticks: int, time_ns: int) -> None:
    options = struct.pack("<HHB3x", 9, 1, resolution) + struct.pack("<HHq", 14, 8, 2)
    frames, _ = frames_of(section() + interface(options=options) + enhanced(DATA, ticks))
    assert frames[0].time_ns == 2_000_000_000 + time_ns


def test_a_second_section_has_its_own_byte_order_and_interfaces() -> None:
    data = PCAPNG + section(">") + interface(101, order=">") + enhanced(DATA, order=">")
    assert [(frame.number, frame.link) for frame in frames_of(data)[0]] == [(1, 1), (2, 101)]


def test_simple_and_old_packet_blocks_are_read() -> None:
    simple = block(3, struct.pack("<I", 100) + DATA)
    old = block(2, struct.pack("<HHIIII", 0, 0, 0, 7, len(DATA), 100) + DATA)
    frames, _ = frames_of(section() + interface(snap=len(DATA)) + simple + old)
    assert [(frame.data, frame.length, frame.time_ns) for frame in frames] == [(DATA, 100, 0), (DATA, 100, 7000)]


def test_blocks_of_no_interest_are_skipped_whatever_their_length() -> None:
    class Endless(io.RawIOBase):
        largest = 0

        def read(self, count: int = -1) -> bytes:
            self.largest = max(self.largest, count)
            return head.read(count) or bytes(count)

    length = 0x7FFF_FFF0 & ~3
    head = io.BytesIO(section() + struct.pack("<II", 0x0BAD, length))
    stream = Endless()
    with pytest.raises(DataError, match="ends with length 0"):
        list(read_frames(stream, FrameTally()))  # type: ignore[arg-type]  # as much of a stream as is used
    assert stream.largest <= 65_536


@pytest.mark.parametrize("make", [lambda: pcap((7, 5, DATA), (8, 5, DATA)), lambda: PCAPNG + enhanced(DATA)])
def test_a_file_that_ends_inside_a_record_gives_what_is_whole_and_says_so(make: Callable[[], bytes]) -> None:
    data = make()
    frames, truncated = frames_of(data[:-1])
    assert (len(frames), truncated) == (1, True)
    assert frames_of(data)[1] is False


def test_compressed_files_are_read_also_without_their_end() -> None:
    data = gzip.compress(pcap((7, 5, DATA), (8, 5, DATA)))
    assert len(frames_of(data)[0]) == 2
    assert frames_of(gzip.compress(PCAPNG))[0] == frames_of(PCAPNG)[0]
    assert frames_of(data[:-9])[1] is True


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "malformed capture at byte 0: it has 0 bytes, expected a pcap or pcapng file"),
        (b"\0" * 64, "malformed capture at byte 0: it starts with 00000000, which is neither pcap nor pcapng"),
        (pcap()[:20], "malformed capture at byte 4: the file header is cut short"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 9, 4, 0, 0, 0, 1), "malformed capture at byte 4: the file has version 9"),
        (
            pcap() + struct.pack("<IIII", 0, 0, 262_145, 0),
            "at byte 24: a frame of 262145 bytes, expected at most 262144",
        ),
        (b"\x0a\x0d\x0d\x0a" + bytes(24), "at byte 8: the byte-order magic is 00000000"),
        (section() + struct.pack("<II", 6, 2**31), "at byte 28: a block of 2147483648 bytes, expected at most"),
        (section() + struct.pack("<II", 5, 13), "at byte 28: a block of 13 bytes, expected a multiple of 4 from 12 on"),
        (section() + struct.pack("<II", 5, 8), "at byte 28: a block of 8 bytes, expected a multiple of 4 from 12 on"),
        (section() + interface()[:-4] + b"\1\0\0\0", "begins with length 20 and ends with length 1"),
        (section() + enhanced(DATA), "at byte 28: a packet of interface 0, of which there is no description"),
        (section() + interface() + enhanced(DATA, captured=99), "a frame of 99 bytes in a block that holds 16"),
        (section() + block(1, b"\1\0"), "at byte 28: an interface block that is too short"),
        (section() + interface() + block(6, DATA), "at byte 48: a packet block that is too short"),
        (gzip.compress(pcap())[:-8] + bytes(8), "at byte 24: the compressed data is damaged (crc check failed"),
    ],
)
def test_a_malformed_file_is_told_with_place_and_reason(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        frames_of(data)
    assert message in str(caught.value)


MAGICS = [
    pcap()[:4],
    pcap(order=">")[:4],
    pcap()[:24],
    section(),
    section(">"),
    section() + interface(),
    b"\x1f\x8b\x08\0",
]


@given(st.sampled_from(MAGICS), st.binary(max_size=400))
def test_any_bytes_give_frames_or_a_data_error(head: bytes, rest: bytes) -> None:
    with suppress(DataError):
        frames_of(head + rest)


@given(st.sampled_from(["pcap", "pcapng"]), st.data())
def test_a_file_with_one_changed_byte_gives_frames_or_a_data_error(form: str, data: st.DataObject) -> None:
    stream = io.BytesIO()
    writer = CaptureWriter(stream, form)  # type: ignore[arg-type]  # one of the two
    for number in range(3):
        writer.write(TIME_NS + number, ("192.0.2.1", 1), ("192.0.2.2", 2), DATA)
    file = bytearray(stream.getvalue())
    file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DataError):
        frames_of(bytes(file))
