"""Does something grow? Two looks at each number: its trend while it is used, and what is left when it is not.

While sessions come and go, a number varies with them. It grows if the last third of the samples is higher than the
first (medians) and the slope over all of them (Theil and Sen: the median of the slopes between pairs, which outliers
do not move) says the same. When no session is left, tasks, descriptors and threads are to be as many as they were at
the last such time, and memory about as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is no growth yet; the larger of the two counts."""

    part: float
    """Of the number."""
    least: float
    """In its own unit."""

    def of(self, value: float) -> float:
        """For this value."""
        return max(self.part * abs(value), self.least)


EXACT = Tolerance(0.0, 0.0)
"""Not one more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One number of one process."""

    name: str
    first: float
    """Median of the first third, or the number at the first idle time."""
    last: float
    per_hour: float | None
    """The slope; None between idle times."""
    allowed: float
    """Growth that is tolerated."""
    has_grown: bool


def judge_trend(name: str, points: Sequence[tuple[float, float]], tolerance: Tolerance) -> Finding:
    """``points`` are (seconds, value), at least six."""
    third = len(points) // 3
    first = median(value for _, value in points[:third])
    last = median(value for _, value in points[-third:])
    slope = theil_sen(points)
    seconds = points[-1][0] - points[0][0]
    allowed = tolerance.of(first)
    has_grown = last - first > allowed and slope * seconds > allowed
    return Finding(name, first, last, 3600 * slope, allowed, has_grown)


def leveled(values: Sequence[float], population: Sequence[float], idle: float) -> list[float]:
    """The values as they would have been with as many sessions at any time: what a session costs is known from the
    median of both, and from what is there without any. What ended sessions leave behind stays in."""
    typical = median(population)
    each = (median(values) - idle) / typical if typical else 0.0
    return [value - each * (count - typical) for value, count in zip(values, population, strict=True)]


def judge_rest(name: str, before: float, after: float, tolerance: Tolerance) -> Finding:
    """What is left at two times without a session."""
    allowed = tolerance.of(before)
    return Finding(name, before, after, None, allowed, after - before > allowed)


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The median slope, over pairs that are half the series apart or more: nearer ones say little."""
    half = len(points) // 2
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(points)
        for later in points[index + half :]
        if later[0] > earlier[0]
    ]
    return median(slopes)


def grown_types(before: Mapping[str, int], after: Mapping[str, int], least: int) -> list[tuple[str, int]]:
    """Types of which there are at least that many more objects, most first: where to look for a leak."""
    grown = {name: count - before.get(name, 0) for name, count in after.items()}
    return sorted(((name, more) for name, more in grown.items() if more >= least), key=lambda each: -each[1])
