"""Whose heartbeats are in which Redis? A site has its own, and none speaks for the clusters of another."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from rtcrelay.config.redis_url import printable_url
from rtcrelay.config.sites import ClusterSite
from rtcrelay.store.redis_password import read_redis_password


@dataclass(frozen=True, slots=True)
class Source:
    """One Redis."""

    name: str
    """Its URL without a password."""
    url: str = field(repr=False)
    password: str | None = field(repr=False)
    """For a URL that has none."""
    clusters: frozenset[int]
    """Those it speaks for, or, with ``others``, those it does not."""
    others: bool = False
    """Whether it speaks for all clusters but those."""

    @property
    def label(self) -> str:
        """The clusters it speaks for, for metrics."""
        return "others" if self.others else " ".join(map(str, sorted(self.clusters)))

    def speaks_for(self, cluster: int | None) -> bool:
        """Whether heartbeats of a cluster's nodes count."""
        return (cluster in self.clusters) != self.others


def read_sources(clusters: tuple[ClusterSite, ...], url: str | None, password_file: Path | None) -> tuple[Source, ...]:
    """Each cluster's own Redis of the sites file, and the one of the settings for all other clusters.

    Raises ConfigError if a password cannot be read.
    """
    shared: defaultdict[tuple[str, Path | None], set[int]] = defaultdict(set)
    for site in clusters:
        if site.redis is not None:
            shared[site.redis, site.redis_password_file].add(site.cluster)
    own = frozenset(cluster for found in shared.values() for cluster in found)
    found = [
        Source(printable_url(where), where, read_redis_password(file), frozenset(of))
        for (where, file), of in shared.items()
    ]
    if url is not None:
        found.insert(0, Source(printable_url(url), url, read_redis_password(password_file), own, others=True))
    return tuple(found)
