"""The delayed leg's process, and how it is asked."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Leg:
    """A running `shim`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.address = ""
        """Where clients send to, ``ip:port``."""

    async def ask(self) -> dict[str, Any]:
        """What it saw since the last time; see `shim.Seen.report`."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return line


@asynccontextmanager
async def delayed_leg(host: str, port: int, delay_seconds: float) -> AsyncIterator[Leg]:
    """A leg towards a server; ended with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.setup.shim", host, str(port), str(delay_seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    leg = Leg(process)
    try:
        ip, bound = (await leg.hear())["address"]
        leg.address = f"{ip}:{bound}"
        yield leg
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
