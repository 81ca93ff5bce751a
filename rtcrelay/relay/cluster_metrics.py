"""The table of clusters for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from rtcrelay.metrics.families import Metric, gauges
from rtcrelay.relay.cluster_table import ClusterTable


class ClusterMetrics:
    """``rtcrelay_relay_cluster_relays``."""

    def __init__(self, table: ClusterTable) -> None:
        self._table = table

    def collect(self) -> Iterator[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`."""
        yield gauges(
            "rtcrelay_relay_cluster_relays",
            "Relays of other clusters that calls are passed on to.",
            ["cluster"],
            {str(cluster): len(relays) for cluster, relays in sorted(self._table.relays.items())},
        )
