"""Which bytes did somebody paste? Plain hex in any usual form, and the dumps of tcpdump -x, xxd, hexdump -C, Wireshark.

Whatever does not read as hex is a `DataError` that shows the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from rtcrelay._dataplane import unpack_spp
from rtcrelay.debug.links import LINK_ETHERNET, Skip, read_datagram, read_ip
from rtcrelay.errors import DataError
from rtcrelay.rtc.stun import MAGIC_COOKIE

MAX_INPUT_BYTES: Final = 4_194_304
"""Text or binary input that is read at all. Chosen: 65,535 bytes of a datagram as a dump are 400 kB."""
_CAPTURE_MAGICS: Final = tuple(bytes.fromhex(h) for h in ("d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a"))
_COOKIE: Final = MAGIC_COOKIE.to_bytes(4, "big")
_OFFSET: Final = re.compile(r"\s*(?:0x)?([0-9a-fA-F]{4,8})(?::[ \t]?|[ \t]{2,3}|\t)", re.ASCII)
_PREFIXES: Final = re.compile(r"0[xX]|\\x")
_FILLERS: Final = re.compile(r"[\s:,;.\-_]+")
_GROUP: Final = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)


def parse_hex(text: str) -> bytes:
    """The bytes of one plain hex string; spaces, line ends, colons, commas, dashes, 0x and \\x are ignored."""
    digits = _FILLERS.sub("", _PREFIXES.sub(" ", text.strip().strip("\"'{}[]")))
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise DataError(f"{_short(text)} is not hexadecimal: {wrong[0]!a}", hint="@FILE reads bytes from a file")
    if len(digits) % 2:
        raise DataError(f"{_short(text)} has {len(digits)} hexadecimal digits, expected two for each byte")
    if not digits:
        raise DataError("the input has no hexadecimal digits")
    return bytes.fromhex(digits)


def read_messages(data: bytes) -> Iterator[bytes]:
    """The messages of a file or of stdin: text with hex dumps (any number, told apart by their offsets or by empty
    lines), or the bytes of one message. Raises DataError."""
    if len(data) > MAX_INPUT_BYTES:
        raise DataError(f"the input is over {MAX_INPUT_BYTES} bytes", hint="-r reads captures of any size")
    if data[:4] in _CAPTURE_MAGICS or data[:2] == b"\x1f\x8b":
        raise DataError("the input is a capture or compressed", hint="-r FILE reads captures")
    if not data.strip():
        raise DataError("the input is empty")
    if not _is_text(data):
        yield data
        return
    text = data.decode("ascii")
    if any(_OFFSET.match(line) for line in text.splitlines()):
        yield from _read_dumps(text)
    else:
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            yield parse_hex(paragraph)


def unwrap(data: bytes) -> bytes:
    """What UDP carried, if a dump began with the IP or Ethernet header, as of tcpdump -x and -xx; else the same."""
    if data[4:8] == _COOKIE or unpack_spp(data) is not None:
        return data
    for found in (read_ip(data), read_datagram(LINK_ETHERNET, data, len(data))):
        if not isinstance(found, Skip):
            return found[2]
    return data


def _is_text(data: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n\f" for byte in data)


def _read_dumps(text: str) -> Iterator[bytes]:
    """Lines with an offset belong to a packet, which ends where the next offset does not continue it."""
    packet = bytearray()
    for line in text.splitlines():
        match = _OFFSET.match(line)
        if match is None:
            continue  # tcpdump's line about the packet, or nothing
        offset, data = int(match[1], 16), _line_bytes(line[match.end() :])
        if packet and offset != len(packet):
            if offset:
                raise DataError(f"the dump jumps from offset {len(packet):#x} to {offset:#x}")
            yield bytes(packet)
            packet.clear()
        packet += data
    if packet:
        yield bytes(packet)


def _line_bytes(line: str) -> bytes:
    """The bytes of a dump's line, without the characters that stand behind them."""
    data = b""
    words = re.split(r"( +|\t)", line.strip(" \t"))
    for word, gap in zip(words[::2], ["", *words[1::2]], strict=True):
        # Two spaces stand before the characters; in the middle of hexdump -C's and Wireshark's lines too.
        if not _GROUP.fullmatch(word) or (len(gap) > 1 and not (len(gap) == 2 and len(data) == 8 and len(word) == 2)):
            break
        data += bytes.fromhex(word)
        if len(data) >= 16:
            break
    return data


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:37] + "...")
