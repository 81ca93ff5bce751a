"""Which routes are meant? Any value of one kind, and all kinds that were given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rtcrelay.store.route_entry import PREFIX
from rtcrelay.store.route_rows import RouteRow

Matcher: TypeAlias = Callable[[str], bool]
"""Whether an ``ip:port`` is meant."""


@dataclass(frozen=True, slots=True)
class RouteFilter:
    """What all commands about routes select by."""

    sources: tuple[Matcher, ...] = ()
    """Of the client's address."""
    destinations: tuple[Matcher, ...] = ()
    """Of the next hop."""
    nodes: tuple[tuple[int, str], ...] = ()
    """(cluster, next hop) of nodes that were named."""
    clusters: tuple[int, ...] = ()
    relays: tuple[Matcher, ...] = ()
    """Of the relay that wrote the route."""
    ingresses: tuple[int, ...] = ()
    age_above_seconds: float | None = None
    """Written longer ago."""
    age_below_seconds: float | None = None
    """Written later."""
    ttl_below_seconds: float | None = None
    """Ends sooner."""
    exact: tuple[str, str] | None = None
    """The one client that is meant, as (ip, port) or (ip, ``*``): the server looks for it."""

    def __bool__(self) -> bool:
        return self != RouteFilter()

    @property
    def pattern(self) -> str:
        """A glob-style pattern of all keys that may be meant."""
        ingress = str(self.ingresses[0]) if len(self.ingresses) == 1 else "*"
        ip, port = self.exact or ("*", "*")
        return f"{PREFIX}{ingress}:{port}:{ip}" if self.exact or ingress != "*" else f"{PREFIX}*"

    def takes(self, row: RouteRow) -> bool:
        """Whether a route is meant."""
        return (
            (not self.clusters or row.cluster in self.clusters)
            and (not self.ingresses or row.ingress in self.ingresses)
            and (not self.nodes or (row.cluster, row.next_hop) in self.nodes)
            and (self.age_above_seconds is None or row.age_s > self.age_above_seconds)
            and (self.age_below_seconds is None or row.age_s < self.age_below_seconds)
            and (self.ttl_below_seconds is None or row.ttl_s < self.ttl_below_seconds)
            and (not self.sources or any(match(row.client) for match in self.sources))
            and (not self.destinations or any(match(row.next_hop) for match in self.destinations))
            and (not self.relays or any(_matches(match, row.relay) for match in self.relays))
        )


def _matches(match: Matcher, relay: str) -> bool:
    try:
        return match(relay)
    except ValueError:  # what stands there is no address: whoever wrote the route may write anything
        return False
