"""Routes as operators see them: read in bulk, 100,000 in a third of a second.

`route_entry` reads one entry for a relay; here the same form is read by the page, and what repeats (next hops, relays)
is checked once. What is not of the form is counted, never raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final, TypeAlias

from msgspec import Struct

from rtcrelay.config.text import format_address
from rtcrelay.store.route_entry import MAX_CHARACTERS, PREFIX, RouteEntry, read_entry

Page: TypeAlias = Iterable[tuple[bytes, bytes | None]]
"""Keys and what they hold."""
NodeNames: TypeAlias = Mapping[tuple[int, str], str]
"""Names of transceivers by (cluster, media address)."""

_PREFIX_LENGTH: Final = len(PREFIX)
_MAX_HEADS: Final = 100_000
_LATEST_MS: Final = 2**53


class RouteRow(Struct, gc=False):
    """A route in Redis."""

    kind: str
    """``route``."""
    v: int
    client: str
    """``ip:port`` as the ingress relay sees it."""
    ingress: int
    """The ingress id."""
    cluster: int
    next_hop: str
    """``ip:port`` of the transceiver."""
    node: str | None
    """Its name, if it is alive."""
    relay: str
    """Who wrote the route."""
    age_s: float
    """Since it was written."""
    ttl_s: float
    """Until it stops to count; negative: it has, and Redis keeps it longer than it should."""
    created_ms: int
    expires_ms: int

    def key(self) -> str:
        """The key in Redis."""
        ip, _, port = self.client.rpartition(":")
        return f"{PREFIX}{self.ingress}:{port}:{ip.strip('[]')}"


class RouteReader:
    """Reads pages of a listing."""

    def __init__(self, nodes: NodeNames, now_ms: int) -> None:
        self.malformed: list[bytes] = []
        """Keys that are no path's, or hold no route; the first 1000."""
        self.malformed_count = 0
        self.now_ms = now_ms
        self._nodes = nodes
        self._heads: dict[str, tuple[int, str, str | None, str] | None] = {}

    def read(self, page: Page) -> list[RouteRow]:
        """The routes of a page. A key without a value is one that has just gone."""
        rows, now, heads = [], self.now_ms, self._heads
        for key, value in page:
            if value is None:
                continue
            try:
                ingress, port, ip = key[_PREFIX_LENGTH:].decode().split(":", 2)
                head, created, expires = value.decode().rsplit("|", 2)
                inet_pton(AF_INET6 if ":" in ip else AF_INET, ip)
                known = heads[head] if head in heads else self._learn(head)
                created_ms, expires_ms = int(created), int(expires)
                if known is None or not (ingress + port).isdecimal() or not (ingress + port).isascii():
                    raise ValueError  # int() takes spaces and underscores as well
                if not (0 < int(ingress) < 65_536 and 0 < int(port) < 65_536):
                    raise ValueError
                if not (0 <= created_ms <= _LATEST_MS and 0 <= expires_ms <= _LATEST_MS):
                    raise ValueError
            except (ValueError, OSError):  # of decoding, splitting, reading a number or an address
                self._refuse(key)
                continue
            cluster, next_hop, node, relay = known
            client = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
            age, ttl = (now - created_ms) / 1000, (expires_ms - now) / 1000
            rows.append(
                RouteRow(
                    "route", 1, client, int(ingress), cluster, next_hop, node, relay, age, ttl, created_ms, expires_ms
                )
            )
        return rows

    def _learn(self, head: str) -> tuple[int, str, str | None, str] | None:
        """What stands before the two times, in another route just the same."""
        entry = read_entry(f"{head}|0|0") if len(head) <= MAX_CHARACTERS else None
        known = None if entry is None else self._describe(entry)
        if len(self._heads) < _MAX_HEADS:
            self._heads[head] = known
        return known

    def _describe(self, entry: RouteEntry) -> tuple[int, str, str | None, str]:
        hop = format_address(entry.next_hop)
        return entry.cluster, hop, self._nodes.get((entry.cluster, hop)), entry.relay

    def _refuse(self, key: bytes) -> None:
        self.malformed_count += 1
        if len(self.malformed) < 1000:
            self.malformed.append(key)
