"""The route cache's numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from rtcrelay.metrics.families import Metric, counter, gauge

_COUNTS: Final = {
    "written": "Routes written to the route cache.",
    "write_errors": "Batches of routes that Redis did not take.",
    "write_dropped": "Routes that were not written because the queue was full: those that had waited longest.",
    "asked": "Questions to Redis for the route of a path.",
    "found": "Routes from Redis that made a claim.",
    "missed": "Questions to Redis that it had no route for.",
    "refused": "Routes from Redis that were malformed, expired, of another cluster or of a forbidden address.",
    "read_errors": "Questions that Redis did not answer in time.",
    "ask_dropped": "Questions that were not asked, because the queue was full or they had waited for too long.",
    "defects": "Failures of the route cache itself, which goes on: please report what its log says.",
    "events_lost": "Events for the route cache that the data plane had no room for.",
}


class Numbers(Protocol):
    """A `rtcrelay.relay.cache_keeper.CacheKeeper`."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts since start; empty until it runs."""

    @property
    def waiting(self) -> int:
        """Routes that wait to be written."""


class CacheMetrics:
    """``rtcrelay_route_cache_…`` and ``rtcrelay_route_cache_queue_length``."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`."""
        counts = self._numbers.counts
        for name, help in _COUNTS.items():
            yield counter(f"rtcrelay_route_cache_{name}_total", help, counts.get(name, 0))
        waiting = self._numbers.waiting
        yield gauge("rtcrelay_route_cache_queue_length", "Routes that wait to be written to Redis.", waiting)
