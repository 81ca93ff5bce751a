"""One look at a process: from outside by /proc, from inside by its observer, and what it says over its admin socket."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, TypeAlias

from rtcrelay.client.demo.admin import Admin

Sample: TypeAlias = dict[str, float]
"""Numbers by name; ``at`` in seconds of the monotonic clock."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Subject:
    """A process under test."""

    def __init__(self, name: str, pid: int, admin: Admin | None, observations: Path) -> None:
        """``admin``: None for a process that has no such socket."""
        self.name, self.pid = name, pid
        self.samples: list[Sample] = []
        self.types: dict[str, int] = {}
        """Objects by type at the last look inside."""
        self._admin, self._observations = admin, observations / f"{pid}.jsonl"

    async def look(self) -> Sample:
        """Takes a sample, and keeps it."""
        # First from outside: the question's own connection would be among the sockets (measured: in a fifth of looks).
        outside = _outside(self.pid)
        tables = {} if self._admin is None else _tables(await self._admin.read("/v1/stats"))
        sample = {"at": time.monotonic(), **outside, **tables, **self._inside()}
        self.samples.append(sample)
        return sample

    def _inside(self) -> Sample:
        lines = self._observations.read_text().splitlines() if self._observations.exists() else []
        if not lines:
            return {}
        seen = json.loads(lines[-1])
        self._observations.write_text(lines[-1] + "\n")
        self.types = seen.pop("types")
        del seen["at"]
        return {name: float(value) for name, value in seen.items()}


def _outside(pid: int) -> Sample:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    links = [_link(each) for each in (process / "fd").iterdir()]
    return {
        "rss_bytes": 1024.0 * int(status["VmRSS"].split()[0]),
        "threads": float(status["Threads"]),
        "fds": float(len(links)),
        "sockets": float(sum(link.startswith("socket:") for link in links)),
        "cpu_seconds": (int(fields[11]) + int(fields[12])) / _TICKS,
    }


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed in between
        return ""


def _tables(stats: dict[str, Any]) -> Sample:
    return {name: float(value) for name, value in stats["gauges"].items() if isinstance(value, int | float)}
