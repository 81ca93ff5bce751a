"""What every process shows of itself: its version, its keys, its memory and processor time."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

from prometheus_client.process_collector import ProcessCollector

import rtcrelay
from rtcrelay.keys import KeyFile
from rtcrelay.metrics.families import Metric, info


class ProcessMetrics:
    """``rtcrelay_build_info``, ``rtcrelay_key_info`` and Prometheus's usual ``process_…``."""

    def __init__(self, role: str, keys: Callable[[], KeyFile]) -> None:
        """``role``: ``relay`` or ``transceiver``; ``keys`` gives the key file in use, which may change."""
        self._role = role
        self._keys = keys
        self._process = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """See `pages.MetricsSource`."""
        build = {"version": rtcrelay.__version__, "python": platform.python_version(), "role": self._role}
        yield info("rtcrelay_build", "What runs here.", [build])
        yield info(
            "rtcrelay_key",
            "Keys of routing ufrags that this process holds; a fingerprint is the same wherever its key is.",
            [{"id": str(key.id), "state": key.state, "fingerprint": key.fingerprint} for key in self._keys().keys],
        )
        yield from self._process.collect()
