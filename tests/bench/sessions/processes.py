"""The processes of the bench, what they use, and how they are told apart by core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used until now."""

    cpu_seconds: float
    """User and system time of all its threads."""
    waited_seconds: float
    """For a core that something else had, of its longest-waiting thread: what a bench must not have much of."""
    rss_bytes: int
    at: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Reads /proc."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        tasks = Path(f"/proc/{pid}/task").iterdir()
        waited = max(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e9
        return cls((int(fields[11]) + int(fields[12])) / _TICKS, waited, pages * _PAGE, time.monotonic())

    def cpu_percent_since(self, before: Usage) -> float:
        """Of one core, between the two."""
        return 100 * (self.cpu_seconds - before.cpu_seconds) / (self.at - before.at)


def pin(pid: int, cpu: int) -> None:
    """Keeps every thread of a process, and those it makes later, on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})


def others_cpu_percent(seconds: float = 1.0) -> float:
    """How busy the whole machine is now, in percent of one core: what the bench has to share with."""

    def busy() -> int:
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return sum(fields[:3]) + sum(fields[5:8])

    before = busy()
    time.sleep(seconds)
    return 100 * (busy() - before) / _TICKS / seconds


class LineProcess:
    """A Python module as a child that takes and gives JSON lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(  # our own modules
            [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tell(self, command: dict[str, object]) -> None:
        """Writes one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Reads one line; RuntimeError if the child has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with status {self._process.wait()}")
        result: dict[str, Any] = json.loads(line)
        return result

    def end(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
