"""The route cache's numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from rtcrelay.metrics.families import Metric, counter, gauge

_COUNTS: Final = {
    "written": "Routes written to the route cache.",
    "write_errors": "Batches of routes that the route cache refused.",
    "write_dropped": "Routes that waited longest when the queue was full.",
    "asked": "Packets' paths that the route cache was asked for.",
    "found": "Answers that made a claim.",
    "missed": "Questions that the route cache had no entry for.",
    "refused": "Entries that were malformed, expired, of another cluster or of a forbidden address.",
    "read_errors": "Questions that the route cache did not answer.",
    "ask_dropped": "Questions that waited longest when the queue was full, or too long to be worth asking.",
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
    """``rtcrelay_route_cache_…`` and ``rtcrelay_redis_write_queue_length``."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`."""
        counts = self._numbers.counts
        for name, help in _COUNTS.items():
            yield counter(f"rtcrelay_route_cache_{name}_total", help, counts.get(name, 0))
        waiting = self._numbers.waiting
        yield gauge("rtcrelay_redis_write_queue_length", "Routes that wait to be written.", waiting)
