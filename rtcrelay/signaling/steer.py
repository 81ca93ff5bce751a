"""Which cluster takes a call, and which ingresses is its client told? The rule, as pure functions.

1. Ingresses by their distance from the client, the nearest first. Those within `EQUAL_MS` of each other are equally
   near: each client gets its own order of them, by weight. Unhealthy ones are told to nobody, unless all are.
2. Clusters by the round trip from the client through its first ingress. One that is cordoned, draining, dead or full
   is passed over; the next nearest takes the call.
3. In the cluster, the less loaded of two transceivers drawn at random: nearly as even as asking all of them, and a
   herd of fronts with the same old figures does not run to the same one (Mitzenmacher 1996).

A client whose place is unknown gets its own order of all ingresses, and the clusters from there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from rtcrelay.config.sites import ClusterSite, Ingress, Place, Sites
from rtcrelay.config.text import Address
from rtcrelay.signaling.estimate import access_ms, backbone_ms

EQUAL_MS: Final = 2.0
"""Chosen: less than what a round trip varies by on its own."""

State: TypeAlias = Literal["serving", "cordoned", "draining"]


@dataclass(frozen=True, slots=True)
class TransceiverState:
    """What is known of a transceiver."""

    node: str
    address: Address
    """Of its signaling."""
    state: State = "serving"
    sessions: int = 0
    max_sessions: int = 1

    @property
    def has_room(self) -> bool:
        """Whether it takes another call."""
        return self.state == "serving" and self.sessions < self.max_sessions

    @property
    def load(self) -> float:
        """Its sessions as a share of those it may have, 0 to 1."""
        return self.sessions / max(1, self.max_sessions)


@dataclass(frozen=True, slots=True)
class World:
    """What is known at one moment."""

    sites: Sites
    transceivers: dict[int, tuple[TransceiverState, ...]]
    """By cluster id; those that live."""
    cordoned: frozenset[int] = frozenset()
    """Clusters that an operator took out."""
    unhealthy: frozenset[str] = frozenset()
    """Names of ingresses that do not answer."""
    relayless: frozenset[int] = frozenset()
    """Clusters whose transceivers live, and whose relays did."""


@dataclass(frozen=True, slots=True)
class RankedIngress:
    """An ingress in the order it is told."""

    ingress: Ingress
    access_ms: float | None
    """The estimated round trip from the client; None: its place is unknown."""
    refusal: str | None
    """Why clients are not told it; None: they are."""


@dataclass(frozen=True, slots=True)
class RankedCluster:
    """A cluster in the order it is tried."""

    site: ClusterSite
    round_trip_ms: float | None
    """The estimated one from the client through its first ingress; without the client's part if its place is unknown,
    None if there is no ingress either."""
    refusal: str | None
    """Why it gets no call; None: it does."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a call goes."""

    ingresses: tuple[RankedIngress, ...]
    clusters: tuple[RankedCluster, ...]

    def told(self, most: int) -> tuple[Ingress, ...]:
        """The ingresses that the client is told, in order. With none healthy the nearest: they may be wrongly judged,
        and a call that might fail is better than none."""
        usable = [ranked.ingress for ranked in self.ingresses if ranked.refusal is None]
        return tuple((usable or [ranked.ingress for ranked in self.ingresses])[:most])

    def tried(self) -> tuple[ClusterSite, ...]:
        """The clusters that may take the call, in order."""
        return tuple(ranked.site for ranked in self.clusters if ranked.refusal is None)


def steer(world: World, place: Place | None, client: str) -> Decision:
    """Where a call from ``place`` goes. ``client`` is what decides between equals: its IP address, say."""
    ingresses = _rank_ingresses(world, place, client)
    entry = next((r for r in ingresses if r.refusal is None), ingresses[0] if ingresses else None)
    ranked = [_judge_cluster(world, site, place, entry) for site in world.sites.clusters]
    return Decision(ingresses, tuple(sorted(ranked, key=lambda r: (r.round_trip_ms or 0.0, r.site.cluster))))


def choose_transceiver(
    transceivers: Iterable[TransceiverState], draw: Callable[[int], int], passed: frozenset[str] = frozenset()
) -> TransceiverState | None:
    """The less loaded of two drawn at random from those with room; None if there is none.

    ``draw(n)`` gives a random number from 0 to n-1; ``passed`` are nodes that refused this call already.
    """
    free = [each for each in transceivers if each.has_room and each.node not in passed]
    if len(free) < 2:
        return free[0] if free else None
    first = draw(len(free))
    second = draw(len(free) - 1)
    pair = free[first], free[second + (second >= first)]
    return min(pair, key=lambda each: each.load)


def _rank_ingresses(world: World, place: Place | None, client: str) -> tuple[RankedIngress, ...]:
    near = [
        RankedIngress(
            ingress,
            None if place is None else access_ms(place, ingress.place),
            "does not answer" if ingress.name in world.unhealthy else None,
        )
        for ingress in world.sites.ingresses
    ]
    near.sort(key=lambda ranked: ranked.access_ms or 0.0)
    order: list[RankedIngress] = []
    for group in _groups(near):
        order += sorted(group, key=lambda ranked: _share(ranked.ingress, client), reverse=True)
    spare = [ranked for ranked in order if ranked.ingress.weight == 0]
    return (*(ranked for ranked in order if ranked.ingress.weight), *spare)


def _groups(near: Sequence[RankedIngress]) -> list[list[RankedIngress]]:
    """Equally near ones together; each group starts where the one before ends."""
    groups: list[list[RankedIngress]] = []
    for ranked in near:
        if groups and (ranked.access_ms or 0.0) - (groups[-1][0].access_ms or 0.0) <= EQUAL_MS:
            groups[-1].append(ranked)
        else:
            groups.append([ranked])
    return groups


def _share(ingress: Ingress, client: str) -> float:
    """Weighted rendezvous hashing: each ingress is a client's first with a probability in proportion to its weight,
    and one that goes moves only its own clients."""
    digest = hashlib.blake2b(f"{ingress.name}\0{client}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -ingress.weight / math.log(uniform)


def _judge_cluster(world: World, site: ClusterSite, place: Place | None, entry: RankedIngress | None) -> RankedCluster:
    round_trip: float | None
    if entry is not None:
        round_trip = (entry.access_ms or 0.0) + backbone_ms(world.sites, entry.ingress, site)
    else:
        round_trip = None if place is None else access_ms(place, site.place)
    judged = RankedCluster(site, round_trip, None)
    nodes = world.transceivers.get(site.cluster, ())
    if site.cluster in world.cordoned:
        return replace(judged, refusal="is cordoned")
    if not nodes:
        return replace(judged, refusal="has no transceiver that lives")
    if site.cluster in world.relayless:
        return replace(judged, refusal="has no relay that lives")
    if all(node.state != "serving" for node in nodes):
        return replace(
            judged, refusal=f"has only transceivers that are {' or '.join(sorted({n.state for n in nodes}))}"
        )
    if not any(node.has_room for node in nodes):
        return replace(judged, refusal="is full")
    return judged
