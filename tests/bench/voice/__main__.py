"""``python -m tests.bench.voice``: sessions per core by what the backend wants of the sound.

Every variant runs at its own number of sessions, with a recorded voice, the transceiver on core 0, the load and the
realtime service on core 1; stock aiortc's echo, which decodes and encodes too, runs in the same way. Lateness is
that of frames on the transceiver's clock, as its metrics have it (a pass-through has none: see tests.bench.sessions);
``at 70 %`` is the number of sessions that the CPU of this run comes to at 70 % of a core. ``--find`` steps up to the
most sessions that use 70 % of a core and have 99 % of their frames within 5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.keys import generate, write_key_file

# Benches are packages of a namespace that mypy does not see.
from ..sessions.__main__ import (  # type: ignore[import-not-found]
    CPU_LIMIT_PERCENT,
    LOAD_CPU,
    SERVER_CPU,
    bench_stock,
)
from ..sessions.processes import (  # type: ignore[import-not-found]
    LineProcess,
    Usage,
    others_cpu_percent,
    pin,
)

MODULE = "tests.bench.voice"
VARIANTS = {
    "pass-through": ("echo", 300),
    "pcm-in": (f"python:{MODULE}.backends:PcmIn", 100),
    "pcm-both": ("pcm-echo", 40),
    "realtime-both": ("", 25),
}
"""(backend, sessions); the realtime service's address is known when it runs."""
_FIRST_SESSIONS = 5
LATENESS_LIMIT_MS = 5.0
STEP = 0.9
"""Of the way to where the CPU would be at its bound."""
MAX_STEPS = 5
_METRIC = "rtcrelay_transceiver_frame_lateness_seconds_bucket"


@asynccontextmanager
async def transceiver(directory: Path, backend: str) -> AsyncIterator[tuple[int, int, int, int]]:
    """A transceiver on its own core: its process id and its ports for signaling, media and metrics."""
    media, http, direct, metrics = free_ports(4)
    keys = directory / "keys.toml"
    if not keys.exists():
        write_key_file(keys, generate())
    arguments = ["transceiver", "--key-file", str(keys), "--media", f"127.0.0.1:{media}", "--backend", backend]
    arguments += ["--http", f"127.0.0.1:{http}", "--relays", "127.0.0.0/8", "--max-sessions", "5000"]
    arguments += ["--direct", f"127.0.0.1:{direct}", "--ingress", f"127.0.0.1:{direct}"]
    arguments += ["--admin", "none", "--metrics", f"127.0.0.1:{metrics}"]
    daemon = Daemon("voice", arguments, directory)
    await daemon.start()
    assert daemon.pid is not None
    pin(daemon.pid, SERVER_CPU)
    try:
        yield daemon.pid, http, media, metrics
    finally:
        await daemon.stop()


def lateness_counts(port: int) -> list[tuple[float, float]]:
    """(upper bound in seconds, frames up to it) of the transceiver's frames."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith(_METRIC)]
    return [(float(line.split('le="')[1].split('"')[0]), float(line.rpartition(" ")[2])) for line in found]


def late_quantile(before: list[tuple[float, float]], after: list[tuple[float, float]], part: float) -> float | None:
    """Upper bound in milliseconds of the bucket with that quantile; None if no frame was due."""
    counts = [(bound, now - then) for (bound, now), (_, then) in zip(after, before, strict=True)]
    total = counts[-1][1] if counts else 0
    return next((1000 * bound for bound, count in counts if count >= part * total), None) if total else None


def prioritize(pid: int) -> None:
    """Puts every thread of a process, and those it makes later, before all that is not a bench (SCHED_FIFO)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(1))


def measure(load: LineProcess, pid: int, metrics: int, sessions: int, seconds: float) -> dict[str, Any]:
    """One row."""
    load.tell({"sessions": sessions, "seconds": seconds})
    load.hear()
    load.hear()
    before, late_before = Usage.of(pid), lateness_counts(metrics)
    result = load.hear()
    after, late_after = Usage.of(pid), lateness_counts(metrics)
    cpu = after.cpu_percent_since(before) * (after.at - before.at) / result["seconds"]
    return {
        "sessions": sessions,
        "cpu_percent": round(cpu, 1),
        "cpu_percent_per_session": round(cpu / sessions, 3),
        "sessions_at_limit": int(CPU_LIMIT_PERCENT / (cpu / sessions)),
        "rss_bytes": after.rss_bytes,
        "lateness_p99_ms": late_quantile(late_before, late_after, 0.99),
        "lateness_p999_ms": late_quantile(late_before, late_after, 0.999),
        "packets_back_percent": round(100 * result["received"] / result["sent"], 2),
        "waited_for_core_percent": round(100 * (after.waited_seconds - before.waited_seconds) / result["seconds"], 2),
        "generator_lateness_p99_ms": result["generator_lateness_p99_ms"],
    }


