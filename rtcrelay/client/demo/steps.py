"""What a step of the demo says: what was measured, what was checked, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Figure: TypeAlias = float | int | str | None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a process's own counters must say."""

    what: str
    """Which process, and which of its counters."""
    expected: str
    seen: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table for people."""

    title: str
    values: tuple[str, ...]
    """One per call; a single one belongs to both."""
    proof: str
    """Whose counters say so."""


@dataclass(slots=True)
class Step:
    """One step; it has passed if every check of it has."""

    name: str
    """Stable, snake_case."""
    title: str
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    """Measured for the step as a whole; keys have units."""
    calls: list[dict[str, Figure]] = field(default_factory=list)
    """Measured for each call; keys have units."""
    error: str | None = None
    """What kept the step from being finished."""

    def equal(self, what: str, expected: object, seen: object) -> None:
        """Checks that a counter has a certain value."""
        self.checks.append(Check(what, str(expected), str(seen), expected == seen))

    def at_least(self, what: str, least: float, seen: float) -> None:
        """Checks that a counter has reached a value."""
        self.checks.append(Check(what, f"at least {least:g}", f"{seen:g}", seen >= least))

    def at_most(self, what: str, most: float, seen: float) -> None:
        """Checks that a counter has not passed a value."""
        self.checks.append(Check(what, f"at most {most:g}", f"{seen:g}", seen <= most))

    @property
    def passed(self) -> bool:
        """Whether it was finished and every check holds."""
        return self.error is None and all(check.passed for check in self.checks)

    @property
    def problem(self) -> str | None:
        """The first thing that is wrong, in words; None if nothing is."""
        if self.error is not None:
            return self.error
        wrong = next((check for check in self.checks if not check.passed), None)
        return f"{wrong.what}: expected {wrong.expected}, saw {wrong.seen}" if wrong else None

    def as_dict(self) -> dict[str, object]:
        """For programs: stable keys, numbers raw."""
        return {
            "name": self.name,
            "title": self.title,
            "passed": self.passed,
            "problem": self.problem,
            **self.figures,
            "calls": self.calls,
            "checks": [
                {"what": check.what, "expected": check.expected, "seen": check.seen, "passed": check.passed}
                for check in self.checks
            ],
        }
