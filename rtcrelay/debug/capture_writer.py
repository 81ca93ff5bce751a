"""Writes datagrams as a capture that tcpdump, Wireshark and ourselves read: raw IP, correct checksums, nanoseconds."""

from __future__ import annotations

import ipaddress
import struct
from typing import IO, TYPE_CHECKING, Final, Literal

from rtcrelay.debug.links import LINK_RAW

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

_SNAP_LENGTH: Final = 262_144
_HOP_LIMIT: Final = 64


class CaptureWriter:
    """Writes a pcap or pcapng file packet by packet. The stream stays the caller's."""

    def __init__(self, stream: IO[bytes], form: Literal["pcap", "pcapng"] = "pcapng") -> None:
        self._stream = stream
        self._form = form
        if form == "pcap":
            stream.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, _SNAP_LENGTH, LINK_RAW))
            return
        stream.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        resolution = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)  # if_tsresol: nanoseconds; end of options
        stream.write(_block(1, struct.pack("<HHI", LINK_RAW, 0, _SNAP_LENGTH) + resolution))

    def write(self, time_ns: int, source: Address, destination: Address, datagram: bytes) -> None:
        """Adds one UDP datagram. Both addresses must be of the same IP version: ValueError."""
        packet = pack_udp(source, destination, datagram)
        if self._form == "pcap":
            seconds, fraction = divmod(time_ns, 1_000_000_000)
            header = struct.pack("<IIII", seconds, fraction, len(packet), len(packet))
            self._stream.write(header + packet)
        else:
            head = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(packet), len(packet))
            self._stream.write(_block(6, head + packet))


def pack_udp(source: Address, destination: Address, datagram: bytes) -> bytes:
    """An IP packet with a UDP datagram of at most 65,507 bytes (IPv6: 65,527). Raises ValueError."""
    ips = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if ips[0].version != ips[1].version:
        raise ValueError(f"{source[0]} and {destination[0]} are of different IP versions")
    length = 8 + len(datagram)
    if length + (20 if ips[0].version == 4 else 0) > 65_535:
        raise ValueError(f"{len(datagram)} bytes do not fit into a UDP datagram")
    addresses = ips[0].packed + ips[1].packed
    pseudo = addresses + (struct.pack("!xBH", 17, length) if ips[0].version == 4 else struct.pack("!IxxxB", length, 17))
    udp = struct.pack("!HHH", source[1], destination[1], length)
    udp += struct.pack("!H", _checksum(pseudo + udp + b"\0\0" + datagram) or 0xFFFF) + datagram
    if ips[0].version == 6:
        return struct.pack("!IHBB", 6 << 28, length, 17, _HOP_LIMIT) + addresses + udp
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 0, 0x4000, _HOP_LIMIT, 17)
    return head + struct.pack("!H", _checksum(head + b"\0\0" + addresses)) + addresses + udp


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
