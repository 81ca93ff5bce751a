"""``python -m tests.bench.world``, as root: calls in the laboratory, by four ways, and with parts of the world dying.

Everything in one run: the emulator's own error; the inputs (links); a table of the ways; what dies, and the gaps; the
cost of a hop. Exit status 1 if an aim is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from .bed import Bed, laboratory
from .browser import CHROMIUM, chromium
from .cost import cost, print_cost, totals
from .faults import HEARTBEAT_SECONDS, cluster_dies, ingress_dies, own_client, print_faults, relay_dies
from .link import accuracy, print_accuracy
from .ways import print_table, table, verdicts, ways_of


def main() -> int:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.world", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=10, help="by each way [10]")
    parser.add_argument("--seconds", type=float, default=4.0, help="of speech in each [4]")
    parser.add_argument("--trials", type=int, default=5, help="of each fault, with our own client [5]")
    parser.add_argument("--browser-trials", type=int, default=3, help="of each fault, with Chromium; 0: none [3]")
    parser.add_argument("--parts", default="link,ways,faults,cost", help="which parts [link,ways,faults,cost]")
    parser.add_argument("--json", type=Path, help="also write every figure there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("the bench makes network namespaces, so it must run as root")
    if shutil.which("turnserver") is None:
        raise SystemExit("the bench compares with coturn: apt-get install coturn")
    began = time.monotonic()
    with laboratory(f"bench{os.getpid()}") as bed:
        figures = asyncio.run(Run(bed, options).everything())
    judged = judge(figures)
    print()
    for text, met in judged:
        print(f"{'met' if met else 'MISSED':<8}{text}")
    figures |= {"aims": [{"aim": text, "met": met} for text, met in judged], "seconds": time.monotonic() - began}
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if all(met for _, met in judged) else 1


class Run:
    """Part after part; each is printed as soon as it is there."""

    def __init__(self, bed: Bed, options: argparse.Namespace) -> None:
        self._bed, self._options = bed, options
        self._parts = set(options.parts.split(","))
        self._figures: dict[str, Any] = {
            "kind": "bench_world",
            "v": 1,
            "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]},
        }

    async def everything(self) -> dict[str, Any]:
        """The figures."""
        figures, options, bed = self._figures, self._options, self._bed
        self._inputs()
        if "link" in self._parts:
            figures["emulator"] = await asyncio.to_thread(self._accuracy)
        if "ways" in self._parts:
            dot = "." if sys.stderr.isatty() else ""
            figures["ways"] = await table(
                bed, options.calls, options.seconds, lambda: print(dot, end="", file=sys.stderr, flush=True)
            )
            print()
            print_table(figures["ways"])
        if "faults" in self._parts:
            figures["faults"] = await self._faults()
        if "cost" in self._parts:
            figures["cost"] = await cost(bed, ways_of(bed))
            print()
            print_cost(figures["cost"])
        figures["links"] = bed.links()
        return figures

    def _inputs(self) -> None:
        print("Inputs, each way: delay + mean jitter, loss")
        for name, _, link in self._bed.plan.world.links.named():
            print(f"  {name:<28}{link.delay_ms:5.0f} + {link.jitter_ms:g} ms{link.loss_percent:8.1f} %")
        print()

    def _accuracy(self) -> dict[str, Any]:
        found = accuracy(self._bed)
        print_accuracy(found)
        return found

    async def _faults(self) -> list[dict[str, Any]]:
        bed, trials, browser = self._bed, self._options.trials, self._options.browser_trials
        rows = [
            await ingress_dies(bed, own_client, "rtcrelay", trials),
            await relay_dies(bed, own_client, "rtcrelay", trials),
        ]
        if browser and CHROMIUM is not None:
            async with chromium() as call:
                rows.append(await ingress_dies(bed, call, "Chromium", browser))
                rows.append(await relay_dies(bed, call, "Chromium", browser))
        rows.append(await cluster_dies(bed, "killed", trials))
        rows.append(await cluster_dies(bed, "silent", trials))
        print()
        print_faults(rows)
        return rows


def judge(figures: dict[str, Any]) -> list[tuple[str, bool]]:
    """(aim and what came, whether it was met)."""
    found = verdicts(figures["ways"]) if "ways" in figures else []
    for row in figures.get("faults", ()):
        if "survived" in row:
            went_on = row["survived"] == row["trials"]
            found.append(
                (f"{row['fault']}, {row['client']}: {row['survived']} of {row['trials']} calls went on", went_on)
            )
        else:
            worst = max(row["landed_ms"])
            aim = f"{row['fault']}: a new call lands elsewhere within a heartbeat: {worst:.0f} ms of"
            found.append((f"{aim} {1000 * HEARTBEAT_SECONDS:.0f}", worst <= 1000 * HEARTBEAT_SECONDS))
    if "cost" in figures:
        figures["cost_us"] = totals(figures["cost"])
    return found


if __name__ == "__main__":
    sys.exit(main())
