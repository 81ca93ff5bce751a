"""Metric families out of plain numbers, read back by Prometheus's own parser."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from rtcrelay.metrics import families
from rtcrelay.metrics.families import Histogram, Metric


class _One(Collector):
    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self.metric]


def read(metric: Metric) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples of a family as a scraper reads them: (name, labels) and value."""
    text = generate_latest(_One(metric)).decode()
    (family,) = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in family.samples}


def test_a_counter_and_a_gauge_are_one_sample_each() -> None:
    assert read(families.counter("rtcrelay_x_total", "X.", 7)) == {("rtcrelay_x_total", ()): 7}
    assert read(families.gauge("rtcrelay_y", "Y.", 1.5)) == {("rtcrelay_y", ()): 1.5}


def test_one_label_is_a_string_and_several_are_a_tuple() -> None:
    by_reason = families.counters("rtcrelay_x_total", "X.", ["reason"], {"a": 1, "b": 0})
    assert read(by_reason) == {
        ("rtcrelay_x_total", (("reason", "a"),)): 1,
        ("rtcrelay_x_total", (("reason", "b"),)): 0,
    }
    by_both = families.gauges("rtcrelay_y", "Y.", ["one", "two"], {("a", "b"): 3})
    assert read(by_both) == {("rtcrelay_y", (("one", "a"), ("two", "b"))): 3}


def test_an_info_is_a_1_with_its_facts_as_labels_whatever_they_hold() -> None:
    fact = 'a "quoted"\nline\\'
    assert read(families.info("rtcrelay_thing", "T.", [{"fact": fact}])) == {
        ("rtcrelay_thing_info", (("fact", fact),)): 1
    }


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    values = Histogram((0.1, 1.0))
    for value in (0.0, 0.1, 0.100001, 1.0, 5.0):
        values.observe(value)
    assert values.buckets() == [("0.1", 2), ("1.0", 4), ("+Inf", 5)]
    assert values.count == 5
    assert values.sum == pytest.approx(6.200001)


def test_a_histogram_is_shown_with_its_buckets_count_and_sum() -> None:
    values = Histogram((0.5,))
    values.observe(0.25)
    values.observe(2.0)
    assert read(families.histogram("rtcrelay_z_seconds", "Z.", values)) == {
        ("rtcrelay_z_seconds_bucket", (("le", "0.5"),)): 1,
        ("rtcrelay_z_seconds_bucket", (("le", "+Inf"),)): 2,
        ("rtcrelay_z_seconds_count", ()): 2,
        ("rtcrelay_z_seconds_sum", ()): 2.25,
    }


def test_histograms_are_told_apart_by_their_labels() -> None:
    fast, slow = Histogram((1.0,)), Histogram((1.0,))
    slow.observe(3.0)
    shown = read(families.histograms("rtcrelay_z_seconds", "Z.", ["result"], {"ok": fast, "refused": slow}))
    assert shown[("rtcrelay_z_seconds_count", (("result", "ok"),))] == 0
    assert shown[("rtcrelay_z_seconds_bucket", (("le", "+Inf"), ("result", "refused")))] == 1
