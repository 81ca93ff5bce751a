"""``python -m tests.bench.setup``: a table on stdout, and the same as JSON with ``--json FILE``.

A relay and a transceiver as operators start them, and 100 ms of round trip on the client's leg: 50 ms each way by a
process between the two. Times count from the client's first STUN request. *possible*: the client has its media keys,
and the server's first audio could be there; *heard*: the server's first audio is decrypted (its clock has frames of
20 ms); *spoken*: the client's first audio is decrypted at the server. Exit status 1 if a median is over its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

from rtcrelay.client.demo.site import Site, SiteOptions

from .callers import MakeCall, chromium, own_client, stock_aiortc
from .leg import Leg, delayed_leg

POSSIBLE_LIMIT = 2.1
SPOKEN_LIMIT = 2.8
"""In round trips."""
LIMITED = ("rtcrelay's client", "Chromium")
"""Stock aiortc waits 20 ms before its first check is followed by anything; its figures are shown and not judged."""
MODULE = "tests.bench.setup"
CHROMIUM = shutil.which("chromium")
DISTURBED_MS = 3.0
"""Waited for a core in one call, by all processes together: beyond it the call is made again."""
TRIES = 8
SETTLE_SECONDS = 0.3
"""Between calls: what was under way at the end of one is not counted to the next."""


async def main() -> int:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--calls", type=int, default=15, help="calls of each client [15]")
    parser.add_argument("--round-trip-ms", type=float, default=100.0, help="of the client's leg [100]")
    options = parser.parse_args()
    delay = options.round_trip_ms / 2000
    clients: dict[str, list[dict[str, float]]] = {}
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = Site(directory, SiteOptions(nodes=("setup",), extra_transceiver=("--backend", "tone")))
        host, port = site.relay.vip
        leg = await stack.enter_async_context(delayed_leg(host, port, delay))
        node = site.transceivers[0]
        node.daemon.arguments = tuple(
            leg.address if word == f"{host}:{port}" else word for word in node.daemon.arguments
        )
        stack.push_async_callback(site.stop)
        await site.start()
        makers: dict[str, MakeCall] = {"rtcrelay's client": own_client, "stock aiortc": stock_aiortc}
        if CHROMIUM is not None:
            makers["Chromium"] = await stack.enter_async_context(chromium(node.page, CHROMIUM))
        bench = Bench(site, leg, options.round_trip_ms)
        for name, make_call in makers.items():
            await bench.measure(make_call)  # the first one imports, compiles and fills caches
            clients[name] = [await bench.measure_undisturbed(make_call) for _ in range(options.calls)]
    passed = report(clients, options.round_trip_ms)
    if options.json is not None:
        figures = {"round_trip_ms": options.round_trip_ms, "clients": clients, "passed": passed}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if passed else 1


class Bench:
    """Measures one call at a time."""

    def __init__(self, site: Site, leg: Leg, round_trip_ms: float) -> None:
        self._site, self._leg, self._round_trip_ms = site, leg, round_trip_ms

    async def measure_undisturbed(self, make_call: MakeCall) -> dict[str, float]:
        """The least disturbed of a few tries: other work on a shared machine is no fault of the call's."""
        best = await self.measure(make_call)
        for _ in range(TRIES - 1):
            if best["waited_ms"] <= DISTURBED_MS:
                break
            best = min(best, await self.measure(make_call), key=lambda call: call["waited_ms"])
        return best

    async def measure(self, make_call: MakeCall) -> dict[str, float]:
        """In round trips, and how late the leg was, in milliseconds."""
        rows: list[dict[str, Any]] = []

        async def look() -> None:
            admin = self._site.transceivers[0].admin
            for _ in range(200):
                rows[:] = await admin.sessions()
                if rows and rows[-1]["first_rtp_in_ms"] is not None:
                    return
                await asyncio.sleep(0.02)

        await asyncio.sleep(SETTLE_SECONDS)
        await self._leg.ask()
        waited = self._waited_ms()
        keys_at, heard_at = await make_call(self._site.transceivers[0].url, look)
        leg, server = await self._leg.ask(), rows[-1]
        began = leg["first_datagram_at"]
        trip = self._round_trip_ms
        # The server's part: its keys, as far after the check as they were, plus the way of the check and of the audio.
        server_possible = server["keys_ms"] - server["first_check_ms"] + trip
        return {
            "possible": max(1000 * (keys_at - began), server_possible) / trip,
            "heard": 1000 * ((heard_at or leg["first_audio_down_at"]) - began) / trip,
            "spoken": (server["first_rtp_in_ms"] - server["first_check_ms"] + trip / 2) / trip,
            "server_keys_ms": server["keys_ms"] - server["first_check_ms"],
            "waited_ms": self._waited_ms() - waited,
            "leg_late_p99_ms": leg["late_p99_ms"],
            "leg_late_max_ms": leg["late_max_ms"],
        }

    def _waited_ms(self) -> float:
        """How long the services and this process were ready to run while something else had the core."""
        pids = [os.getpid(), *(daemon.pid for daemon in self._site.daemons)]
        tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e6


def report(clients: dict[str, list[dict[str, float]]], round_trip_ms: float) -> bool:
    """Prints the table; True if no median is over its limit."""
    print(f"Round trips of {round_trip_ms:g} ms from the client's first STUN request: median (least to most)")
    print(f"{'client':20s} {'possible':>22s} {'heard':>22s} {'spoken':>22s}   leg late p99, most; waited")
    bad = []
    for name, calls in clients.items():
        late = f"{median(call['leg_late_p99_ms'] for call in calls):.2f} ms"
        most = f"{max(call['leg_late_max_ms'] for call in calls):.2f} ms"
        waited = f"{median(call['waited_ms'] for call in calls):.1f} ms"
        columns = [_spread([call[key] for call in calls]) for key in ("possible", "heard", "spoken")]
        print(f"{name:20s} {columns[0]:>22s} {columns[1]:>22s} {columns[2]:>22s}   {late}, {most}; {waited}")
        for key, limit in (("possible", POSSIBLE_LIMIT), ("spoken", SPOKEN_LIMIT)):
            value = median(call[key] for call in calls)
            if name in LIMITED and value > limit:
                bad.append(f"{name}: {key} {value:.2f} > {limit}")
    print("FAILED: " + "; ".join(bad) if bad else f"PASSED: possible <= {POSSIBLE_LIMIT}, spoken <= {SPOKEN_LIMIT}")
    return not bad


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
