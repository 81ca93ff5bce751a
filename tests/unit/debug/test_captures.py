"""From frames to datagrams: every link type, VLANs, fragments; and the writer, judged by Wireshark's tools."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay._dataplane import SppHeader, pack_spp
from rtcrelay.debug.capture_writer import CaptureWriter, pack_udp
from rtcrelay.debug.captures import CaptureTally, Packet, open_input, read_packets
from rtcrelay.debug.links import Skip, read_datagram
from rtcrelay.errors import BackendError, ExitStatus

CAPTURES = Path(__file__).parents[2] / "vectors" / "captures"
INSTALL = "apt-get install tshark"
FOUR, OTHER_FOUR = ("198.51.100.7", 51234), ("203.0.113.10", 3478)
SIX, OTHER_SIX = ("2001:db8::7", 51234), ("2001:db8::1", 3478)
DATA = b"payload!"
IPV4, IPV6 = pack_udp(FOUR, OTHER_FOUR, DATA), pack_udp(SIX, OTHER_SIX, DATA)


def packets_of(data: bytes) -> tuple[list[Packet], CaptureTally]:
    tally = CaptureTally()
    return list(read_packets(io.BytesIO(data), tally)), tally


def written(form: Literal["pcap", "pcapng"] = "pcapng", count: int = 1) -> bytes:
    stream = io.BytesIO()
    writer = CaptureWriter(stream, form)
    for number in range(count):
        writer.write(1_700_000_000_123_456_789 + number, FOUR, OTHER_FOUR, DATA)
        writer.write(1_700_000_000_123_456_789 + number, SIX, OTHER_SIX, DATA)
    return stream.getvalue()


def sll2(kind: bytes, packet: bytes) -> bytes:
    return kind + bytes(18) + packet


@pytest.mark.parametrize(
    ("link", "frame"),
    [
        (1, bytes(12) + b"\x08\0" + IPV4 + bytes(6)),  # padded to Ethernet's least length
        (1, bytes(12) + b"\x81\0\0\5\x08\0" + IPV4),
        (1, bytes(12) + b"\x88\xa8\0\5\x81\0\0\6\x08\0" + IPV4),
        (113, bytes(14) + b"\x08\0" + IPV4),
        (113, bytes(14) + b"\x81\0\0\5\x08\0" + IPV4),
        (276, sll2(b"\x08\0", IPV4)),
        (276, sll2(b"\x81\0", b"\0\5\x08\0" + IPV4)),
        (101, IPV4),
        (12, IPV4),
        (228, IPV4),
        (0, b"\2\0\0\0" + IPV4),
        (0, b"\0\0\0\2" + IPV4),
        (108, b"\0\0\0\2" + IPV4),
    ],
)
def test_ipv4_is_found_on_every_link_type(link: int, frame: bytes) -> None:
    assert read_datagram(link, frame, len(frame)) == (FOUR, OTHER_FOUR, DATA)


@pytest.mark.parametrize(
    ("link", "frame"),
    [
        (1, bytes(12) + b"\x86\xdd" + IPV6),
        (113, bytes(14) + b"\x86\xdd" + IPV6),
        (276, sll2(b"\x86\xdd", IPV6)),
        (101, IPV6),
        (229, IPV6),
        (0, b"\x1e\0\0\0" + IPV6),
        (108, b"\0\0\0\x18" + IPV6),
    ],
)
def test_ipv6_is_found_on_every_link_type(link: int, frame: bytes) -> None:
    assert read_datagram(link, frame, len(frame)) == (SIX, OTHER_SIX, DATA)


def with_extension(kind: int, header: bytes) -> bytes:
    length = struct.pack("!H", len(IPV6) - 40 + len(header))
    return IPV6[:4] + length + bytes([kind]) + IPV6[7:40] + header + IPV6[40:]


@pytest.mark.parametrize(
    ("name", "frame", "expected"),
    [
        ("hop-by-hop", with_extension(0, b"\x11\0" + bytes(6)), (SIX, OTHER_SIX, DATA)),
        ("authentication", with_extension(51, b"\x11\1" + bytes(10)), (SIX, OTHER_SIX, DATA)),
        ("atomic fragment", with_extension(44, b"\x11\0\0\0" + bytes(4)), (SIX, OTHER_SIX, DATA)),
        ("first fragment", with_extension(44, b"\x11\0\0\1" + bytes(4)), Skip.FRAGMENT),
        ("later fragment", with_extension(44, b"\x11\0\0\x08" + bytes(4)), Skip.FRAGMENT),
        ("endless options", with_extension(60, b"\x3c\0" + bytes(6)), Skip.NOT_UDP),
        ("IPv4 first fragment", IPV4[:6] + b"\x20\0" + IPV4[8:], Skip.FRAGMENT),
        ("IPv4 last fragment", IPV4[:6] + b"\0\5" + IPV4[8:], Skip.FRAGMENT),
        ("IPv4 TCP", IPV4[:9] + b"\6" + IPV4[10:], Skip.NOT_UDP),
        ("IPv4 short header", b"\x44" + IPV4[1:], Skip.MALFORMED),
        ("IPv4 total length of the network card", IPV4[:2] + b"\0\0" + IPV4[4:], (FOUR, OTHER_FOUR, DATA)),
        ("IPv4 total length too small", IPV4[:2] + b"\0\x13" + IPV4[4:], Skip.MALFORMED),
        ("UDP length too small", IPV4[:24] + b"\0\7" + IPV4[26:], Skip.MALFORMED),
        ("UDP length too large", IPV4[:24] + b"\0\x40" + IPV4[26:], Skip.MALFORMED),
        ("version 5", b"\x55" + IPV4[1:], Skip.NOT_IP),
        ("nothing", b"", Skip.MALFORMED),
    ],
)
def test_what_an_ip_packet_gives(name: str, frame: bytes, expected: object) -> None:
    assert read_datagram(101, frame, len(frame)) == expected


def test_mapped_addresses_become_ipv4() -> None:
    mapped = IPV6[:8] + bytes(10) + b"\xff\xff" + bytes((198, 51, 100, 7)) + IPV6[24:]
    found = read_datagram(101, mapped, len(mapped))
    assert not isinstance(found, Skip)
    assert found[0] == FOUR


def test_frames_that_the_capture_cut_are_told_apart_from_malformed_ones() -> None:
    assert read_datagram(101, IPV4[:-1], len(IPV4)) is Skip.CUT
    assert read_datagram(101, IPV4[:-1], len(IPV4) - 1) is Skip.MALFORMED
    assert read_datagram(147, IPV4, len(IPV4)) is Skip.LINK


@given(st.sampled_from([0, 1, 101, 108, 113, 228, 276]), st.binary(max_size=120))
def test_any_frame_gives_a_datagram_or_a_reason(link: int, frame: bytes) -> None:
    assert isinstance(read_datagram(link, frame, len(frame)), tuple | Skip)


def test_the_tally_says_what_was_left_out() -> None:
    stream = io.BytesIO()
    writer = CaptureWriter(stream, "pcap")
    writer.write(0, FOUR, OTHER_FOUR, DATA)
    file = bytearray(stream.getvalue() + stream.getvalue()[24:])
    file[24 + 16 + 6] = 0x20  # the first packet: more fragments
    packets, tally = packets_of(bytes(file))
    assert len(packets) == 1
    assert list(tally.sentences()) == ["1 of 2 frames left out: IP fragments (they are not put together)"]
    _, tally = packets_of(bytes(file[:-1]))
    assert list(tally.sentences())[-1] == "the capture ends inside a record, after 1 whole frames"


def test_spp_is_taken_off() -> None:
    header = SppHeader(FOUR, ("10.0.0.5", 3479))
    packet = Packet(1, 0, FOUR, OTHER_FOUR, pack_spp(header) + DATA)
    assert (packet.spp, packet.payload) == (header, DATA)
    assert Packet(1, 0, FOUR, OTHER_FOUR, DATA).payload == DATA


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_what_is_written_is_read_again(form: Literal["pcap", "pcapng"]) -> None:
    packets, tally = packets_of(written(form))
    assert [(p.source, p.destination, p.datagram) for p in packets] == [
        (FOUR, OTHER_FOUR, DATA),
        (SIX, OTHER_SIX, DATA),
    ]
    assert {p.time_ns for p in packets} == {1_700_000_000_123_456_789}
    assert list(tally.sentences()) == []


def test_what_does_not_fit_is_not_written() -> None:
    with pytest.raises(ValueError, match="of different IP versions"):
        pack_udp(FOUR, SIX, DATA)
    with pytest.raises(ValueError, match="65508 bytes do not fit into a UDP datagram"):
        pack_udp(FOUR, OTHER_FOUR, bytes(65_508))


def test_a_missing_file_and_a_directory_have_their_statuses(tmp_path: Path) -> None:
    for name, status, reason in (
        (str(tmp_path / "none"), ExitStatus.NO_INPUT, "no such file or directory"),
        (str(tmp_path), ExitStatus.IO, "is a directory"),
    ):
        with pytest.raises(BackendError) as caught, open_input(name):
            pass
        assert caught.value.status == status
        assert str(caught.value) == f"cannot read {name}: {reason}"


def test_a_capture_of_tcpdump_is_read_whole() -> None:
    with open_input(str(CAPTURES / "call.pcap")) as stream:
        packets, tally = packets_of(stream.read())
    assert (len(packets), tally.frames, list(tally.sentences())) == (120, 120, [])
    assert sum(packet.spp is not None for packet in packets) == 60


# -- Wireshark as judge


@pytest.mark.requires(command="tshark", install=INSTALL)
@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_wireshark_reads_what_is_written_and_finds_no_fault(tmp_path: Path, form: Literal["pcap", "pcapng"]) -> None:
    path = tmp_path / f"x.{form}"
    path.write_bytes(written(form))
    fields = ("frame.time_epoch", "ip.src", "ipv6.src", "udp.srcport", "udp.dstport", "udp.payload", "_ws.expert")
    checks = ("ip.check_checksum", "udp.check_checksum")
    command = [
        "tshark",
        "-r",
        str(path),
        "-Tfields",
        *(f"-e{name}" for name in fields),
        *(f"-o{c}:TRUE" for c in checks),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines == [
        ["1700000000.123456789", FOUR[0], "", "51234", "3478", DATA.hex(), ""],
        ["1700000000.123456789", "", SIX[0], "51234", "3478", DATA.hex(), ""],
    ]


@pytest.mark.requires(command="editcap", install=INSTALL)
@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "pcapng"])
@pytest.mark.parametrize("link", ["ether", "linux-sll", "linux-sll2", "rawip", "null"])
def test_files_that_wireshark_writes_are_read(tmp_path: Path, form: str, link: str) -> None:
    heads = {
        "ether": bytes(12) + b"\x08\0",
        "linux-sll": bytes(14) + b"\x08\0",
        "linux-sll2": b"\x08\0" + bytes(18),
        "rawip": b"",
        "null": b"\2\0\0\0",
    }
    frame = heads[link] + IPV4
    plain, converted = tmp_path / "plain", tmp_path / "converted"
    plain.write_bytes(
        struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
        + struct.pack("<IIII", 1_700_000_000, 5, len(frame), len(frame))
        + frame
    )
    subprocess.run(["editcap", "-F", form, "-T", link, str(plain), str(converted)], check=True, capture_output=True)
    packets, _ = packets_of(converted.read_bytes())
    assert packets == [Packet(1, 1_700_000_000_000_005_000, FOUR, OTHER_FOUR, DATA)]


@pytest.mark.requires(command="text2pcap", install=INSTALL)
def test_files_that_text2pcap_makes_of_a_dump_are_read(tmp_path: Path) -> None:
    dump = "0000  " + " ".join(f"{byte:02x}" for byte in DATA) + "\n"
    command = [
        "text2pcap",
        "-4",
        f"{FOUR[0]},{OTHER_FOUR[0]}",
        "-u",
        f"{FOUR[1]},{OTHER_FOUR[1]}",
        "-",
        str(tmp_path / "x"),
    ]
    subprocess.run(command, input=dump.encode(), check=True, capture_output=True)
    packets, _ = packets_of((tmp_path / "x").read_bytes())
    assert [(p.source, p.destination, p.datagram) for p in packets] == [(FOUR, OTHER_FOUR, DATA)]
