"""Where do the relays of other clusters beat, if not in this relay's own Redis? Where the file of sites says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rtcrelay.config import RelaySettings
from rtcrelay.config.sites import load_sites
from rtcrelay.store.sources import Source, read_sources

if TYPE_CHECKING:
    from rtcrelay.store.directory import Nodes


def other_sources(settings: RelaySettings) -> tuple[Source, ...]:
    """The Redis of each other site. Raises ConfigError."""
    if settings.sites is None:
        return ()
    sources = read_sources(load_sites(settings.sites).clusters, None, None)
    return tuple(source for source in sources if source.url != settings.redis)


class OtherSites:
    """Has a table of clusters follow them, see `rtcrelay.store.reader.Taker`."""

    def __init__(self, find_clusters: Callable[[Nodes, str], None]) -> None:
        """``find_clusters`` takes the nodes in a Redis, and its name."""
        self._find_clusters = find_clusters

    def take(self, source: Source, nodes: Nodes) -> None:
        """Those of one Redis."""
        self._find_clusters(nodes, source.name)

    def miss(self, source: Source) -> None:
        """What was known stays."""

    def forget(self, source: Source) -> None:
        """What was known stays for a while."""
