"""Whose session is it? The owner's HTTP address, out of the session's URL.

``POST`` may land on any transceiver, and so may the requests that follow. The first half of a session's name in its
URL is a routing token of kind ``session``: encrypted and authenticated under the key ring, so that nobody but a
transceiver of the site can name an address. It holds an IPv4 address and a port. An owner whose HTTP address is IPv6
is named by its node id instead: as an address in 0.0.0.0/8 ("this network", RFC 791: no host has one), whose lower
24 bits are the id; the IP address comes from the node table (``--nodes``), the port from the token.

The workers of one machine share that address. Each puts its number into the six highest bits of its tokens' nonces,
by which the others know it.

Laws: a request is passed on only within ``--signaling-peers``; from a transceiver only within its cluster, because
other clusters may use the same private addresses; never to ourselves; and never twice (see `forward`), so loops
cannot be.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rtcrelay._dataplane import KeyRing, Route, UfragError, open_ufrag
from rtcrelay.config.text import is_wildcard, network_of, ports_of

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

MAX_NODE_ID: Final = 0xFFFFFF
"""The highest node id that fits into a session's URL."""
_WORKER_SHIFT: Final = 18
"""Of the 24 bits of a nonce; 18 random ones are enough to tell the sessions of one worker apart."""


def worker_nonce(worker: int) -> int:
    """A random nonce of one of a machine's workers, 0 to 63."""
    return worker << _WORKER_SHIFT | secrets.randbits(_WORKER_SHIFT)


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
        route = self._open(token)
        if route is None or route.ip is None or (route.ip, route.port) == self._own:
            return None
        address = self._locate(route.ip, route.port)
        if address is None or is_wildcard(address[0]):
            return None
        return Owner(address, self.allows(address), route.cluster)

    def find_worker(self, token: str) -> int | None:
        """Which of the workers at our own address the token names; None if it names another address."""
        route = self._open(token)
        if route is None or (route.ip, route.port) != self._own:
            return None
        return route.nonce >> _WORKER_SHIFT

    def allows(self, address: Address) -> bool:
        """Whether an address is one of the peers'."""
        ip = ipaddress.ip_address(address[0])
        return any(ip in network and address[1] in ports for network, ports in self._peers)

    def _open(self, token: str) -> Route | None:
        try:
            route = open_ufrag(self._rules.ring, token.encode("utf-8", "replace"))
        except UfragError:
            return None
        return route if route.kind == "session" and self._rules.cluster in (None, route.cluster) else None

    def _locate(self, ip: str, port: int) -> Address | None:
        number = int(ipaddress.IPv4Address(ip))
        if number > MAX_NODE_ID:
            return ip, port
        node = self._rules.nodes.get(number)
        return None if node is None else (node[0], port)
