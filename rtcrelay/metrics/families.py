"""Metric families out of plain numbers. With `pages`, the only importer of prometheus_client."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

__all__ = [
    "Histogram",
    "Metric",
    "batches",
    "counter",
    "counters",
    "gauge",
    "gauges",
    "histogram",
    "histograms",
    "info",
]

Key = TypeVar("Key", bound=Sequence[str])
"""Label values: a string for one label, a tuple for several."""

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Bounds for delays that a voice call feels: one 20 ms frame is in the middle."""


class Histogram:
    """How often values fell under each bound, and their sum. For one thread, or with a lock around it."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_SECONDS) -> None:
        """Takes the buckets' upper bounds, rising, each within its bucket; one without an end follows them."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one value; some 0.2 µs."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def above(self, bound: float) -> tuple[int, int]:
        """(values above one of the bounds, all values) so far."""
        return sum(self._counts[self._bounds.index(bound) + 1 :]), sum(self._counts)

    @property
    def count(self) -> int:
        """Values so far."""
        return sum(self._counts)

    @property
    def sum(self) -> float:
        """Their sum."""
        return self._sum

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, values up to it) as Prometheus has them, the last one ``+Inf``."""
        return list(zip((*map(str, self._bounds), "+Inf"), accumulate(self._counts), strict=True))


def counter(name: str, help: str, value: float) -> Metric:
    """A count since start; ``name`` ends in ``_total``."""
    return CounterMetricFamily(name, help, value=value)


def counters(name: str, help: str, labels: Sequence[str], values: Mapping[Key, float]) -> Metric:
    """Counts by label values (see `Key`)."""
    family = CounterMetricFamily(name, help, labels=labels)
    for key, value in values.items():
        family.add_metric(_label_values(key), value)
    return family


def gauge(name: str, help: str, value: float) -> Metric:
    """A value that goes up and down."""
    return GaugeMetricFamily(name, help, value=value)


def gauges(name: str, help: str, labels: Sequence[str], values: Mapping[Key, float]) -> Metric:
    """Such values by label values (see `Key`)."""
    family = GaugeMetricFamily(name, help, labels=labels)
    for key, value in values.items():
        family.add_metric(_label_values(key), value)
    return family


def info(name: str, help: str, rows: Iterable[Mapping[str, str]]) -> Metric:
    """Facts as labels of a 1; ``name`` comes without the ``_info`` that it is shown with."""
    family = InfoMetricFamily(name, help)
    for row in rows:
        family.add_metric((), dict(row))
    return family


def histogram(name: str, help: str, values: Histogram) -> Metric:
    """One distribution; ``name`` ends in its unit, ``_seconds`` as a rule."""
    return HistogramMetricFamily(name, help, buckets=values.buckets(), sum_value=values.sum)


def histograms(name: str, help: str, labels: Sequence[str], values: Mapping[Key, Histogram]) -> Metric:
    """Distributions by label values (see `Key`)."""
    family = HistogramMetricFamily(name, help, labels=labels)
    for key, value in values.items():
        family.add_metric(_label_values(key), value.buckets(), value.sum)
    return family


def batches(name: str, help: str, values: Mapping[str, tuple[Sequence[int], float]]) -> Metric:
    """Distributions by worker, of counts made elsewhere: (how many up to 1, 2, 4, ... but not less, their sum)."""
    family = HistogramMetricFamily(name, help, labels=["worker"])
    for worker, (counts, total) in values.items():
        bounds = (*(str(float(2**at)) for at in range(len(counts))), "+Inf")
        family.add_metric([worker], list(zip(bounds, accumulate((*counts, 0)), strict=True)), total)
    return family


def _label_values(key: Sequence[str]) -> Sequence[str]:
    return (key,) if isinstance(key, str) else key
