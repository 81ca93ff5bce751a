"""The faults of two tiers: a relay of the cluster dies, or an ingress, under a call of our own client."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from e2e.nat import Nat
from e2e.tiers import Plan, Tier, Tiers, behind_nat, more_audio
from e2e.waiting import until
from store.server import running

from rtcrelay.client.caller import Caller, calling

from .figures import Way, way_of
from .tap import Tap

SPACING: Final = 0.02
BEFORE_SECONDS: Final = 1.0


@dataclass(frozen=True)
class TierFault:
    """One row."""

    name: str
    hits: str
    """``relay``: the one of the cluster that has the call, of two; ``ingress``: the client's, of two at one address,
    and a load balancer that chooses the other at once."""
    silently: bool = False
    """Whether it only stops (SIGSTOP), so that no ICMP error tells of it."""
    redis: bool = True
    after_seconds: float = 5.0
    """Of the call after it."""


FAULTS: Final = (
    TierFault("cluster relay kill", "relay"),
    TierFault("cluster relay silent", "relay", silently=True),
    TierFault("cluster relay kill, no Redis", "relay", redis=False),
    TierFault("ingress kill", "ingress"),
)


async def run_tier_fault(fault: TierFault, trials: int) -> dict[str, Any]:
    """One row: its figures over all trials, each on processes of its own."""
    up, down = Way(), Way()
    for _ in range(trials):
        async with _bed(fault) as (tiers, nat, tap, caller):
            await asyncio.sleep(BEFORE_SECONDS)
            tap.forget()
            await asyncio.sleep(0.3 + random.random() * 2.5)  # any moment between two checks
            await _strike(fault, tiers, nat)
            await asyncio.sleep(fault.after_seconds)
            caller.call.mute(True, asyncio.get_running_loop().time())
            await asyncio.sleep(0.3)
            up.add(_way(tap, "up_sent", "up_arrived", echo=False))
            down.add(_way(tap, "down_sent", "down_arrived", echo=True))
    return {
        "row": fault.name,
        "client": "call",
        "flows": 1,
        "packets_a_second": 50,
        "trials": trials,
        "start_ms": None,
        "to_server": up.summary(),
        "to_client": down.summary(),
    }


def _way(tap: Tap, sent: str, arrived: str, *, echo: bool) -> Way:
    packets, came = tap.seen(sent), tap.seen(arrived)
    way = way_of(packets, came, SPACING, None, echo)
    # The last second must have been heard, or the gap never ended.
    way.silent += not came or came[-1][0] < tap.seen("up_sent")[-1][0] - 1.0
    return way


async def _strike(fault: TierFault, tiers: Tiers, nat: Nat) -> None:
    struck = tiers.ingress if fault.hits == "ingress" else tiers.relays[await tiers.hop()]
    if fault.silently:
        assert struck.daemon.pid is not None
        os.kill(struck.daemon.pid, signal.SIGSTOP)
        return
    await struck.daemon.kill()
    if fault.hits == "ingress":
        nat.target = tiers.ingresses[1].public


@asynccontextmanager
async def _bed(fault: TierFault) -> AsyncIterator[tuple[Tiers, Nat, Tap, Caller]]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running("valkey")) if fault.redis else None
        plan = Plan(hosts=2, redis=None if server is None else server.url)
        tiers, nat = await stack.enter_async_context(behind_nat(directory, plan))
        stack.callback(_resume, tiers)
        for ingress in tiers.ingresses:
            await until(lambda at=ingress: _relays(at), lambda count: count == 2, "the table", 30.0)  # type: ignore[misc]
        tap = stack.enter_context(Tap(nat.address, tiers.media))
        caller = await stack.enter_async_context(calling(tiers.url))
        await more_audio(caller, 50, 10.0)
        yield tiers, nat, tap, caller


async def _relays(ingress: Tier) -> int:
    return sum(len(row["relays"]) for row in (await ingress.stats())["clusters"])


def _resume(tiers: Tiers) -> None:
    for daemon in tiers.daemons:  # one that is stopped cannot end
        if daemon.pid is not None:
            os.kill(daemon.pid, signal.SIGCONT)
