"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How grave a finding is, the gravest last."""

    PASS = "pass"  # noqa: S105  # no password
    SKIP = "skip"
    """Not needed here, or nobody can know."""
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of a check."""

    check: str
    """Which check, ``group.name``."""
    verdict: Verdict
    message: str
    """What was seen, and what was expected if that differs."""
    remedy: str | None = None
    """A command that mends it, or shows more."""

    def as_row(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "kind": "finding",
            "v": 1,
            "check": self.check,
            "verdict": self.verdict.value,
            "message": self.message,
            "remedy": self.remedy,
        }
