"""Where is the client? What a trusted proxy says, else what the database says of its address, else nobody knows.

Laws: a header counts only if it comes straight from a trusted proxy; a client can write whatever it likes. The place
decides about milliseconds and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from rtcrelay.config.sites import Place, parse_place
from rtcrelay.config.text import IpNetwork, parse_ip

CLOUDFLARE_ADDRESS: Final = "CF-Connecting-IP"
CLOUDFLARE_LATITUDE: Final = "CF-IPLatitude"
CLOUDFLARE_LONGITUDE: Final = "CF-IPLongitude"
"""Of Cloudflare's managed transform "Add visitor location headers"."""
_FORWARDED_FOR: Final = "X-Forwarded-For"

Source: TypeAlias = Literal["query", "cloudflare", "database", "unknown"]
Lookup: TypeAlias = Callable[[str], Place | None]
"""The place of an IP address, by a database."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A client, as far as it is known."""

    address: str
    """Its IP address: the connection's, or what a trusted proxy says."""
    place: Place | None
    source: Source
    """How the place is known."""


class Locator:
    """Finds a client's place."""

    def __init__(self, trusted: Sequence[IpNetwork], lookup: Lookup | None = None, query: bool = False) -> None:
        """``trusted``: networks of proxies in front; ``query``: whether clients may say where they are (tests)."""
        self._trusted, self._lookup, self._query = trusted, lookup, query

    def reload_from(self, other: Locator) -> None:
        """Takes another one's rules."""
        self._trusted, self._lookup, self._query = other._trusted, other._lookup, other._query

    def locate(self, peer: str, headers: Mapping[str, str], at: str | None = None) -> Whereabouts:
        """The client of a request from ``peer`` (an IP address). ``headers`` find names in any case; ``at`` is what
        the query says. Nothing in them raises."""
        address, place = peer, None
        if self._trusts(peer):
            address = self._client_behind(peer, headers)
            place = _pair(headers.get(CLOUDFLARE_LATITUDE), headers.get(CLOUDFLARE_LONGITUDE))
        if self._query and at is not None and (said := _read(at)) is not None:
            return Whereabouts(address, said, "query")
        if place is not None:
            return Whereabouts(address, place, "cloudflare")
        if self._lookup is not None and (found := self._lookup(address)) is not None:
            return Whereabouts(address, found, "database")
        return Whereabouts(address, None, "unknown")

    def _trusts(self, peer: str) -> bool:
        try:
            ip = ipaddress.ip_address(parse_ip(peer))
        except ValueError:  # a Unix socket, a zone
            return False
        return any(ip in network for network in self._trusted)

    def _client_behind(self, peer: str, headers: Mapping[str, str]) -> str:
        """What the proxy says; of a list of proxies, the last that is not ours (whatever stands before it may have been
        written by the client)."""
        said = headers.get(CLOUDFLARE_ADDRESS)
        if said is not None and (ip := _ip(said)) is not None:
            return ip
        for word in reversed(headers.get(_FORWARDED_FOR, "").split(",")):
            ip = _ip(word)
            if ip is None:
                return peer
            if not self._trusts(ip):
                return ip
        return peer


def _ip(text: str) -> str | None:
    try:
        return parse_ip(text.strip())
    except ValueError:
        return None


def _pair(latitude: str | None, longitude: str | None) -> Place | None:
    return None if latitude is None or longitude is None else _read(f"{latitude.strip()},{longitude.strip()}")


def _read(text: str) -> Place | None:
    try:
        return parse_place(text)
    except ValueError:
        return None
