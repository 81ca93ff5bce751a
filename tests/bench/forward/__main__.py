"""``python -m tests.bench.forward``, as root: what a round trip costs with each relay, side by side.

One core, one packet of each burst at a time in flight; see README.md in this folder. The table goes to stdout, every
measurement to ``--json FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .lab import PREFIX, inside, measured, network
from .variants import VARIANTS, Built, Variant, build, running

MIX = Path(__file__).parent / "voice.sizes"
FAULTS = ("misrouted_down", "misrouted_up", "large_at_echo", "large_at_sink", "damaged")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    variants: Sequence[str]
    flows: Sequence[int]
    bursts: Sequence[int]
    sizes: Sequence[str]
    echoes: Sequence[str]
    repetitions: int
    packets: int
    receiving: str

    def cells(self) -> Iterator[tuple[str, str, int]]:
        """Echo, size and flows, each of which has its own table."""
        for echo in self.echoes:
            for size in self.sizes:
                for flows in self.flows:
                    yield echo, size, flows


def main() -> None:
    plan, json_file = _arguments()
    if os.geteuid() != 0:
        raise SystemExit("the bench makes network namespaces, so it must run as root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # what it made is removed
    with tempfile.TemporaryDirectory() as folder:
        built = build(Path(folder), max(plan.flows))
        rows = measure(plan, built)
    if json_file:
        machine = {"kernel": platform.release(), "cpu": _cpu(), "at": time.strftime("%Y-%m-%d")}
        json_file.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    for echo, size, flows in plan.cells():
        print_table([r for r in rows if (r["echo"], r["size"], r["flows"]) == (echo, size, flows)], plan)
    if any(row["lost"] or row[fault] for row in rows for fault in FAULTS):
        raise SystemExit("packets were lost, misrouted, damaged or not segmented: see the table")


def measure(plan: Plan, built: Built) -> list[Row]:
    """Every variant in turn, and again; a row for each burst size."""
    rows = []
    with network(plan.receiving) as kernel_threads:
        for repetition in range(plan.repetitions):
            for echo, size, flows in plan.cells():
                for name in plan.variants:
                    variant = VARIANTS[name]
                    if flows > variant.max_flows or (size == "mixed" and variant.is_turn):
                        continue
                    with running(variant, built) as pids, _echo(echo, built) as echoes:
                        cell = {"variant": name, "echo": echo, "size": size, "flows": flows, "repetition": repetition}
                        command = _generator(plan, built, variant, cell, [*pids, *kernel_threads, *echoes])
                        rows += [cell | row for row in _run(command, name)]
                        print(".", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    return rows


def _generator(plan: Plan, built: Built, variant: Variant, cell: Row, pids: Sequence[int]) -> list[str]:
    words: list[str | Path] = [built.folder / "generator", "-N", PREFIX, "-b", built.folder / "wire.bpf.o"]
    words += ["-u", built.ufrags, "-f", str(cell["flows"]), "-p", ",".join(map(str, pids))]
    words += ["-m", MIX] if cell["size"] == "mixed" else ["-s", cell["size"]]
    words += ["-t"] if variant.is_turn else []
    words += ["-e"] if cell["echo"] == "user" else []
    words += ["-d", "10.1.0.1"]
    packets = {burst: max(plan.packets * min(burst, 8) // 8, 500) for burst in plan.bursts}
    return measured(*words, *(f"{packets[burst]}:{burst}" for burst in plan.bursts))


def _run(command: Sequence[str], name: str) -> Iterator[Row]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        row = json.loads(line)
        yield row | {"lost": row["sent"] - row["back"], "gross_ns": row["generator_ns"] + sum(row["others_ns"])}


@contextmanager
def _echo(kind: str, built: Built) -> Iterator[list[int]]:
    if kind == "kernel":
        yield []
        return
    process = subprocess.Popen(inside("b", *measured(built.folder / "c_echo")), stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(0.2)
        yield [process.pid]
        if process.poll() is not None:
            raise SystemExit(f"the echo ended: {process.stderr.read() if process.stderr else ''}")
    finally:
        process.terminate()
        process.wait()


def ratio(rows: Sequence[Row], above: str, below: str, burst: int) -> float | None:
    """The median of the ratios of each repetition."""
    cost = {(row["variant"], row["repetition"]): row["gross_ns"] for row in rows if row["burst"] == burst}
    both = {repetition for name, repetition in cost if name == above} & {n for name, n in cost if name == below}
    ratios = [cost[above, repetition] / cost[below, repetition] for repetition in both]
    return statistics.median(ratios) if ratios else None


def print_table(rows: Sequence[Row], plan: Plan) -> None:
    """Cost of each variant, and its ratio to the others."""
    if not rows:
        return
    first = rows[0]
    print(f"\n{first['flows']} flows, payload {first['size']} bytes, echo in {first['echo']} space")
    print(f"{'ns per round trip':<38}" + "".join(f"{'burst ' + str(burst):>20}" for burst in plan.bursts) + "  faults")
    for name in plan.variants:
        mine = [row for row in rows if row["variant"] == name]
        if not mine:
            continue
        cells = []
        for burst in plan.bursts:
            costs = [row["gross_ns"] for row in mine if row["burst"] == burst]
            cells.append(f"{statistics.median(costs):.0f} [{min(costs):.0f}-{max(costs):.0f}]")
        faults = {name: sum(row[name] for row in mine) for name in ("lost", *FAULTS)}
        shown = ", ".join(f"{name} {count}" for name, count in faults.items() if count) or "none"
        print(f"{name:<12}{VARIANTS[name].what:<26.26}" + "".join(f"{cell:>20}" for cell in cells) + f"  {shown}")
    pairs = [
        ("ours", "c"),
        ("ours", "c-connected"),
        ("ours", "c-single"),
        ("go", "ours"),
        ("nginx", "ours"),
        ("coturn", "ours"),
        ("ours", "nft"),
    ]
    for above, below in pairs:
        values = [ratio(rows, above, below, burst) for burst in plan.bursts]
        if any(values):
            texts = [f"{value:.2f}" if value else "-" for value in values]
            print(f"{above + ' / ' + below:<38}" + "".join(f"{text:>20}" for text in texts))


def _arguments() -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forward", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--variants", default=",".join(VARIANTS), help="names, separated by commas")
    parser.add_argument("--flows", default="1,1000,100000", help="numbers of flows")
    parser.add_argument("--bursts", default="1,8,64", help="packets in flight at once, 1 to 64")
    parser.add_argument("--sizes", default="160,mixed", help="payload bytes, or mixed as in voice.sizes")
    parser.add_argument("--echoes", default="kernel,user", help="kernel, user or both")
    parser.add_argument("--repetitions", type=int, default=5, help="of everything, interleaved")
    parser.add_argument("--packets", type=int, default=40_000, help="of each measurement at burst 8 and more")
    help = "how the relay's interfaces receive: NAPI threads with GRO, or at once"
    parser.add_argument("--receiving", choices=["threads", "softirq"], default="threads", help=help)
    parser.add_argument("--quick", action="store_true", help="two repetitions of 1,000 flows of 160 bytes, kernel echo")
    parser.add_argument("--json", type=Path, help="file for every measurement")
    given = parser.parse_args()
    if given.quick:
        given.flows, given.sizes, given.echoes, given.repetitions, given.packets = "1000", "160", "kernel", 2, 10_000
    names = given.variants.split(",")
    if unknown := [name for name in names if name not in VARIANTS]:
        raise SystemExit(f"unknown variants: {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    for name in names:
        if not shutil.which(VARIANTS[name].needs):
            raise SystemExit(f"{name} needs {VARIANTS[name].needs}: apt-get install {VARIANTS[name].package}")
    flows, bursts = ([int(number) for number in text.split(",")] for text in (given.flows, given.bursts))
    sizes, echoes = given.sizes.split(","), given.echoes.split(",")
    return Plan(names, flows, bursts, sizes, echoes, given.repetitions, given.packets, given.receiving), given.json


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


if __name__ == "__main__":
    main()
