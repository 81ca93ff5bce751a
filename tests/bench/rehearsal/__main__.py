"""``python -m tests.bench.rehearsal``: a table of what a rollout costs calls; JSON lines with ``--json FILE``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import relay_rows, transceiver_rows


def main() -> int:
    """Runs every row; 1 if a call was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rehearsal", description=__doc__)
    parser.add_argument("--calls", type=int, default=100, help="through relays [100]")
    parser.add_argument("--real-calls", type=int, default=30, help="to the transceiver that is replaced [30]")
    parser.add_argument("--drain", type=int, default=15, metavar="SECONDS", help="of a relay [15, as in the chart]")
    parser.add_argument("--json", type=Path, help="also write the figures there, one object a line")
    options = parser.parse_args()
    print(f"{'':42}{'calls':>6}{'lost':>6}{'packets':>9}{'lost ->':>9}{'<-':>6}{'longest gap':>13}", flush=True)
    rows: list[dict[str, Any]] = []
    rehearsals: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: relay_rows.replace_relays(options.calls, options.drain),
        lambda: asyncio.run(transceiver_rows.replace_transceiver(options.real_calls, 20.0)),
        lambda: relay_rows.restart_valkey(options.calls),
        lambda: relay_rows.lose_a_node(options.calls),
    )
    for rehearse in rehearsals:
        rows.append(rehearse())
        print_row(rows[-1])
        if options.json is not None:
            options.json.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return 1 if any(row["calls_lost"] for row in rows) else 0


def print_row(row: dict[str, Any]) -> None:
    """One line."""
    lost = row.get("packets_lost", {"to_server": "", "to_client": ""})
    gap = f"{row['longest_gap_ms']:.0f} ms" if "longest_gap_ms" in row else ""
    line = f"{row['row']:<42}{row['calls']:>6}{row['calls_lost']:>6}{row['packets_sent']:>9}"
    print(f"{line}{lost['to_server']:>9}{lost['to_client']:>6}{gap:>13}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
