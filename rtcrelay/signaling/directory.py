"""What is known of the clusters now? Who lives, who has room, which ingress answers.

Transceivers are those of the sites file and those whose heartbeats come. What a heartbeat says is seconds old, so
what the front sees itself counts as well: each call it placed since, each refusal, each connection that failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from rtcrelay.config.sites import Sites
from rtcrelay.config.text import Address, format_address
from rtcrelay.signaling.steer import TransceiverState, World

UNREACHABLE_SECONDS: Final = 5.0
"""How long a transceiver that took no connection is left alone: about the interval of heartbeats."""
MAX_REFUSED_SECONDS: Final = 30.0
"""How long a refusal holds at most, whatever its Retry-After says."""
_UNKNOWN_LIMIT: Final = 1 << 30
"""Room of a transceiver that only the file names: it says itself when it is full."""


@dataclass(slots=True)
class _Seen:
    """What the front learned of a transceiver by itself."""

    placed: int = 0
    """Calls since its last heartbeat; without heartbeats, since ever."""
    out_until: float = 0.0
    """Until when it gets no calls, by the monotonic clock."""


class Directory:
    """Takes what comes in, and gives the `World` that the rule looks at. ``now`` is the monotonic clock, in seconds."""

    def __init__(self, sites: Sites, *, assume_alive: bool = False) -> None:
        """``assume_alive``: a cluster of which nothing is known counts as one transceiver that has room."""
        self._sites, self._assume_alive = sites, assume_alive
        self._beating: dict[str, Mapping[int, tuple[TransceiverState, ...]]] = {}
        """By the Redis that says so."""
        self._relays: dict[int, int] = {}
        """Relays that live, of clusters whose relays beat; 0: they did."""
        self._unhealthy: frozenset[str] = frozenset()
        self._seen: dict[Address, _Seen] = {}

    @property
    def sites(self) -> Sites:
        """The file as it was last read."""
        return self._sites

    def reload(self, sites: Sites) -> None:
        """Takes another file; what was seen of transceivers stays."""
        self._sites = sites

    def take_heartbeats(
        self,
        beating: Mapping[int, Iterable[TransceiverState]],
        relays: Mapping[int, int] | None = None,
        source: str = "",
    ) -> None:
        """Takes the transceivers that live by the heartbeats in one Redis, and the number of relays, both by cluster;
        replaces what there was of it."""
        fresh = {cluster: tuple(nodes) for cluster, nodes in beating.items()}
        self._beating[source] = fresh
        for cluster in fresh:
            if cluster in self._relays or (relays or {}).get(cluster):
                self._relays[cluster] = (relays or {}).get(cluster, 0)
        self._forget_the_gone()
        for nodes in fresh.values():
            for node in nodes:
                self._seen.setdefault(node.address, _Seen()).placed = 0

    def forget(self, source: str) -> None:
        """One Redis is no longer read."""
        self._beating.pop(source, None)
        self._forget_the_gone()

    def _forget_the_gone(self) -> None:
        # Addresses come and go, and whoever can write heartbeats can invent them.
        alive = {node.address for beating in self._beating.values() for nodes in beating.values() for node in nodes}
        named = {address for site in self._sites.clusters for address in site.transceivers}
        self._seen = {address: seen for address, seen in self._seen.items() if address in alive | named}

    def take_unhealthy(self, names: frozenset[str]) -> None:
        """Takes the ingresses that do not answer."""
        self._unhealthy = names

    def note_placed(self, address: Address) -> None:
        """A call went there."""
        self._seen.setdefault(address, _Seen()).placed += 1

    def note_unreachable(self, address: Address, now: float) -> None:
        """It took no connection."""
        self._seen.setdefault(address, _Seen()).out_until = now + UNREACHABLE_SECONDS

    def note_refused(self, address: Address, retry_after_seconds: float, now: float) -> None:
        """It said 503."""
        self._seen.setdefault(address, _Seen()).out_until = now + min(retry_after_seconds, MAX_REFUSED_SECONDS)

    def world(self, now: float) -> World:
        """Everything that is known at this moment."""
        known: dict[int, tuple[TransceiverState, ...]] = {}
        for site in self._sites.clusters:
            named = [TransceiverState(format_address(a), a, max_sessions=_UNKNOWN_LIMIT) for a in site.transceivers]
            beating = [node for each in self._beating.values() for node in each.get(site.cluster, ())]
            addresses = {node.address for node in beating}
            nodes = [*beating, *(node for node in named if node.address not in addresses)]
            if self._assume_alive and not nodes:
                nodes = [TransceiverState("assumed", ("0.0.0.0", 0))]  # noqa: S104  # nobody connects to it
            known[site.cluster] = tuple(self._as_seen(node, now) for node in nodes if self._is_in(node, now))
        cordoned = frozenset(site.cluster for site in self._sites.clusters if site.cordoned)
        relayless = frozenset(cluster for cluster, relays in self._relays.items() if not relays)
        return World(self._sites, known, cordoned, self._unhealthy, relayless)

    def _is_in(self, node: TransceiverState, now: float) -> bool:
        seen = self._seen.get(node.address)
        return seen is None or seen.out_until <= now

    def _as_seen(self, node: TransceiverState, now: float) -> TransceiverState:
        seen = self._seen.get(node.address)
        return node if seen is None or not seen.placed else replace(node, sessions=node.sessions + seen.placed)
