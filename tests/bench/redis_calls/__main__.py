"""Prints the commands a second that a real Valkey gets of one relay and one transceiver, without calls and with some.

Routes are written anew after 1.25 idle times; the relay's is shortened so that this shows within the run. Counted by
Valkey itself (INFO commandstats)."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from store.server import Server, running

from rtcrelay.client.caller import calling
from rtcrelay.client.demo.site import Site, SiteOptions

CALLS = 8
IDLE_SECONDS = 8.0
SECONDS = 40.0
_IGNORED = {"info", "config|resetstat", "ping", "hello", "select", "client|setinfo"}


def ask(server: Server, command: str) -> str:
    """An inline command's answer."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(f"{command}\r\nQUIT\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()


def commands(server: Server) -> dict[str, int]:
    """How often each command came, since the server started."""
    lines = [line for line in ask(server, "INFO commandstats").splitlines() if line.startswith("cmdstat_")]
    counts = {line[8 : line.index(":")]: int(line.partition("calls=")[2].partition(",")[0]) for line in lines}
    return {name: count for name, count in counts.items() if name not in _IGNORED}


async def rates(server: Server) -> dict[str, float]:
    """Commands a second over `SECONDS`."""
    before = commands(server)
    await asyncio.sleep(SECONDS)
    after = commands(server)
    return {name: (count - before.get(name, 0)) / SECONDS for name, count in sorted(after.items())}


async def main() -> int:
    """Prints a line for each command."""
    with running("valkey") as server, tempfile.TemporaryDirectory() as directory:
        redis = ("--redis", server.url)
        relay = (*redis, "--idle-timeout", f"{IDLE_SECONDS:g}s")
        site = Site(Path(directory), SiteOptions(("a",), extra_relay=relay, extra_transceiver=redis))
        try:
            await site.start()
            await asyncio.sleep(1)
            alone = await rates(server)
            async with AsyncExitStack() as stack:
                for _ in range(CALLS):
                    caller = await stack.enter_async_context(calling(site.transceivers[0].url))
                    await caller.until_talking()
                busy = await rates(server)
        finally:
            await site.stop()
    print(f"{CALLS} calls, idle time {IDLE_SECONDS:g} s; commands a second")
    print(f"{'COMMAND':<20}{'NO CALLS':>10}{'CALLS':>10}{'A CALL':>10}")
    for name in sorted(alone.keys() | busy.keys()):
        without, with_calls = alone.get(name, 0.0), busy.get(name, 0.0)
        print(f"{name:<20}{without:>10.2f}{with_calls:>10.2f}{(with_calls - without) / CALLS:>10.4f}")
    print(f"expected of a call: {1 / (1.25 * IDLE_SECONDS):.4f} (one write in 1.25 idle times)")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
