"""The metrics of several processes as one page, read by Prometheus's own parsers."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from rtcrelay.metrics.families import Histogram, Metric, counters, gauge, histogram
from rtcrelay.metrics.merging import merge_expositions
from rtcrelay.metrics.pages import Pages

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Source:
    def __init__(self, number: int) -> None:
        self._number = number

    def collect(self) -> list[Metric]:
        values = Histogram((1.0,))
        values.observe(self._number)
        yield_first = counters("a_total", "Help with\na second line.", ["reason"], {"# HELP a": self._number})
        return [yield_first, gauge("b", "Help.", 1.5), histogram("c_seconds", "Help.", values)]


class Well:
    def unhealthy(self) -> str | None:
        return None

    def unready(self) -> str | None:
        return None


def page(number: int, accept: str) -> str:
    return Pages(Well(), [Source(number)], {"worker": str(number)}).exposition(accept)[0].decode()


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_each_family_is_there_once_with_the_series_of_all(accept: str) -> None:
    merged = merge_expositions([page(0, accept), page(3, accept), ""])
    read = read_openmetrics if accept else read_text
    families = {family.name: family for family in read(merged)}
    assert set(families) == {"a", "b", "c_seconds"}
    found = {(s.name, s.labels["worker"], s.labels.get("le")): s.value for f in families.values() for s in f.samples}
    assert found["a_total", "3", None] == 3
    assert found["b", "0", None] == found["b", "3", None] == 1.5
    assert found["c_seconds_bucket", "0", "1.0"] == 1
    assert found["c_seconds_bucket", "3", "1.0"] == 0
    assert merged.count("# EOF") == (1 if accept else 0)
    assert {s.labels["reason"] for s in families["a"].samples} == {"# HELP a"}


def test_nothing_is_nothing() -> None:
    assert merge_expositions([]) == ""
