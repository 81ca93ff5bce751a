"""The numbers of heartbeats for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rtcrelay.metrics.families import Metric, counter, gauge
from rtcrelay.store.beacon import Beacon

_COUNTS: Final = {
    "written": ("heartbeats_written", "Heartbeats written to Redis."),
    "errors": ("heartbeat_errors", "Heartbeats that Redis did not take in time."),
    "refused": (
        "heartbeats_refused",
        "Heartbeats and orders in Redis that were malformed.",
    ),
    "orders": ("orders", "Orders of operators through Redis that were obeyed."),
}


class BeaconMetrics:
    """``rtcrelay_heartbeat…``, ``rtcrelay_orders_total`` and ``rtcrelay_nodes_alive``."""

    def __init__(self, beacon: Beacon, *, looks: bool) -> None:
        """``looks``: whether the beacon looks who else is alive."""
        self._beacon, self._looks = beacon, looks

    def collect(self) -> Iterator[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`."""
        counts = self._beacon.stats()
        for name, (metric, help) in _COUNTS.items():
            yield counter(f"rtcrelay_{metric}_total", help, counts[name])
        if self._looks:
            yield gauge("rtcrelay_nodes_alive", "Relays and transceivers with a heartbeat in Redis.", counts["nodes"])
