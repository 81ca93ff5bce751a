"""How many paths carry packets one way only? A page of the path table is looked at for each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from rtcrelay.metrics.families import Metric, gauge, gauges
from rtcrelay.relay.flow_row import one_way

if TYPE_CHECKING:
    from rtcrelay._dataplane import Flow

PAGE: Final = 1000
"""Paths that are looked at in one scrape: some 3 ms. Smaller tables are looked at as a whole."""


class Flows(Protocol):
    """The side of `_dataplane.Relay` that lists paths."""

    def flows(self, cursor: int = 0, limit: int = 1000) -> tuple[list[Flow], int]:
        """As `_dataplane.Relay.flows`."""


class FlowSample:
    """``rtcrelay_relay_flows_examined`` and ``rtcrelay_relay_flows_one_way``."""

    def __init__(self, relay: Flows) -> None:
        self._relay, self._cursor = relay, 0

    def collect(self) -> Iterator[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`. The next scrape looks at the next page."""
        flows, self._cursor = self._relay.flows(self._cursor, PAGE)
        sides = Counter(one_way(flow) for flow in flows)
        yield gauge("rtcrelay_relay_flows_examined", f"Paths looked at for this scrape, {PAGE} at most.", len(flows))
        yield gauges(
            "rtcrelay_relay_flows_one_way",
            "Paths among the examined ones on which packets come from one side only, by that side.",
            ["side"],
            {side: sides[side] for side in ("client", "transceiver")},
        )
