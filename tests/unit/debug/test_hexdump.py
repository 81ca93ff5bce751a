"""Hex as people paste it, and the dumps of the usual tools."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay._dataplane import SppHeader, pack_spp
from rtcrelay.debug.capture_writer import CaptureWriter, pack_udp
from rtcrelay.debug.hexdump import MAX_INPUT_BYTES, parse_hex, read_messages, unwrap
from rtcrelay.errors import DataError

MESSAGE = bytes.fromhex("000100082112a442b7e7a701bc34d686fa87dfae80220004") + b"abcd"
OTHER = bytes.fromhex("000100002112a442b7e7a701bc34d686fa87dfaf")


@pytest.mark.parametrize(
    "text",
    [
        "00010203ff",
        "00 01 02 03 FF",
        "00:01:02:03:ff",
        "00-01-02-03-ff",
        "0x00010203ff",
        "0x00, 0x01, 0x02, 0x03, 0xff",
        "{0x00,0x01,0x02,0x03,0xff};"[:-1],
        r"\x00\x01\x02\x03\xff",
        r"'\x00\x01\x02\x03\xff'",
        "0001 0203\nff",
        "  0001 0203ff  \n",
    ],
)
def test_hex_is_read_in_every_usual_form(text: str) -> None:
    assert parse_hex(text) == b"\0\1\2\3\xff"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0001zz", "'0001zz' is not hexadecimal: 'z'"),
        ("0001\x1b", r"'0001\x1b' is not hexadecimal: '\x1b'"),
        ("001", "'001' has 3 hexadecimal digits, expected two for each byte"),
        ("", "the input has no hexadecimal digits"),
        (" : ", "the input has no hexadecimal digits"),
    ],
)
def test_what_is_not_hex_is_told(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_hex(text)
    assert str(caught.value) == message


@given(st.text(max_size=60))
def test_any_text_gives_bytes_or_a_data_error(text: str) -> None:
    with suppress(DataError):
        parse_hex(text)
    with suppress(DataError):
        list(read_messages(text.encode()))


@given(st.binary(max_size=300))
def test_any_bytes_give_messages_or_a_data_error(data: bytes) -> None:
    with suppress(DataError):
        assert all(isinstance(unwrap(message), bytes) for message in read_messages(data))


def test_paragraphs_of_hex_are_messages_of_their_own() -> None:
    text = f"{MESSAGE.hex(' ')}\n\n{OTHER.hex(':')}\n"
    assert list(read_messages(text.encode())) == [MESSAGE, OTHER]


def test_bytes_are_a_message_as_they_are() -> None:
    assert list(read_messages(MESSAGE)) == [MESSAGE]


@pytest.mark.parametrize(
    "dump",
    [
        # tcpdump -x, -X; xxd; hexdump -C; Wireshark, old and new
        "12:00:00.0 IP 192.0.2.1.1 > 192.0.2.2.2: UDP, length 28\n"
        "\t0x0000:  0001 0008 2112 a442 b7e7 a701 bc34 d686\n\t0x0010:  fa87 dfae 8022 0004 6162 6364\n",
        "\t0x0000:  0001 0008 2112 a442 b7e7 a701 bc34 d686  ....!..B.....4..\n"
        '\t0x0010:  fa87 dfae 8022 0004 6162 6364            ....."..abcd\n',
        "00000000: 0001 0008 2112 a442 b7e7 a701 bc34 d686  ....!..B.....4..\n"
        '00000010: fa87 dfae 8022 0004 6162 6364            ....."..abcd\n',
        "00000000  00 01 00 08 21 12 a4 42  b7 e7 a7 01 bc 34 d6 86  |....!..B.....4..|\n"
        '00000010  fa 87 df ae 80 22 00 04  61 62 63 64              |....."..abcd|\n0000001c\n',
        "0000   00 01 00 08 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86   ....!..B.....4..\n"
        '0010   fa 87 df ae 80 22 00 04 61 62 63 64               ....."..abcd\n',
    ],
)
def test_dumps_of_the_usual_tools_are_read(dump: str) -> None:
    assert list(read_messages(dump.encode())) == [MESSAGE]
    assert list(read_messages((dump + dump).encode())) == [MESSAGE, MESSAGE]


@pytest.mark.parametrize("tool", [("xxd",), ("hexdump", "-C")])
@pytest.mark.parametrize("size", [7, 8, 9, 16, 17, 64])
def test_dumps_are_read_as_the_tools_here_write_them(tool: tuple[str, ...], size: int) -> None:
    if shutil.which(tool[0]) is None:
        return  # the forms are above; this only asks those who happen to be here
    data = (b"abcd" + bytes(range(200, 220)) * 4)[:size]
    dump = subprocess.run(tool, input=data, capture_output=True, check=True).stdout
    assert list(read_messages(dump)) == [data]


def test_packets_of_a_dump_are_taken_out_of_ip_and_ethernet() -> None:
    packet = pack_udp(("192.0.2.1", 1), ("192.0.2.2", 2), MESSAGE)
    assert unwrap(packet) == MESSAGE
    assert unwrap(bytes(12) + b"\x08\0" + packet) == MESSAGE
    assert unwrap(MESSAGE) == MESSAGE
    spp = pack_spp(SppHeader(("192.0.2.1", 1), ("192.0.2.2", 2))) + MESSAGE
    assert unwrap(spp) == spp
    assert unwrap(b"\x80\x60" + bytes(20)) == b"\x80\x60" + bytes(20)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the input is empty"),
        (b" \n", "the input is empty"),
        (b"\xd4\xc3\xb2\xa1" + bytes(20), "the input is a capture or compressed"),
        (b"\x1f\x8b\x08", "the input is a capture or compressed"),
        (b"0x0000:  0001\n0x0020:  0002\n", "the dump jumps from offset 0x2 to 0x20"),
        (bytes(MAX_INPUT_BYTES + 1), f"the input is over {MAX_INPUT_BYTES} bytes"),
    ],
)
def test_what_is_no_message_is_told(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_messages(data))
    assert str(caught.value) == message


@pytest.mark.requires(command="tcpdump", install="apt-get install tcpdump")
@pytest.mark.parametrize("option", ["-x", "-X", "-xx", "-XX"])
def test_tcpdump_prints_what_is_read(tmp_path: Path, option: str) -> None:
    with (tmp_path / "x.pcap").open("wb") as stream:
        writer = CaptureWriter(stream, "pcap")
        for message in (MESSAGE, OTHER):
            writer.write(1_700_000_000_000_000_000, ("192.0.2.1", 5000), ("192.0.2.2", 3478), message)
    dump = subprocess.run(["tcpdump", "-n", option, "-r", str(tmp_path / "x.pcap")], capture_output=True, check=True)
    assert [unwrap(message) for message in read_messages(dump.stdout)] == [MESSAGE, OTHER]
