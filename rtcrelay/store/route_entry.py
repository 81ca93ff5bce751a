"""What is a route as text? The keys and values that relays keep in Redis.

``rtcrelay:1:f:<ingress id>:<port>:<ip>`` (RFC 5952 form) holds
``1|cluster|next hop|relay|created_ms|expires_ms``. The expiry is in the value too, so that a listing needs no
question per key.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from rtcrelay.config.text import format_address

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

PREFIX: Final = "rtcrelay:1:f:"
VERSION: Final = "1"
MAX_CHARACTERS: Final = 256
"""A longer value is none of ours."""


@dataclass(frozen=True, slots=True)
class PathKey:
    """What a path is known by."""

    client: Address
    """The client as the ingress relay sees it."""
    ingress: int
    """The ingress id, 1 to 65535."""

    def text(self) -> str:
        """The key in Redis."""
        ip, port = self.client
        return f"{PREFIX}{self.ingress}:{port}:{ip}"


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """Where a path leads, as some relay wrote it."""

    cluster: int
    """The cluster that owns the session, 0 to 65535."""
    next_hop: Address
    """Where the path's packets go: its transceiver, or, as written by an ingress, a relay of that cluster."""
    relay: str
    """The internal address of the relay that wrote it."""
    created_ms: int
    """When it was written, in milliseconds since 1970."""
    expires_ms: int
    """When it stops to count, likewise."""

    def text(self) -> str:
        """The value in Redis."""
        hop = format_address(self.next_hop)
        return f"{VERSION}|{self.cluster}|{hop}|{self.relay}|{self.created_ms}|{self.expires_ms}"


Lead: TypeAlias = Callable[[RouteEntry], "Address | None"]
"""Where an entry leads a path's packets; None: nowhere."""


def read_key(text: str) -> PathKey | None:
    """Reads a key; None if it is not one of ours."""
    if not text.startswith(PREFIX) or len(text) > MAX_CHARACTERS:
        return None
    ingress, _, rest = text[len(PREFIX) :].partition(":")
    port, _, ip = rest.partition(":")
    address = _address(ip, port)
    number = _number(ingress, 65_535)
    return PathKey(address, number) if address is not None and number else None


def read_entry(text: str) -> RouteEntry | None:
    """Reads a value; None if anything in it is not as we write it."""
    fields = text.split("|") if len(text) <= MAX_CHARACTERS else []
    if len(fields) != 6 or fields[0] != VERSION:
        return None
    next_hop = _next_hop(fields[2])
    cluster, created, expires = _number(fields[1], 65_535), _number(fields[4], 2**53), _number(fields[5], 2**53)
    if next_hop is None or cluster is None or created is None or expires is None:
        return None
    return RouteEntry(cluster, next_hop, fields[3], created, expires)


def routes_of(
    keys: Sequence[PathKey],
    values: Sequence[str | None],
    lead: Lead,
    now_ms: int,
) -> tuple[list[tuple[Address, int, Address]], int, int]:
    """What a store's answers say: routes as the data plane takes them, how many keys it has nothing for, and how many
    entries are malformed, expired or, by ``lead``, lead nowhere."""
    routes, missed, refused = [], 0, 0
    for key, value in zip(keys, values, strict=True):
        if value is None:
            missed += 1
            continue
        entry = read_entry(value)
        next_hop = lead(entry) if entry is not None and entry.expires_ms > now_ms else None
        if next_hop is None:
            refused += 1
        else:
            routes.append((key.client, key.ingress, next_hop))
    return routes, missed, refused


@lru_cache(maxsize=4096)
def _next_hop(text: str) -> Address | None:
    # Few next hops, many routes: a restarted relay reads ten thousand at once, and this was two thirds of the time.
    ip, _, port = text.rpartition(":")
    return _address(ip.removeprefix("[").removesuffix("]"), port)


def _address(ip: str, port: str) -> Address | None:
    number = _number(port, 65_535)
    try:
        canonical = str(ipaddress.ip_address(ip))
    except ValueError:
        return None
    return (canonical, number) if number and "%" not in canonical else None


def _number(text: str, maximum: int) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        return None
    return int(text) if int(text) <= maximum else None
