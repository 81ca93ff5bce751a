"""The same rows with stock aiortc as the client."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

from e2e.aiortc_caller import AiortcCall, aiortc_call
from e2e.tiers import Tiers

from .scene import SETTLE_SECONDS, WATCH_SECONDS, checks, number_of, strike, world


async def call(*, dead_first: str | None, dies: str | None) -> dict[str, Any]:
    """One call, as `chromium.call`; aiortc takes foundations and priorities as they are."""
    async with world() as started:
        gone: set[int] = set()
        if dead_first is not None:
            strike(started, 0, dead_first)
            gone.add(0)
        began = time.monotonic()
        async with aiortc_call(started.url) as talk:
            heard: list[float] = []
            watching = asyncio.create_task(_listen(talk, heard))
            try:
                await asyncio.sleep(SETTLE_SECONDS)
                return await _observe(talk, started, gone, dies, heard) | {"first_voice_ms": _since(began, heard)}
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)


async def _observe(
    talk: AiortcCall, started: Tiers, gone: set[int], dies: str | None, heard: list[float]
) -> dict[str, Any]:
    row: dict[str, Any] = {"takes": number_of(started, _port(talk))}
    if dies is not None and row["takes"] is not None:
        strike(started, row["takes"] - 1, dies)
        gone.add(row["takes"] - 1)
    moment, counted = time.monotonic(), await checks(started, but=gone)
    await asyncio.sleep(WATCH_SECONDS)
    counts = zip(await checks(started, but=gone), counted, strict=True)
    row["checks_a_minute"] = [
        None if late is None or early is None else round(60 * (late - early) / WATCH_SECONDS) for late, early in counts
    ]
    if dies is not None:
        after = [at for at in heard if at > moment + 0.5]
        row["gap_ms"] = max((1000 * (late - early) for early, late in pairwise([moment, *after])), default=None)
        row["goes_on_by"] = number_of(started, _port(talk)) if after else None
        row["states"] = [talk.peer.connectionState]
    return row


async def _listen(talk: AiortcCall, heard: list[float]) -> None:
    before = 0
    while True:
        if talk.frames > before:
            before = talk.frames
            heard.append(time.monotonic())
        await asyncio.sleep(0.01)


def _since(began: float, heard: list[float]) -> float | None:
    return 1000 * (heard[0] - began) if heard else None


def _port(talk: AiortcCall) -> int | None:
    """The port of the ingress of the nominated pair, which aioice shows to nobody."""
    (transport,) = {sender.transport.transport for sender in talk.peer.getSenders()}
    pair = transport._connection._nominated.get(1)
    return None if pair is None else int(pair.remote_candidate.port)
