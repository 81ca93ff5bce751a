"""Writes datagrams as a capture that tcpdump, Wireshark and ourselves read: raw IP, correct checksums, nanoseconds."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, Literal

import rtcrelay
from rtcrelay.debug.links import LINK_RAW

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

_SNAP_LENGTH: Final = 262_144
_HOP_LIMIT: Final = 64


@dataclass(frozen=True, slots=True)
class Remark:
    """What a pcapng file says of a packet beside its bytes."""

    interface: int = 0
    """Where it was seen, as `CaptureWriter.add_interface` numbers."""
    inbound: bool | None = None
    """Whether it came or went; None: nobody says."""
    comment: str = ""
    """For people; empty for none."""
    length: int | None = None
    """Bytes the datagram had; None: those that are written."""


class CaptureWriter:
    """Writes a pcap or pcapng file packet by packet. The stream stays the caller's."""

    def __init__(self, stream: IO[bytes], form: Literal["pcap", "pcapng"] = "pcapng") -> None:
        self._stream = stream
        self._form = form
        self._interfaces = 0
        if form == "pcap":
            stream.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, _SNAP_LENGTH, LINK_RAW))
            return
        writer = "rtcrelay " + rtcrelay.__version__
        stream.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _options((4, writer.encode()))))

    def add_interface(self, name: str = "", description: str = "") -> int:
        """Names a place where packets are seen, and numbers it; for pcapng, before anything is written otherwise."""
        told = [(2, name.encode())] if name else []
        told += [(3, description.encode())] if description else []
        options = _options(*told, (9, b"\x09"))  # if_tsresol: nanoseconds
        self._stream.write(_block(1, struct.pack("<HHI", LINK_RAW, 0, _SNAP_LENGTH) + options))
        self._interfaces += 1
        return self._interfaces - 1

    def write(
        self, time_ns: int, source: Address, destination: Address, datagram: bytes, remark: Remark | None = None
    ) -> None:
        """Adds one UDP datagram. Both addresses must be of the same IP version: ValueError."""
        remark = remark or Remark()
        packet = pack_udp(source, destination, datagram, remark.length)
        length = len(packet) - len(datagram) + max(len(datagram), remark.length or 0)
        if self._form == "pcap":
            seconds, fraction = divmod(time_ns, 1_000_000_000)
            self._stream.write(struct.pack("<IIII", seconds, fraction, len(packet), length) + packet)
            return
        if not self._interfaces:
            self.add_interface()
        told = [(1, remark.comment.encode())] if remark.comment else []
        told += [] if remark.inbound is None else [(2, struct.pack("<I", 1 if remark.inbound else 2))]
        times = (time_ns >> 32, time_ns & 0xFFFFFFFF)
        head = struct.pack("<IIIII", remark.interface, *times, len(packet), length)
        self._stream.write(_block(6, head + packet + bytes(-len(packet) % 4) + (_options(*told) if told else b"")))


def pack_udp(source: Address, destination: Address, datagram: bytes, length: int | None = None) -> bytes:
    """An IP packet with a UDP datagram of at most 65,507 bytes (IPv6: 65,527). Raises ValueError.

    ``length`` is what the datagram had before it was cut: the headers say so, and the checksum is 0, unknown.
    """
    ips = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if ips[0].version != ips[1].version:
        raise ValueError(f"{source[0]} and {destination[0]} are of different IP versions")
    missing = max(0, (length or 0) - len(datagram))
    length = 8 + len(datagram) + missing
    if length + (20 if ips[0].version == 4 else 0) > 65_535:
        raise ValueError(f"{length - 8} bytes do not fit into a UDP datagram")
    addresses = ips[0].packed + ips[1].packed
    pseudo = addresses + (struct.pack("!xBH", 17, length) if ips[0].version == 4 else struct.pack("!IxxxB", length, 17))
    udp = struct.pack("!HHH", source[1], destination[1], length)
    checksum = 0 if missing else _checksum(pseudo + udp + b"\0\0" + datagram) or 0xFFFF
    udp += struct.pack("!H", checksum) + datagram
    if ips[0].version == 6:
        return struct.pack("!IHBB", 6 << 28, length, 17, _HOP_LIMIT) + addresses + udp
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 0, 0x4000, _HOP_LIMIT, 17)
    return head + struct.pack("!H", _checksum(head + b"\0\0" + addresses)) + addresses + udp


def _options(*options: tuple[int, bytes]) -> bytes:
    """Options and their end (draft-ietf-opsawg-pcapng section 3.5)."""
    pieces = [struct.pack("<HH", kind, len(value)) + value + bytes(-len(value) % 4) for kind, value in options]
    return b"".join(pieces) + bytes(4)


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
