"""Whose session is it? The owner's HTTP address, out of the session's URL.

``POST`` may land on any transceiver, and so may the requests that follow. The first half of a session's name in its
URL is a routing token of kind ``session``: encrypted and authenticated under the key ring, so that nobody but a
transceiver of the site can name an address. It holds an IPv4 address and a port. An owner whose HTTP address is IPv6
is named by its node id instead: as an address in 0.0.0.0/8 ("this network", RFC 791: no host has one), whose lower
24 bits are the id; the IP address comes from the node table (``--nodes``), the port from the token.

Laws: a request is passed on only within ``--signaling-peers``; from a transceiver only within its cluster, because
other clusters may use the same private addresses; never to ourselves; and never twice (see `forward`), so loops
cannot be.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rtcrelay._dataplane import KeyRing, UfragError, open_ufrag
from rtcrelay.config.text import is_wildcard, network_of, ports_of

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

MAX_NODE_ID: Final = 0xFFFFFF
"""The highest node id that fits into a session's URL."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Another transceiver."""

    address: Address
    """Of its signaling."""
    is_allowed: bool
    """Whether that lies in ``--signaling-peers``."""
    cluster: int
    """Its cluster."""


@dataclass(frozen=True, slots=True)
class OwnerRules:
    """What a reload may change."""

    ring: KeyRing
    peers: tuple[str, ...]
    """Networks with or without ports that requests may be passed on to."""
    cluster: int | None = None
    """The only cluster whose sessions are passed on; None: all."""
    nodes: Mapping[int, Address] = field(default_factory=dict)
    """Node ids and their addresses."""


class Owners:
    """Finds the owner of a session that is not ours."""

    def __init__(self, rules: OwnerRules, own: Address | None) -> None:
        """``own`` is what our own sessions' URLs name; None: we have no sessions."""
        self._own = own
        self.reload(rules)

    def reload(self, rules: OwnerRules) -> None:
        """Takes other peers, nodes and keys."""
        self._rules = rules
        self._peers = [(network_of(peer), ports_of(peer)) for peer in rules.peers]

    def find(self, token: str) -> Owner | None:
        """The owner named by the first half of a session's name; None if that is nobody, or we, or elsewhere."""
        rules = self._rules
        try:
            route = open_ufrag(rules.ring, token.encode("utf-8", "replace"))
        except UfragError:
            return None
        if route.kind != "session" or route.ip is None or rules.cluster not in (None, route.cluster):
            return None
        if (route.ip, route.port) == self._own:
            return None
        address = self._locate(route.ip, route.port)
        if address is None or is_wildcard(address[0]):
            return None
        return Owner(address, self.allows(address), route.cluster)

    def allows(self, address: Address) -> bool:
        """Whether an address is one of the peers'."""
        ip = ipaddress.ip_address(address[0])
        return any(ip in network and address[1] in ports for network, ports in self._peers)

    def _locate(self, ip: str, port: int) -> Address | None:
        number = int(ipaddress.IPv4Address(ip))
        if number > MAX_NODE_ID:
            return ip, port
        node = self._rules.nodes.get(number)
        return None if node is None else (node[0], port)
