"""Prints, for Valkey and Redis: the cost of writing behind, the answer to many questions, the time of a listing."""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from store.flood import caching, flood, new_flows, until
from store.server import Server, running

from rtcrelay.relay.route_cache import RouteCache
from rtcrelay.store.redis_store import RedisStore
from rtcrelay.store.route_entry import PathKey, RouteEntry

ROUTES = 100_000
SECONDS = 5.0
RATE = 10_000
LISTINGS = 5


async def write_behind(server: Server) -> None:
    """New flows at a steady rate, then as many as the queue holds at once."""
    async with caching(server.url) as cache:
        cpu = time.process_time()
        told, worst, longest = await flood(cache, RATE, SECONDS)
        cpu = time.process_time() - cpu
        await until(lambda: cache.waiting == 0)
        row(
            server,
            f"{RATE} new flows a second for {SECONDS:g} s",
            cache,
            told,
            f"loop late at most {worst * 1e3:.0f} ms",
        )
        row(
            server,
            "",
            cache,
            told,
            f"longest queue {longest}, {cpu / told * 1e6:.1f} us of CPU a route, events made too",
        )
    async with caching(server.url) as cache:
        begun, cpu = time.monotonic(), time.process_time()
        cache.handle_events(new_flows(0, 60_000), 0)
        await until(lambda: cache.waiting == 0)
        wall, cpu = time.monotonic() - begun, time.process_time() - cpu
        rate = f"{60_000 / wall:,.0f} routes a second, {cpu / 60_000 * 1e6:.1f} us of CPU a route"
        row(server, "60000 at once", cache, 60_000, rate)
    async with caching(server.url) as cache:
        await flood(cache, 100, 0.1)
        server.signal(signal.SIGSTOP)
        told, worst, longest = await flood(cache, RATE, 2 * SECONDS)
        row(
            server,
            f"server stalled, {RATE} a second",
            cache,
            told,
            f"loop late at most {worst * 1e3:.0f} ms, queue {longest}",
        )
        server.signal(signal.SIGCONT)


async def questions(server: Server) -> None:
    """Many questions at once, of paths that are there."""
    for count in (1, 1000, 10_000):
        async with written(server, count) as cache:
            begun = time.monotonic()
            cache.handle_events(new_flows(0, count, "asked"), 0)
            await until(lambda cache=cache, count=count: _answered(cache) == count)  # type: ignore[misc]  # mypy sees no default
            wall = (time.monotonic() - begun) * 1e3
            print(f"{server.name:7} {count} questions at once: all answered after {wall:.1f} ms, "
                  f"{cache.counts.ask_dropped} dropped")  # fmt: skip


@asynccontextmanager
async def written(server: Server, count: int) -> AsyncIterator[RouteCache]:
    async with caching(server.url) as cache:
        cache.handle_events(new_flows(0, count), 0)
        await until(lambda: cache.counts.written == count)
        yield cache


async def fill(server: Server) -> None:
    store, now = RedisStore(server.url, answer_seconds=5), time.time_ns() // 1_000_000
    await store.run(("FLUSHALL",))
    entries = [
        (
            PathKey((f"198.51.{n // 250 % 250}.{n % 250}", n % 60_000 + 1024), 3479).text(),
            RouteEntry(0, (f"10.0.3.{n % 50}", 7000), "10.0.0.5:3479", now, now + 150_000).text(),
        )
        for n in range(ROUTES)
    ]
    for start in range(0, ROUTES, 1000):
        await store.write(entries[start : start + 1000], 150)
    await store.close()


def listing(server: Server) -> None:
    """The whole command, from its start to its end."""
    for form in ("json", "jsonl"):
        command = [sys.executable, "-m", "rtcrelay", "routes", "list", "-o", form, "--redis", server.url]
        times = []
        for _ in range(LISTINGS):
            begun = time.monotonic()
            done = subprocess.run(command, capture_output=True, check=True)
            times.append(time.monotonic() - begun)
            assert done.stdout.count(b'"kind":"route"') == ROUTES
        print(f"{server.name:7} routes list -o {form}, {ROUTES} routes: {statistics.median(times):.2f} s"
              f" ({min(times):.2f} to {max(times):.2f}, {LISTINGS} runs)")  # fmt: skip


def _answered(cache: RouteCache) -> int:
    return cache.counts.found + cache.counts.ask_dropped


def row(server: Server, what: str, cache: RouteCache, told: int, more: str) -> None:
    counts = cache.counts
    print(f"{server.name:7} {what}: told {told}, written {counts.written}, dropped {counts.write_dropped}; {more}")


def main() -> None:
    """Runs everything: about a minute."""
    for name in ("valkey", "redis"):
        with running(name) as server:
            asyncio.run(write_behind(server))
            asyncio.run(questions(server))
            asyncio.run(fill(server))
            listing(server)


if __name__ == "__main__":
    main()
