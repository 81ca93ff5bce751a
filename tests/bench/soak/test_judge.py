"""The judge of the soak: it sees a leak among sessions that come and go, and sees none where there is none."""

from __future__ import annotations

import math
import random

import pytest

from .judge import EXACT, Tolerance, grown_types, judge_rest, judge_trend, leveled, theil_sen

MEGABYTES = Tolerance(0.03, 1_500_000)


def series(per_second: float, *, noise: float = 3e6, spike: float = 0.0) -> list[tuple[float, float]]:
    """30 minutes of a memory's size: waves and noise around 100 MB, and a growth."""
    chance = random.Random(1)
    points = []
    for number in range(360):
        at = 5.0 * number
        wave = 2e6 * math.sin(at / 60) + chance.uniform(-noise, noise)
        points.append((at, 100e6 + per_second * at + wave + (spike if number == 300 else 0.0)))
    return points


def test_a_memory_that_only_varies_has_not_grown() -> None:
    finding = judge_trend("rss_bytes", series(0.0), MEGABYTES)
    assert not finding.has_grown
    assert finding.allowed == pytest.approx(3e6, rel=0.05)


def test_a_leak_of_a_kilobyte_for_each_of_two_and_a_half_sessions_a_second_is_seen() -> None:
    finding = judge_trend("rss_bytes", series(5 * 1024.0), MEGABYTES)
    assert finding.has_grown
    assert finding.per_hour == pytest.approx(3600 * 5 * 1024, rel=0.2)


def test_one_spike_is_no_growth() -> None:
    assert not judge_trend("rss_bytes", series(0.0, spike=500e6), MEGABYTES).has_grown


def test_more_sessions_are_no_growth_and_what_they_leave_behind_is() -> None:
    chance = random.Random(2)
    population = [150 + at / 10 + chance.uniform(-30, 30) for at in range(360)]
    for leak, has_grown in ((0.0, False), (10_000.0, True)):
        values = [16e6 + 160_000 * count + leak * at for at, count in enumerate(population)]
        points = list(zip(map(float, range(360)), leveled(values, population, 16e6), strict=True))
        assert judge_trend("allocated_bytes", points, MEGABYTES).has_grown == has_grown


def test_a_number_that_falls_has_not_grown() -> None:
    assert not judge_trend("rss_bytes", series(-10_000.0), MEGABYTES).has_grown


def test_one_descriptor_more_is_seen_where_none_is_allowed() -> None:
    assert judge_rest("fds", 17, 18, EXACT).has_grown
    assert not judge_rest("fds", 17, 17, EXACT).has_grown
    assert not judge_rest("fds", 17, 16, EXACT).has_grown


def test_a_tolerance_is_the_larger_of_its_two() -> None:
    assert not judge_rest("bytes", 1e6, 2e6, MEGABYTES).has_grown
    assert judge_rest("bytes", 1e8, 1.04e8, MEGABYTES).has_grown


def test_the_slope_is_that_of_most_pairs() -> None:
    assert theil_sen([(float(at), 7.0 + 2 * at) for at in range(10)]) == pytest.approx(2.0)
    outlier = [(float(at), 7.0 + 2 * at + (900 if at == 4 else 0)) for at in range(10)]
    assert theil_sen(outlier) == pytest.approx(2.0)


def test_the_types_that_grew_are_named_most_first() -> None:
    before = {"dict": 100, "Session": 3, "list": 50}
    assert grown_types(before, {"dict": 130, "Session": 90, "list": 40, "Path": 7}, 7) == [
        ("Session", 87),
        ("dict", 30),
        ("Path", 7),
    ]
