"""The table of clusters for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from rtcrelay.metrics.families import Metric, counter, gauges
from rtcrelay.relay.cluster_table import ClusterTable


class ClusterMetrics:
    """``rtcrelay_relay_cluster_…``."""

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
        yield counter(
            "rtcrelay_relay_cluster_heartbeats_refused_total",
            "Heartbeats of other clusters' relays that name a forbidden address.",
            self._table.refused,
        )