def is_within(row: dict[str, Any]) -> bool:
    """Whether a row keeps both bounds."""
    late = row["lateness_p99_ms"]
    return bool(row["cpu_percent"] <= CPU_LIMIT_PERCENT and (late is None or late <= LATENESS_LIMIT_MS))


def step_up(load: LineProcess, pid: int, metrics: int, first: int, seconds: float) -> dict[str, Any]:
    """The most sessions within both bounds: from below, each step as far as the CPU of the one before allows."""
    best = row = measure(load, pid, metrics, first, seconds)
    for _ in range(MAX_STEPS):
        nearer = int(row["sessions"] + STEP * (row["sessions_at_limit"] - row["sessions"]))
        if not is_within(row) or nearer <= row["sessions"]:
            break
        best, row = row, measure(load, pid, metrics, nearer, seconds)
        print(f"  tried {nearer}: CPU {row['cpu_percent']} %, late {row['lateness_p99_ms']} ms", file=sys.stderr)
    return row if is_within(row) else best


async def bench(directory: Path, name: str, sessions: int, options: argparse.Namespace) -> dict[str, Any]:
    """One variant."""
    backend = VARIANTS[name][0]
    service = LineProcess(f"{MODULE}.again", str(LOAD_CPU)) if not backend else None
    try:
        url = backend or (service.hear()["url"] if service else "")
        async with transceiver(directory, url) as (pid, http, media, metrics):
            load = LineProcess("tests.bench.sessions.generator", f"127.0.0.1:{http}", str(media), str(LOAD_CPU))
            try:
                if options.first_in_line:
                    for each in (pid, load.pid, *([service.pid] if service else [])):
                        prioritize(each)
                first = await asyncio.to_thread(measure, load, pid, metrics, _FIRST_SESSIONS, 1.0)
                act = step_up if options.find else measure
                row = await asyncio.to_thread(act, load, pid, metrics, sessions, options.seconds)
            finally:
                load.end()
    finally:
        if service is not None:
            service.end()
    grown = (row["rss_bytes"] - first["rss_bytes"]) / 1000 / (row["sessions"] - _FIRST_SESSIONS)
    return row | {"kilobytes_per_session": round(grown, 1)}


async def main() -> None:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--seconds", type=float, default=6.0, help="measured per variant [6]")
    parser.add_argument("--only", choices=[*VARIANTS, "stock"], action="append", help="leave out the others")
    parser.add_argument("--find", action="store_true", help="step up to the most sessions within both bounds")
    parser.add_argument(
        "--first-in-line",
        action="store_true",
        help="real-time priority for server and load, where other work shares the machine; needs root",
    )
    parser.add_argument("--sessions", type=int, help="for each variant; its own number without this")
    options = parser.parse_args()
    os.environ["BENCH_SPEECH"] = "1"
    figures: dict[str, Any] = {"others_cpu_percent": round(others_cpu_percent(), 1)}
    print("variant          sessions   CPU%  %/session  at 70 %  kB/session  late99 ms  back%  waited%  gen late99")
    with tempfile.TemporaryDirectory() as directory:
        for name, (_, sessions) in VARIANTS.items():
            if options.only and name not in options.only:
                continue
            row = figures[name] = await bench(Path(directory), name, options.sessions or sessions, options)
            late = "-" if row["lateness_p99_ms"] is None else f"{row['lateness_p99_ms']:g}"
            print(
                f"{name:16} {row['sessions']:8} {row['cpu_percent']:6} {row['cpu_percent_per_session']:10}"
                f" {row['sessions_at_limit']:8} {row['kilobytes_per_session']:11} {late:>10}"
                f" {row['packets_back_percent']:6} {row['waited_for_core_percent']:8}"
                f" {row['generator_lateness_p99_ms']:11}",
                flush=True,
            )
    if not options.only or "stock" in options.only:
        figures["stock_aiortc"] = await bench_stock(6, options.seconds)
        print(f"stock aiortc     {figures['stock_aiortc']}")
    print(f"other work on the machine: {figures['others_cpu_percent']} % of a core")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
