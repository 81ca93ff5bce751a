"""``python -m tests.bench.recovery``: one table row per fault, and the same as JSON lines with ``--json FILE``.

Real relays, transceivers and Valkey, on loopback. The rows of ``load`` have one to ten thousand calls without their
cryptography; those of ``call`` and ``chromium`` real calls, seen by a packet socket (root, or ``unshare -rn``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import call_rows, load_rows, tier_rows, transceiver_rows

TRIALS = {"load": 20, "call": 20, "chromium": 5}
HEAD = f"{'':28} {'client':9} {'flows':>6} {'trials':>6} {'start':>6}  {'way':3} {'gap p50':>8} {'p95':>8} {'max':>8}"
HEAD += f" {'beyond p95':>10} {'lost':>8}"


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measures every row that was asked for."""

    def wanted(name: str) -> bool:
        return not options.rows or any(word in name for word in options.rows)

    for client in options.clients:
        trials = options.trials or TRIALS[client]
        if client == "load":
            for count in options.flows:
                for fault in load_rows.FAULTS:
                    if wanted(fault.name) and (count == 1 or not fault.checks):
                        yield load_rows.run_fault(fault, count, trials if count == 1 else min(trials, 5))
            if wanted("transceiver kill"):
                yield transceiver_rows.notice(min(trials, 5))
            continue
        for tier_fault in tier_rows.FAULTS if client == "call" else ():
            if wanted(tier_fault.name):
                yield asyncio.run(tier_rows.run_tier_fault(tier_fault, trials))
        for call_fault in call_rows.FAULTS:
            if wanted(call_fault.name):
                yield asyncio.run(call_rows.run_call_fault(call_fault, client, trials))
        if client == "chromium" and wanted("transceiver kill"):
            yield asyncio.run(transceiver_rows.new_call(trials))


def print_row(row: dict[str, Any]) -> None:
    """Two lines of the table: to the server and to the client. The relay's own start is a median."""
    if "to_server" not in row:
        figures = ", ".join(f"{name} {value}" for name, value in row.items() if isinstance(value, dict))
        print(f"{row['row']:28} {row['client']:9} {row['trials']} trials: {figures}", flush=True)
        return
    start = "" if row["start_ms"] is None else f"{row['start_ms']['p50']:.0f}"
    for name, way in (("to_server", "->"), ("to_client", "<-")):
        figures, gap = row[name], row[name]["gap_ms"]
        beyond = figures["beyond_start_ms"]
        label = f"{row['row']:28} {row['client']:9} {row['flows']:6} {row['trials']:6} {start:>6}"
        print(
            f"{label if way == '->' else '':59}  {way:3} {gap['p50']:8.1f} {gap['p95']:8.1f} {gap['max']:8.1f}"
            f" {'' if beyond is None else beyond['p95']:>10} {figures['lost']:8}",
            flush=True,
        )


def main() -> None:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recovery", description=__doc__)
    parser.add_argument("--rows", nargs="*", default=[], help="only rows with one of these words in their names")
    parser.add_argument("--clients", nargs="*", choices=TRIALS, default=list(TRIALS), help="[all]")
    parser.add_argument("--flows", nargs="*", type=int, default=[1, 1_000, 10_000], help="sizes of load [1 1000 10000]")
    parser.add_argument("--trials", type=int, help=f"per row {TRIALS}; 5 at most with more than one flow")
    parser.add_argument("--json", type=Path, help="also write the figures there, one object a line")
    options = parser.parse_args()
    print(f"{HEAD}\n(milliseconds; beyond: beyond the relay's own start, or since the re-hash)")
    measured = []
    for row in rows(options):
        measured.append(row)
        print_row(row)
        if options.json is not None:
            options.json.write_text("".join(json.dumps(each) + "\n" for each in measured))
    silent = [row["row"] for row in measured if "to_server" in row and row["to_server"]["silent_flows"]]
    if silent:
        sys.exit(f"calls did not come back: {', '.join(silent)}")


if __name__ == "__main__":
    main()
