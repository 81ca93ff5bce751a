"""Packets as a relay's admin socket gives them to whoever captures; see `rtcrelay.relay.capture` for the form."""

from __future__ import annotations

import ipaddress
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPResponse
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

from rtcrelay.admin.client import AdminClient
from rtcrelay.errors import PeerError

Address: TypeAlias = tuple[str, int]

FROM_CLIENT, TO_CLIENT, INTERNAL_IN, INTERNAL_OUT = range(4)
"""Where a packet was seen: at the public socket, to and from; at the internal one, to and from."""

_PIECE: Final = struct.Struct("!IQ")
_RECORD: Final = struct.Struct("!IIQBBBB16s16sHH")
_MAX_PIECE: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a capture is about; any value of one kind, and all kinds that are given."""

    sources: Sequence[str] = ()
    """Clients, as networks with or without ports."""
    nodes: Sequence[str] = ()
    """Next hops, likewise or as node ids."""
    ufrags: Sequence[str] = ()
    """Routing ufrags."""
    everything: bool = False
    """Instead of all these."""
    full: bool = False
    """Whether payloads of media and data channels are kept."""
    snap_bytes: int | None = None
    """Bytes of a payload at most."""

    def query(self) -> str:
        """As the admin interface takes it."""
        pairs = [("src", word) for word in self.sources]
        pairs += [("node", word) for word in self.nodes]
        pairs += [("ufrag", word) for word in self.ufrags]
        pairs += [("all", "1")] if self.everything else []
        pairs += [("full", "1")] if self.full else []
        pairs += [("snaplen", str(self.snap_bytes))] if self.snap_bytes is not None else []
        return urlencode(pairs)


@dataclass(frozen=True, slots=True)
class Origin:
    """The relay that captures."""

    relay: str
    """Its name: the first internal address."""
    listeners: Sequence[Mapping[str, str]]
    """Its addresses, ``public`` and ``internal``."""
    drop_reasons: Sequence[str]
    """The names of its reasons to drop, by number."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One packet at one place."""

    time_ns: int
    """Nanoseconds since 1970, UTC."""
    point: int
    """`FROM_CLIENT`, `TO_CLIENT`, `INTERNAL_IN` or `INTERNAL_OUT`."""
    listener: int
    """The number of the listener."""
    source: Address
    destination: Address
    datagram: bytes
    """What was kept of it; with the SPP header on the internal leg."""
    length: int
    """Bytes it had."""
    dropped: str | None
    """Why it went no further."""
    held: bool
    """Whether it waited for the route cache."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Packets that came together."""

    packets: Sequence[Captured]
    lost: int
    """Packets that the relay had no room for since the start."""


Part: TypeAlias = Origin | Piece


def read_capture(admin: AdminClient, wanted: Wanted) -> Iterator[Part]:
    """First who captures, then what comes, from now on until the relay ends. Raises BackendError and PeerError."""
    with admin.open(f"/v1/capture?{wanted.query()}") as answer:
        origin = _origin(admin, answer.readline(65_536))
        yield origin
        while piece := _exactly(answer, _PIECE.size):
            length, lost = _PIECE.unpack(piece)
            if length > _MAX_PIECE:
                raise PeerError(f"{admin.socket} sends pieces of {length} bytes, expected at most {_MAX_PIECE}")
            yield Piece(list(_records(_exactly(answer, length), origin)), lost)


def _origin(admin: AdminClient, line: bytes) -> Origin:
    try:
        head: Any = json.loads(line)
        return Origin(head["relay"], head["listeners"], head["drop_reasons"])
    except (ValueError, KeyError, TypeError) as error:
        raise PeerError(f"{admin.socket} answered /v1/capture in another form than expected") from error


def _exactly(answer: HTTPResponse, length: int) -> bytes:
    """So many bytes, or none if the answer ends before."""
    data = b""
    while len(data) < length and (more := answer.read(length - len(data))):
        data += more
    return data if len(data) == length else b""


def _records(piece: bytes, origin: Origin) -> Iterator[Captured]:
    at = 0
    while len(piece) - at >= _RECORD.size:
        kept, length, time_ns, point, listener, dropped, held, *addresses = _RECORD.unpack_from(piece, at)
        source, destination, source_port, destination_port = addresses
        at += _RECORD.size
        reasons = origin.drop_reasons
        reason = None if not dropped else reasons[dropped - 1] if dropped <= len(reasons) else "unknown"
        yield Captured(
            time_ns,
            point,
            listener,
            (_ip(source), source_port),
            (_ip(destination), destination_port),
            piece[at : at + kept],
            length,
            reason,
            bool(held),
        )
        at += kept


@lru_cache(maxsize=4096)
def _ip(packed: bytes) -> str:
    ip = ipaddress.IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)
