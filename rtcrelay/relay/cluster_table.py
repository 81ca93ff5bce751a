"""Where are the relays of other clusters? What the settings say, and for clusters they leave out, heartbeats.

Laws: a cluster that the settings name is as they say, and no heartbeat changes it. Whoever can write Redis can write
heartbeats: an address counts only within ``--peers``, and only for one cluster. A relay that is cordoned or draining is
left out while another one serves; it forwards all the same, so it is better than none. Relays that are heard of no more
are left out while others of their cluster are heard of; the last ones stay for a while, since Redis may have been
wiped, and the data plane sees for itself who answers.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from rtcrelay.config.text import address, format_address, network_of, ports_of
from rtcrelay.store.complaints import Complaints

if TYPE_CHECKING:
    from rtcrelay.config import Address, RelaySettings
    from rtcrelay.store.node_entry import Heartbeat
    from rtcrelay.store.route_entry import RouteEntry

log = logging.getLogger("rtcrelay.relay")

KEEP_SECONDS: Final = 300.0
"""How long the last relays of a cluster stay after their last heartbeat."""
MAX_RELAYS: Final = 32
"""Relays of one cluster, as many as the data plane takes; of more, those whose addresses sort first, so that all
ingresses have the same."""

_parse = address(concrete=True)


@dataclass(frozen=True, slots=True)
class _Heard:
    """A relay by its last heartbeat."""

    cluster: int
    serves: bool
    at: float
    source: str
    """Which Redis says so; empty: this relay's own, in which the other one remembers its routes itself."""


class ClusterTable:
    """The table of one relay. ``now`` is the monotonic clock, in seconds."""

    def __init__(self, settings: RelaySettings) -> None:
        self.relays: Mapping[int, tuple[Address, ...]] = dict(settings.clusters)
        """The internal addresses of each cluster's relays."""
        self.cluster_of: Mapping[Address, int] = {}
        """The same the other way round."""
        self.refused = 0
        """Heartbeats of relays whose address was outside ``--peers`` or another cluster's, or that made no sense."""
        self._settings = settings
        self._heard: dict[Address, _Heard] = {}
        self._forbidden = Complaints(log, "heartbeats name relays that cannot be (%d times): %s")
        self._make(0.0)

    def take_settings(self, settings: RelaySettings, now: float) -> bool:
        """Takes other settings; returns whether `relays` is another one."""
        self._settings = settings
        self._heard = {
            where: heard
            for where, heard in self._heard.items()
            if heard.cluster not in (settings.cluster, *settings.clusters) and self._may_be(where)
        }
        return self._make(now)

    def handle_nodes(self, nodes: Iterable[Heartbeat], now: float, source: str = "") -> bool:
        """Takes who is alive; returns whether `relays` is another one. ``source`` names the Redis; empty: this relay's
        own."""
        started: dict[Address, int] = {}
        for node in nodes:
            cluster = node.cluster
            if node.role != "relay" or cluster is None or cluster in (self._settings.cluster, *self._settings.clusters):
                continue
            where, known = self._address_of(node), None
            if where is not None:
                known = self._heard.get(where)
            if where is None or (known is not None and known.cluster != cluster and known.source != source):
                self._refuse(f"{node.node} of cluster {cluster}: outside --peers, or another cluster's")
                continue
            if where in started:  # it went to another cluster, and its last heartbeat there is not over yet
                self._refuse(f"{node.node} is in two clusters; the process that started last counts")
                if node.process.started_ms < started[where]:
                    continue
            started[where] = node.process.started_ms
            self._heard[where] = _Heard(cluster, node.state == "serving", now, source)
        return self._make(now)

    def owner_of(self, next_hop: Address) -> int | None:
        """The cluster under which a route is to be written; None: not at all, for whoever is at that next hop writes it
        into the same Redis, or nobody knows whose it is."""
        cluster = self.cluster_of.get(next_hop)
        if cluster is not None and cluster != self._settings.cluster:
            heard = self._heard.get(next_hop)
            return None if heard is not None and heard.source == "" else cluster
        return self._settings.cluster if _lies_in(next_hop, self._settings.transceivers) else None

    def lead(self, entry: RouteEntry) -> Address | None:
        """Where a remembered route leads: to its transceiver if this relay's cluster owns it, else to a relay of the
        cluster that does, of which the data plane chooses one. None: nowhere."""
        if entry.cluster == self._settings.cluster:
            return entry.next_hop if _lies_in(entry.next_hop, self._settings.transceivers) else None
        relays = self.relays.get(entry.cluster, ())
        return entry.next_hop if entry.next_hop in relays else relays[0] if relays else None

    def describe(self) -> list[dict[str, Any]]:
        """Each cluster, its relays, and how they are known."""
        return [
            {
                "cluster": cluster,
                "relays": [format_address(relay) for relay in relays],
                "known_by": "settings" if cluster in self._settings.clusters else "heartbeats",
            }
            for cluster, relays in sorted(self.relays.items())
        ]

    def __str__(self) -> str:
        return "; ".join(f"{row['cluster']} at {' '.join(row['relays'])}" for row in self.describe()) or "none"

    def _make(self, now: float) -> bool:
        self._heard = {where: heard for where, heard in self._heard.items() if now - heard.at < KEEP_SECONDS}
        relays: dict[int, tuple[Address, ...]] = dict(self._settings.clusters)
        for cluster in sorted({heard.cluster for heard in self._heard.values()}):
            known = {where: heard for where, heard in self._heard.items() if heard.cluster == cluster}
            latest = max(heard.at for heard in known.values())
            alive = [where for where, heard in known.items() if heard.at == latest]
            serving = [where for where in alive if known[where].serves]
            relays[cluster] = tuple(sorted(serving or alive)[:MAX_RELAYS])
        changed, self.relays = relays != self.relays, relays
        self.cluster_of = {where: cluster for cluster, addresses in relays.items() for where in addresses}
        return changed

    def _address_of(self, node: Heartbeat) -> Address | None:
        """Where it takes other relays' packets; None if that cannot be."""
        try:
            where = _parse(node.ingresses[0].internal)
        except ValueError:  # a wildcard
            return None
        return where if self._may_be(where) else None

    def _may_be(self, where: Address) -> bool:
        settings = self._settings
        taken = [internal for _, internal in settings.listeners]
        taken += [relay for relays in settings.clusters.values() for relay in relays]
        return where not in taken and _lies_in(where, settings.peers)

    def _refuse(self, what: str) -> None:
        self.refused += 1
        self._forbidden.tell(what)


@lru_cache(maxsize=4096)
def _lies_in(where: Address, networks: tuple[str, ...]) -> bool:
    # Few next hops, many routes: a restarted relay reads ten thousand at once.
    ip = ipaddress.ip_address(where[0])
    return any(ip in network_of(text) and where[1] in ports_of(text) for text in networks)
