"""What a process says about itself: JSON from its admin socket."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from rtcrelay.errors import BackendError, ExitStatus, PeerError

ANSWER_SECONDS = 5.0
"""A process that does not answer its own admin socket within this time is broken."""


@dataclass(frozen=True, slots=True)
class Stats:
    """`/v1/stats`, as much as every process has."""

    pid: int
    counters: dict[str, int]
    """Counts since the process started."""
    drops: dict[str, int]
    """Dropped packets by reason."""
    ends: dict[str, int]
    """A transceiver's ended sessions by reason; a relay has none."""

    def count(self, name: str) -> int:
        """A counter; PeerError if the process has none of that name, so that no check can pass by a misspelling."""
        if name not in self.counters:
            raise PeerError(f"the process {self.pid} counts no {name!r}")
        return self.counters[name]


@dataclass(frozen=True, slots=True)
class Admin:
    """One process's admin socket."""

    socket: Path

    async def stats(self) -> Stats:
        """The process's counters."""
        body = await self.read("/v1/stats")
        try:
            return Stats(int(body["pid"]), dict(body["counters"]), dict(body["drops"]), dict(body.get("ends", {})))
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"{self.socket} answered /v1/stats without {error}") from error

    async def flow(self, client: str) -> dict[str, Any] | None:
        """A relay's entry for a client's address (`ip:port`), or None."""
        return next((flow for flow in await self.flows() if flow.get("client") == client), None)

    async def flows(self) -> list[dict[str, Any]]:
        """A relay's path table, the first 1000 entries."""
        return await self._rows("/v1/flows", "flows")

    async def sessions(self) -> list[dict[str, Any]]:
        """A transceiver's sessions."""
        return await self._rows("/v1/sessions", "sessions")

    async def read(self, path: str) -> dict[str, Any]:
        """GET; BackendError if nobody listens there, PeerError if the answer is not 200 and a JSON object."""
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            # A connection per question: the process may be killed and started again in between.
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket)), timeout=limit) as http,
                http.get(f"http://admin{path}") as response,
            ):
                body = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BackendError(
                f"cannot reach the admin socket {self.socket}: {error or type(error).__name__}",
                status=ExitStatus.UNAVAILABLE,
            ) from error
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        if response.status != 200 or not isinstance(content, dict):
            raise PeerError(f"{self.socket} answered {response.status} to {path}: {body[:200]}")
        return content

    async def _rows(self, path: str, name: str) -> list[dict[str, Any]]:
        rows = (await self.read(path)).get(name)
        if not isinstance(rows, list):
            raise PeerError(f"{self.socket} answered {path} without {name!r}")
        return rows
