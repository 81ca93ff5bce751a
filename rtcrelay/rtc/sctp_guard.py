"""Which SCTP packets may reach aiortc? (RFC 9260 section 3)

aiortc's SCTP trusts its peer: a parameter of length 0 makes its reader loop for ever, a SACK with wide gaps
costs seconds, and what it keeps for reassembly has no bound but the peer's good will. A peer with a session
could use that against everybody else's, so this file reads each packet first, and lets few chunks of a kind
through: aiortc answers each by itself in a packet of its own. It keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

COMMON_HEADER: Final = 12
DATA: Final = 0
INIT: Final = 1
INIT_ACK: Final = 2
SACK: Final = 3
HEARTBEAT: Final = 4
ABORT: Final = 6
SHUTDOWN: Final = 7
SHUTDOWN_ACK: Final = 8
COOKIE_ECHO: Final = 10
RE_CONFIG: Final = 130
FORWARD_TSN: Final = 192
_WITH_PARAMETERS: Final = {INIT: 16, INIT_ACK: 16, HEARTBEAT: 0, 5: 0, ABORT: 0, 9: 0, RE_CONFIG: 0}
"""Chunk type to the bytes before its parameters: INIT, INIT ACK, HEARTBEAT, its ACK, ABORT, ERROR, RE-CONFIG."""
_MIN_BODY: Final = {DATA: 13, INIT: 16, INIT_ACK: 16, SACK: 12, SHUTDOWN: 4, FORWARD_TSN: 4}
"""Chunk type to the shortest body. A DATA chunk holds at least one byte (RFC 9260 section 6.2)."""
_MAX_GAP: Final = 2048
"""TSNs that the gap blocks of one SACK may reach; we never have as many in flight."""
_MAX_OF_KIND: Final = {DATA: 64, HEARTBEAT: 2, RE_CONFIG: 2}
"""Chunks of a type in one packet, 1 of every other. 58 DATA chunks of one byte fill a browser's packet, and do no
harm in order; what is kept out of order has its own bound."""
_MAX_PARAMETERS: Final = {RE_CONFIG: 2}
"""RFC 6525 section 3.1 allows two; aiortc answers each."""
_MAX_FORWARDED_STREAMS: Final = 32
"""Stream entries of a FORWARD TSN; each goes through all that the stream has waiting."""


def chunks(packet: bytes) -> Iterator[tuple[int, int, bytes]] | None:
    """The packet's chunks as (type, flags, body); None if a length in it is wrong."""
    found: list[tuple[int, int, bytes]] = []
    position = COMMON_HEADER
    while position + 4 <= len(packet):
        length = int.from_bytes(packet[position + 2 : position + 4], "big")
        if length < 4 or position + length > len(packet):
            return None
        found.append((packet[position], packet[position + 1], packet[position + 4 : position + length]))
        position += (length + 3) & ~3
    return iter(found) if found else None


def is_acceptable(packet: bytes) -> bool:
    """True if aiortc's reader takes a bounded time over the packet and raises nothing."""
    found = chunks(packet)
    if found is None:
        return False
    kinds: dict[int, int] = {}
    for kind, _, body in found:
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] > _MAX_OF_KIND.get(kind, 1) or len(body) < _MIN_BODY.get(kind, 0):
            return False
        if kind in _WITH_PARAMETERS and not _parameters_are_whole(
            body[_WITH_PARAMETERS[kind] :], _MAX_PARAMETERS.get(kind, _ANY_NUMBER)
        ):
            return False
        if kind == SACK and not _sack_is_whole(body):
            return False
        if kind == FORWARD_TSN and (len(body) % 4 or len(body) > 4 + 4 * _MAX_FORWARDED_STREAMS):
            return False
    return INIT not in kinds or len(kinds) == 1


_ANY_NUMBER: Final = 1000
"""More parameters than a packet holds."""


def _parameters_are_whole(body: bytes, most: int) -> bool:
    position = count = 0
    while position + 4 <= len(body):
        length = int.from_bytes(body[position + 2 : position + 4], "big")
        count += 1
        if length < 4 or count > most:
            return False
        position += (length + 3) & ~3
    return True


def _sack_is_whole(body: bytes) -> bool:
    gaps, duplicates = int.from_bytes(body[8:10], "big"), int.from_bytes(body[10:12], "big")
    if len(body) < 12 + 4 * (gaps + duplicates):
        return False
    last = 0
    for position in range(12, 12 + 4 * gaps, 4):
        start = int.from_bytes(body[position : position + 2], "big")
        end = int.from_bytes(body[position + 2 : position + 4], "big")
        if start <= last or end < start:
            return False
        last = end
    return last <= _MAX_GAP
