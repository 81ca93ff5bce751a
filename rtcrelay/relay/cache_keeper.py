"""The route cache in a running relay: started once everything else runs, restarted if it fails, ended in time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from rtcrelay.config import RelaySettings
from rtcrelay.config.text import format_address
from rtcrelay.errors import RtcrelayError
from rtcrelay.relay.route_cache import RouteCache
from rtcrelay.store.late_store import LateStore

if TYPE_CHECKING:
    from rtcrelay._dataplane import Relay
    from rtcrelay.relay.cluster_table import ClusterTable
    from rtcrelay.relay.event_feed import EventFeed

log = logging.getLogger("rtcrelay.relay.route_cache")

FLUSH_SECONDS: Final = 3.0
"""How long the end of a relay, which forwards meanwhile, waits for what is to be written; the next owner of a path
learns it otherwise. Redis takes milliseconds; importing its library first 0.3 s, on a busy machine over a second."""
RESTART_SECONDS: Final = 1.0
"""Between a defect of the cache and its next start."""


class CacheKeeper:
    """Keeps a route cache running from entering the context to leaving it."""

    def __init__(self, cache: RouteCache, store: LateStore) -> None:
        self._cache, self._store = cache, store
        self._task: asyncio.Task[None] | None = None
        self.restarts = 0
        """How often a defect ended the cache."""

    async def __aenter__(self) -> CacheKeeper:
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._cache.flush()
        except (TimeoutError, RtcrelayError) as error:
            log.warning("%d routes were not written: %s", self._cache.waiting, str(error) or "no time left")

    @property
    def counts(self) -> dict[str, int]:
        """What happened since start, by name."""
        return dict(self._cache.counts.items())

    @property
    def waiting(self) -> int:
        """Routes that wait to be written."""
        return self._cache.waiting

    def stats(self) -> dict[str, Any]:
        """The counts, what waits, and where the routes go."""
        return {**self.counts, "waiting": self.waiting, "restarts": self.restarts, "store": self._store.name}

    async def _keep(self) -> None:
        log.info("routes are remembered in %s", self._store.name)
        while True:
            try:
                await self._cache.run()
            except Exception:  # a task group's
                self.restarts += 1
                log.exception("the route cache failed and starts again; forwarding goes on")
            await asyncio.sleep(RESTART_SECONDS)


def keeper(
    relay: Relay, feed: EventFeed, settings: RelaySettings, store: LateStore, meaning: ClusterTable
) -> CacheKeeper:
    """What keeps the route cache of a running relay."""
    cache = RouteCache(
        relay,
        feed,
        store,
        meaning=meaning,
        name=format_address(relay.listeners()[0][1]),
        idle_seconds=settings.idle_timeout_seconds,
    )
    return CacheKeeper(cache, store)
