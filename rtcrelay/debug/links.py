"""Which UDP datagram does a frame carry? Link headers, IPv4 and IPv6 (RFC 791, 8200), UDP (RFC 768).

Anything may be in a frame. What cannot be read is a reason, which is counted, and never an exception.
"""

from __future__ import annotations

import socket
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

Datagram: TypeAlias = "tuple[Address, Address, bytes]"
"""(source, destination, payload) of UDP."""


class Skip(Enum):
    """Why a frame gives no datagram; the value is how the summary says it."""

    LINK = "on a link type that cannot be read"
    NOT_IP = "not IP"
    NOT_UDP = "not UDP"
    FRAGMENT = "IP fragments"
    CUT = "cut short by the capture"
    MALFORMED = "malformed"


LINK_NULL, LINK_ETHERNET, LINK_RAW, LINK_LOOP = 0, 1, 101, 108
LINK_SLL, LINK_IPV4, LINK_IPV6, LINK_SLL2 = 113, 228, 229, 276

_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_VLANS: Final = (0x8100, 0x88A8, 0x9100)
"""IEEE 802.1Q, 802.1ad, and the usual value before there was 802.1ad."""
_MAX_VLANS: Final = 4
_INET6_FAMILIES: Final = (10, 24, 28, 30)
"""AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS."""
_MAX_EXTENSIONS: Final = 8
_UDP: Final = 17


def read_datagram(link: int, data: bytes, length: int) -> Datagram | Skip:
    """The datagram of a frame; ``length`` is what the frame had before a capture cut it."""
    reader = _LINKS.get(link)
    if reader is None:
        return Skip.LINK
    start = reader(data)
    if isinstance(start, Skip):
        return Skip.CUT if length > len(data) and start is Skip.MALFORMED else start
    found = read_ip(data, start)
    return Skip.CUT if found is Skip.MALFORMED and length > len(data) else found


def read_ip(data: bytes, start: int = 0) -> Datagram | Skip:
    """The datagram of an IP packet that begins at ``start``; what stands behind it is padding."""
    if len(data) <= start:
        return Skip.MALFORMED
    version = data[start] >> 4
    return _read_ipv4(data, start) if version == 4 else _read_ipv6(data, start) if version == 6 else Skip.NOT_IP


# -- links: where IP begins


def _ethernet(data: bytes) -> int | Skip:
    return _ether_type(data, 12)


def _sll(data: bytes) -> int | Skip:
    return _ether_type(data, 14)


def _sll2(data: bytes) -> int | Skip:
    if len(data) < 20:
        return Skip.MALFORMED
    kind = int.from_bytes(data[:2], "big")
    return _ether_type(data, 22) if kind in _VLANS else 20 if kind in (_IPV4, _IPV6) else Skip.NOT_IP


def _ether_type(data: bytes, offset: int) -> int | Skip:
    for _ in range(_MAX_VLANS + 1):
        if len(data) < offset + 2:
            return Skip.MALFORMED
        kind = int.from_bytes(data[offset : offset + 2], "big")
        if kind not in _VLANS:
            return offset + 2 if kind in (_IPV4, _IPV6) else Skip.NOT_IP
        offset += 4
    return Skip.NOT_IP


def _null(data: bytes) -> int | Skip:
    """The address family is in the byte order of the machine that captured (BSD loopback), or big-endian (LOOP)."""
    if len(data) < 4:
        return Skip.MALFORMED
    families = (int.from_bytes(data[:4], "big"), int.from_bytes(data[:4], "little"))
    return 4 if any(family == 2 or family in _INET6_FAMILIES for family in families) else Skip.NOT_IP


def _raw(data: bytes) -> int | Skip:
    return 0 if data else Skip.MALFORMED


_LINKS: Final = {
    LINK_NULL: _null,
    LINK_LOOP: _null,
    LINK_ETHERNET: _ethernet,
    12: _raw,  # DLT_RAW of most systems, 14 of OpenBSD: not LINKTYPE_ values, but files have them
    14: _raw,
    LINK_RAW: _raw,
    LINK_IPV4: _raw,
    LINK_IPV6: _raw,
    LINK_SLL: _sll,
    LINK_SLL2: _sll2,
}


# -- IP and UDP


def _read_ipv4(data: bytes, start: int) -> Datagram | Skip:
    if len(data) < start + 20:
        return Skip.MALFORMED
    header = (data[start] & 0x0F) * 4
    # Segmentation in the network card leaves total lengths of zero in captures on the sending host.
    total = int.from_bytes(data[start + 2 : start + 4], "big") or len(data) - start
    if header < 20 or total < header or len(data) < start + header:
        return Skip.MALFORMED
    if int.from_bytes(data[start + 6 : start + 8], "big") & 0x3FFF:
        return Skip.FRAGMENT
    if data[start + 9] != _UDP:
        return Skip.NOT_UDP
    return _read_udp(data, start + header, start + total, data[start + 12 : start + 16], data[start + 16 : start + 20])


def _read_ipv6(data: bytes, start: int) -> Datagram | Skip:
    if len(data) < start + 40:
        return Skip.MALFORMED
    length = int.from_bytes(data[start + 4 : start + 6], "big")
    end = start + 40 + length if length else len(data)
    kind, offset = data[start + 6], start + 40
    for _ in range(_MAX_EXTENSIONS):
        if kind == _UDP:
            return _read_udp(data, offset, end, data[start + 8 : start + 24], data[start + 24 : start + 40])
        if kind not in (0, 43, 44, 51, 60):
            return Skip.NOT_UDP
        if len(data) < offset + 8:
            return Skip.MALFORMED
        if kind == 44:
            if int.from_bytes(data[offset + 2 : offset + 4], "big") & 0xFFF9:
                return Skip.FRAGMENT
            size = 8  # an atomic fragment (RFC 6946)
        else:
            size = (data[offset + 1] + 2) * 4 if kind == 51 else (data[offset + 1] + 1) * 8
        kind, offset = data[offset], offset + size
    return Skip.NOT_UDP


def _read_udp(data: bytes, offset: int, end: int, source: bytes, destination: bytes) -> Datagram | Skip:
    if len(data) < offset + 8:
        return Skip.MALFORMED
    length = int.from_bytes(data[offset + 4 : offset + 6], "big")
    if length < 8 or offset + length > min(end, len(data)):
        return Skip.MALFORMED
    return (
        (_ip(source), int.from_bytes(data[offset : offset + 2], "big")),
        (_ip(destination), int.from_bytes(data[offset + 2 : offset + 4], "big")),
        data[offset + 8 : offset + length],
    )


@lru_cache(maxsize=65_536)
def _ip(packed: bytes) -> str:
    """RFC 5952 form; an IPv4-mapped address becomes IPv4, as everywhere in rtcrelay."""
    if len(packed) == 16 and packed.startswith(bytes(10) + b"\xff\xff"):
        packed = packed[12:]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
