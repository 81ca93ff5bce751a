"""What do this transceiver's session URLs name, and which requests does it pass on? See `rtcrelay.http.owners`."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from rtcrelay.config import TransceiverSettings
from rtcrelay.config.text import format_address
from rtcrelay.errors import ConfigError
from rtcrelay.http.owners import MAX_NODE_ID, OwnerRules
from rtcrelay.keys import KeyFile

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address


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
    # Workers share signaling, so that all are named by the first one's id.
    return str(ipaddress.IPv4Address(node - (settings.worker or 0))), http[1]


def require_addresses(settings: TransceiverSettings) -> None:
    """Raises ConfigError if nobody could reach this transceiver: no client, or no other transceiver."""
    if not settings.ingresses and settings.direct is None:
        raise ConfigError("there is no address that clients can send to", hint="--ingress VIP:PORT or --direct ADDR")
    own_address(settings, settings.http, settings.media)  # binding adds a port, which changes nothing here


def owner_rules(settings: TransceiverSettings, keys: KeyFile) -> OwnerRules:
    """Whose requests are passed on: those of the cluster's other transceivers."""
    return OwnerRules(keys.ring, settings.signaling_peers, settings.cluster, settings.nodes or {})
