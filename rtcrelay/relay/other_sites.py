"""Where do the relays of other clusters beat, if not in this relay's own Redis? Where the file of sites says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rtcrelay.config import RelaySettings
from rtcrelay.config.sites import load_sites
from rtcrelay.errors import BackendError
from rtcrelay.store.sources import Source, read_sources

if TYPE_CHECKING:
    from rtcrelay.relay.cluster_table import ClusterTable
    from rtcrelay.store.directory import Nodes

log = logging.getLogger("rtcrelay.relay")

LOOK_SECONDS: Final = 2.0
"""What a look before a hand-over may take; the predecessor serves meanwhile."""


def other_sources(settings: RelaySettings) -> tuple[Source, ...]:
    """The Redis of each other site. Raises ConfigError."""
    if settings.sites is None:
        return ()
    sources = read_sources(load_sites(settings.sites).clusters, None, None)
    return tuple(source for source in sources if source.url != settings.redis)


def look_around(settings: RelaySettings, password: str | None, table: ClusterTable) -> None:
    """Fills a table once, before a successor takes over: its first packet may be one for another cluster. A Redis that
    does not answer is left out."""
    import asyncio

    from rtcrelay.store.directory import read_nodes
    from rtcrelay.store.late_store import late_store

    async def look(url: str, password: str | None, source: Source | None) -> None:
        store = late_store(url, password)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                found = (await read_nodes(store)).found
        except (BackendError, TimeoutError) as error:
            log.warning(
                "the relays of other clusters are not known before the first heartbeats: %s", error or "time-out"
            )
        else:
            name = "" if source is None else source.name
            nodes = [node for node in found if source is None or source.speaks_for(node.cluster)]
            table.handle_nodes(nodes, time.monotonic(), name)
        finally:
            await store.close()

    async def look_at_all() -> None:
        own = [look(settings.redis, password, None)] if settings.redis is not None else []
        await asyncio.gather(*own, *(look(each.url, each.password, each) for each in other_sources(settings)))

    asyncio.run(look_at_all())


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
