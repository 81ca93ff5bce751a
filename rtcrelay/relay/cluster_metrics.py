"""The table of clusters for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rtcrelay.metrics.families import Metric, counter, gauges
from rtcrelay.relay.cluster_table import ClusterTable


class ClusterMetrics:
    """``rtcrelay_relay_cluster_…``."""

    def __init__(self, table: ClusterTable, serving: Callable[[], Mapping[str, bool]]) -> None:
        """``serving`` as of `rtcrelay.store.reader.NodesReader`."""
        self._table, self._serving = table, serving

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
            "Heartbeats of other clusters' relays that make no sense or name a forbidden address.",
            self._table.refused,
        )
        yield gauges(
            "rtcrelay_relay_sites_redis_up",
            "1 if the Redis of a site of --sites could be read, else 0; by the clusters it speaks for.",
            ["clusters"],
            self._serving(),
        )
