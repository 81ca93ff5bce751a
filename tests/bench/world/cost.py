"""What does a hop cost? Processor time of each relay for every datagram that passes it, with real processes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

from .bed import FAR, NEAR, Bed
from .callers import Way, calling
from .link import cpu_ns

CALLS: Final = 20
SECONDS: Final = 6.0


async def cost(bed: Bed, ways: list[Way]) -> list[dict[str, Any]]:
    """One tier (way a) and two (way b), one after the other, and again; a row for each relay that carried something.

    Without jitter and loss: those bunch packets, and a relay that takes several at once spends less on each.
    """
    by = {way.name: way for way in ways}
    rows = []
    for region in (NEAR, FAR):
        bed.lab.set_link(f"public:{NEAR}-{region}", {"jitter_ms": 0, "loss_percent": 0})
    for name in ("a vip", "b global") * 2:
        async with AsyncExitStack() as stack:
            await asyncio.gather(*(stack.enter_async_context(calling(by[name])) for _ in range(CALLS)))
            relays = [f"{FAR}-relay-1", f"{FAR}-relay-2", *([f"{NEAR}-ingress"] if name == "b global" else [])]
            pids = {relay: bed.pid(relay) for relay in relays}
            before = {relay: (cpu_ns(pid), await _forwarded(bed, relay)) for relay, pid in pids.items()}
            await asyncio.sleep(SECONDS)
            for relay, pid in pids.items():
                cpu, forwarded = cpu_ns(pid) - before[relay][0], await _forwarded(bed, relay) - before[relay][1]
                if forwarded > CALLS * SECONDS:
                    rows.append({"way": name, "relay": relay, "datagrams": forwarded, "cpu_us": cpu / forwarded / 1000})
    return rows


def totals(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Microseconds for a datagram on its whole way, by way: a relay of each tier, weighted by what it carried."""
    found = {}
    for name in ("a vip", "b global"):
        tiers: dict[bool, tuple[float, int]] = {}
        for row in (row for row in rows if row["way"] == name):
            tier = row["relay"] == f"{NEAR}-ingress"
            cpu, datagrams = tiers.get(tier, (0.0, 0))
            tiers[tier] = (cpu + row["cpu_us"] * row["datagrams"], datagrams + row["datagrams"])
        found[name] = sum(cpu / datagrams for cpu, datagrams in tiers.values())
    return found


def print_cost(rows: list[dict[str, Any]]) -> None:
    """For people."""
    print(f"Processor time of relays, {CALLS} calls of 50 packets a second each way, no jitter, kernel included:")
    for row in rows:
        print(f"  {row['way']:<10}{row['relay']:<18}{row['cpu_us']:6.1f} µs a datagram, {row['datagrams']} of them")
    both = totals(rows)
    one, two = both["a vip"], both["b global"]
    print(f"  a datagram's whole way: one tier {one:.1f} µs, two tiers {two:.1f} µs, ratio {two / one:.2f}")


async def _forwarded(bed: Bed, relay: str) -> int:
    counters = (await bed.admin(relay).stats()).counters
    return counters["public_in_packets"] + counters["internal_in_packets"]
