"""``python -m tests.bench.candidates``: Chromium and stock aiortc with three ingresses in the answer; one dies.

Real relays (global ingresses, a cluster), a transceiver that echoes, one call for each line. "stop" is SIGSTOP: nothing
more is heard of the ingress, as of a machine without power; "kill" is SIGKILL: its machine still sends ICMP errors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from . import chromium, stock

Faults = dict[str, str | None]
SCENES: Final[dict[str, Faults]] = {
    "all live": {"dead_first": None, "dies": None},
    "first dead (stop)": {"dead_first": "stop", "dies": None},
    "first dead (kill)": {"dead_first": "kill", "dies": None},
    "dies in mid-call (stop)": {"dead_first": None, "dies": "stop"},
    "dies in mid-call (kill)": {"dead_first": None, "dies": "kill"},
}
CLIENTS: Final = ("chromium", "chromium, equal", "aiortc")


async def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every row that was asked for, printed as it comes."""
    rows: list[dict[str, Any]] = []
    async with chromium.browser() as running:

        def call_of(client: str, faults: Faults) -> Callable[[], Awaitable[dict[str, Any]]]:
            if client == "aiortc":
                return lambda: stock.call(**faults)
            return lambda: chromium.call(running, equal=client.endswith("equal"), **faults)

        for client in options.clients:
            for name in options.scenes:
                trials = [await call_of(client, SCENES[name])() for _ in range(options.trials)]
                row = {"client": client, "scene": name, "trials": trials}
                rows.append(row)
                for line in lines_of(row):
                    print(line, flush=True)
    return rows


def lines_of(row: dict[str, Any]) -> Iterator[str]:
    """A row as text."""

    def spread(name: str) -> str:
        found = [trial[name] for trial in row["trials"] if trial.get(name) is not None]
        missing = len(row["trials"]) - len(found)
        said = f"{statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f})" if found else "never"
        return f"{said}{f', {missing} times never' if missing and found else ''}"

    trials = row["trials"]
    taken = " ".join(str(trial["takes"]) for trial in trials)
    yield f"{row['client']}, {row['scene']}: takes {taken}; first voice {spread('first_voice_ms')} ms"
    yield f"    checks a minute by ingress: {'; '.join(_counts(trial) for trial in trials)}"
    if any("gap_ms" in trial for trial in trials):
        goes_on = " ".join(str(trial.get("goes_on_by")) for trial in trials)
        yield f"    gap {spread('gap_ms')} ms, goes on by {goes_on}, states {trials[0].get('states')}"


def _counts(trial: dict[str, Any]) -> str:
    return " ".join("-" if count is None else str(count) for count in trial["checks_a_minute"])


def main() -> None:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.candidates", description=__doc__)
    parser.add_argument("--clients", nargs="*", choices=CLIENTS, default=list(CLIENTS), help="[all]")
    parser.add_argument("--scenes", nargs="*", choices=SCENES, default=list(SCENES), help="[all]")
    parser.add_argument("--trials", type=int, default=5, help="calls for each row [5], about 18 s each")
    parser.add_argument("--json", type=Path, help="also write every trial there")
    options = parser.parse_args()
    rows = asyncio.run(measure(options))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
