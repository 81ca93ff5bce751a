"""Established calls under a flood, ``python -m tests.bench.recovery.flood_rows``: how much can come before
one of their packets is lost, and who loses beyond that?

The relay shares a core with the flood and yields to it, so that any machine saturates it; the calls have the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.relay_process import UnixConnection

from rtcrelay._dataplane import SPP_HEADER

from .figures import measure
from .flows import numbers
from .load_rows import SPACING, Bed, Fault, bed_for

CALLS: Final = 100
SECONDS: Final = 2.0
STEPS: Final = (10_000, 20_000, 40_000, 80_000, 120_000, 160_000, 240_000, 320_000, 480_000, 640_000, 0)
"""Datagrams of flood a second; 0: as many as the machine can send."""
SAFE_PART: Final = 0.8
YIELDING: Final = 10
"""Niceness of the relay: a tenth of the core while the flood wants the rest."""


@dataclass(frozen=True)
class Load:
    """One flood and what it did."""

    total_rate: float
    """Datagrams a second to the public socket, those of calls included."""
    flood_lost: float
    """Part of the flood that the relay never saw, 0 to 1."""
    calls_lost: float
    """Part of the clients' packets, which go through the same queue, lost while the flood lasted, 0 to 1."""
    calls_lost_packets: int
    """Packets of calls that never came, both ways."""

    @property
    def is_lossless(self) -> bool:
        """Whether the relay saw 99.9 % of the flood, and every packet of a call came."""
        return self.flood_lost <= 0.001 and self.calls_lost_packets == 0

    def row(self) -> dict[str, Any]:
        """For programs."""
        return {
            "total_packets_a_second": round(self.total_rate),
            "flood_lost_percent": round(100 * self.flood_lost, 2),
            "calls_lost_percent": round(100 * self.calls_lost, 2),
            "calls_lost_packets_both_ways": self.calls_lost_packets,
        }


@contextmanager
def flooded(redis: bool = False) -> Iterator[Bed]:
    """Calls that talk through a relay that shares a core; ``redis``: which asks about paths it does not know."""
    with bed_for(Fault("flood", lambda bed: None, 0.0, redis=redis), CALLS) as bed:
        process = bed.relays[0].process
        assert process is not None
        first, *rest = sorted(os.sched_getaffinity(0))
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {first})
            os.setpriority(os.PRIO_PROCESS, int(task.name), YIELDING)
        before = os.sched_getaffinity(0)
        if rest:
            os.sched_setaffinity(0, set(rest))
        try:
            yield bed
        finally:
            os.sched_setaffinity(0, before)


def flood_once(bed: Bed, rate: int, seconds: float = SECONDS) -> Load:
    """A flood of so many datagrams a second, 0 for as many as can be sent."""
    bed.flows.run(0.1)
    bed.flows.settle()
    bed.flows.forget()
    host, port = bed.flows.public
    first = min(os.sched_getaffinity(bed.relays[0].process.pid))  # type: ignore[union-attr]  # it runs
    before = _received(bed)
    sender = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.recovery.flood", host, str(port), str(rate), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {first}),
    )
    begun = time.monotonic()
    while sender.poll() is None:
        bed.flows.run(0.02)
    took = time.monotonic() - begun
    bed.flows.settle(0.5)
    assert sender.stdout is not None
    sent_text, begun_text = sender.stdout.read().split()
    sender.stdout.close()
    sent, flood_begun = int(sent_text), float(begun_text)
    up, down = measure(bed.flows, None)
    calls_sent = sum(last - start for _, start, last, _ in bed.flows.up.sent)
    seen = _received(bed) - before - (calls_sent - up.lost)
    part = _lost_part(bed, flood_begun, flood_begun + seconds)
    return Load(sent / seconds + calls_sent / took, 1 - seen / sent, part, up.lost + down.lost)


def _lost_part(bed: Bed, begin: float, end: float) -> float:
    """Of the clients' packets sent in between."""
    rounds = [burst for burst in bed.flows.up.sent if begin <= burst[0] <= end]
    sent = {(flow, number) for _, first, last, number in rounds for flow in range(first, last)}
    came = {(flow, number) for _, flow, number in numbers(bed.flows.up.arrived, SPP_HEADER)}
    return len(sent - came) / len(sent)


def lossless_rate(bed: Bed, steps: Sequence[int] = STEPS) -> tuple[int, list[Load]]:
    """The highest step of flood (datagrams a second) at which nothing at all is lost, and every step's figures; ends
    with the first that loses."""
    best, loads = 0, []
    for step in steps:
        loads.append(flood_once(bed, step))
        if not loads[-1].is_lossless:
            break
        best = step or round(loads[-1].total_rate)
    return best, loads


def safe_rate(best: int) -> int:
    """The flood with which the whole load is four fifths of what was lossless with ``best``."""
    calls = CALLS / SPACING[1]
    return int(SAFE_PART * (best + calls) - calls)


def flood_rows(redis: bool) -> list[dict[str, Any]]:
    """The steps, three floods at four fifths of the lossless rate, and three as large as can be."""
    name = "flood, Redis" if redis else "flood"
    with flooded(redis) as bed:
        best, loads = lossless_rate(bed)
        rows = [{"row": f"{name}, rising", **load.row()} for load in loads]
        rows += [{"row": f"{name}, 80 % of lossless", **flood_once(bed, safe_rate(best)).row()} for _ in range(3)]
        rows += [{"row": f"{name}, all that can be sent", **flood_once(bed, 0).row()} for _ in range(3)]
    return rows


def _received(bed: Bed) -> int:
    connection = UnixConnection(bed.relays[0].admin)
    connection.request("GET", "/v1/stats")
    stats = json.loads(connection.getresponse().read())
    connection.close()
    return int(stats["counters"]["public_in_packets"])


if __name__ == "__main__":
    for with_redis in (False, True):
        for each in flood_rows(with_redis):
            print(json.dumps(each), flush=True)
