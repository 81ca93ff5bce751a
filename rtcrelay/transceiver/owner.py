"""Whose session is it? The owner's HTTP address, out of the session's URL.

``POST /whip`` may land on any transceiver, and so may the ``PATCH`` and ``DELETE`` that follow. The first half of
the URL's last part is a routing token of kind ``session``: encrypted and authenticated under the key ring, so that
nobody but a transceiver of the site can name an address. It holds an IPv4 address and a port. An owner whose HTTP
address is IPv6 is named by its node id instead: as an address in 0.0.0.0/8 ("this network", RFC 791: no host
has one), whose lower 24 bits are the id; the IP address comes from the node table (``--nodes``), the port from
the token.

Laws: a request is passed on only within ``--signaling-peers`` and within the cluster, because other clusters may
use the same private addresses; never to ourselves; and never twice (see `forward`), so loops cannot be.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rtcrelay._dataplane import UfragError, open_ufrag
from rtcrelay.config import TransceiverSettings
from rtcrelay.config.text import format_address, is_wildcard, network_of, ports_of
from rtcrelay.errors import ConfigError
from rtcrelay.keys import KeyFile

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

MAX_NODE_ID: Final = 0xFFFFFF
"""The highest node id that fits into a session's URL."""


def own_address(settings: TransceiverSettings, http: Address, media: Address) -> Address:
    """What this transceiver's session URLs name: an IPv4 address, or a node id in the form of one.

    ``http`` and ``media`` are the bound addresses. Raises ConfigError if neither is known.
    """
    named = settings.signaling_address
    if named is not None:
        if ":" in named[0]:
            raise ConfigError(
                f"--signaling-address {format_address(named)} is IPv6, which does not fit into a session's URL",
                hint="name this transceiver by --node-id and the others' addresses by --nodes ID=ADDR instead",
            )
        return named
    ip = media[0] if http[0] == "0.0.0.0" else http[0]  # noqa: S104  # compared, not bound
    if ":" not in ip:
        return ip, http[1]
    node = settings.node_id
    if node is None or node > MAX_NODE_ID:
        raise ConfigError(
            f"--http {format_address(http)} is IPv6, which does not fit into a session's URL",
            hint=f"give this transceiver a --node-id up to {MAX_NODE_ID}, and the others its address in --nodes"
            " ID=ADDR; or, if they reach it over IPv4 as well, a --signaling-address",
        )
    return str(ipaddress.IPv4Address(node)), http[1]


def require_addresses(settings: TransceiverSettings) -> None:
    """Raises ConfigError if nobody could reach this transceiver: no client, or no other transceiver."""
    if not settings.ingresses and settings.direct is None:
        raise ConfigError("there is no address that clients can send to", hint="--ingress VIP:PORT or --direct ADDR")
    own_address(settings, settings.http, settings.media)  # binding adds a port, which changes nothing here


@dataclass(frozen=True, slots=True)
class Owner:
    """Another transceiver."""

    address: Address
    """Of its signaling."""
    is_allowed: bool
    """Whether that lies in ``--signaling-peers``."""


class Owners:
    """Finds the owner of a session that is not ours."""

    def __init__(self, settings: TransceiverSettings, keys: KeyFile, own: Address) -> None:
        """``own`` as `own_address` says."""
        self._own = own
        self.reload(settings, keys)

    def reload(self, settings: TransceiverSettings, keys: KeyFile) -> None:
        """Takes other peers, nodes and keys."""
        self._ring, self._cluster = keys.ring, settings.cluster
        self._nodes: Mapping[int, Address] = settings.nodes or {}
        self._peers = [(network_of(peer), ports_of(peer)) for peer in settings.signaling_peers]

    def find(self, token: str) -> Owner | None:
        """The owner named by the first half of a URL's last part; None if that is nobody else of this cluster."""
        try:
            route = open_ufrag(self._ring, token.encode("utf-8", "replace"))
        except UfragError:
            return None
        if route.kind != "session" or route.ip is None or route.cluster != self._cluster:
            return None
        if (route.ip, route.port) == self._own:
            return None
        address = self._locate(route.ip, route.port)
        if address is None or is_wildcard(address[0]):
            return None
        return Owner(address, self._is_allowed(address))

    def _locate(self, ip: str, port: int) -> Address | None:
        number = int(ipaddress.IPv4Address(ip))
        if number > MAX_NODE_ID:
            return ip, port
        node = self._nodes.get(number)
        return None if node is None else (node[0], port)

    def _is_allowed(self, address: Address) -> bool:
        ip = ipaddress.ip_address(address[0])
        return any(ip in network and address[1] in ports for network, ports in self._peers)
