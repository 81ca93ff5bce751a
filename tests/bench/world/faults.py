"""Parts of the world die in mid-call: does it go on, and after what gap, each way?"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import Any, Final, Protocol

from rtcrelay.errors import RtcrelayError

from .bed import FAR, NEAR, NEXT, Bed
from .callers import TimedCaller, Way, calling
from .tap import Tap

BEFORE_SECONDS: Final = 2.0
LIMIT_SECONDS: Final = 40.0
"""For a call to come back."""
AFTER_SECONDS: Final = 1.0
NEW_CALL_SECONDS: Final = 30.0
HEARTBEAT_SECONDS: Final = 5.0
"""Between two heartbeats of a node."""

Row = dict[str, Any]
MakeCall = Callable[[Bed, tuple[tuple[str, int], ...]], Any]
"""A context manager: a call that talks, told these addresses."""


class Alive(Protocol):
    """A call."""

    async def state(self) -> str: ...


class OwnCall:
    """Of our own client."""

    def __init__(self, caller: TimedCaller) -> None:
        self._caller = caller

    async def state(self) -> str:
        """For the row."""
        call = self._caller.call
        return f"{call.state.value}{': ' + call.end if call.end else ''}"


@asynccontextmanager
async def own_client(bed: Bed, addresses: tuple[tuple[str, int], ...]) -> AsyncIterator[OwnCall]:
    """rtcrelay.client."""
    way = Way("fault", "", bed.front, bed.token, addresses)
    async with calling(way) as (caller, _):
        yield OwnCall(caller)


async def ingress_dies(bed: Bed, make_call: MakeCall, client: str, trials: int) -> Row:
    """The near ingress is killed; the client was told the next one as well."""
    addresses = (bed.vip(f"{NEAR}-ingress"), bed.vip(f"{FAR}-ingress"))

    async def kill() -> list[str]:
        return [f"{NEAR}-ingress"]

    return await _trials(bed, "ingress dies", client, make_call, addresses, kill, trials)


async def relay_dies(bed: Bed, make_call: MakeCall, client: str, trials: int) -> Row:
    """That relay of the cluster is killed which carries the call; the other one lives."""

    async def kill() -> list[str]:
        relays = {f"{host.private}:{host.ingress_id}": host.name for host in bed.plan.of("relay", region=FAR)}
        # The newest: paths of earlier calls are kept a while.
        flows = await bed.admin(f"{NEAR}-ingress").flows()
        flow = min((flow for flow in flows if flow["claims"]), key=lambda flow: flow["idle_s"])
        return [relays[flow["claims"][0]["next_hop"]]]

    addresses = (bed.vip(f"{NEAR}-ingress"),)
    return await _trials(bed, "cluster relay dies", client, make_call, addresses, kill, trials)


async def cluster_dies(bed: Bed, how: str, trials: int) -> Row:
    """Everything of the cluster is killed, or the backbone to its region swallows all; a call begins at that moment."""
    hosts = [host.name for host in bed.plan.of("relay", "transceiver", "valkey", region=FAR)]
    await _call_lands(bed, FAR)
    landed, talked, failed = [], [], 0
    for _ in range(trials):
        began = time.monotonic()
        await _break(bed, how, hosts)
        answered, talks, tried = await _first_elsewhere(bed, began)
        landed.append(answered)
        talked.append(talks)
        failed += tried
        await _mend(bed, how, hosts)
        await _call_lands(bed, FAR)
    return {
        "fault": f"whole cluster {how}",
        "trials": trials,
        "failed_calls": failed,
        "landed_ms": landed,
        "talked_ms": talked,
    }


def print_faults(rows: list[Row]) -> None:
    """For people."""
    print(f"{'fault':<26}{'client':<12}{'went on':>9}{'gap to server, ms':>26}{'gap to client, ms':>26}")
    for row in rows:
        if "landed_ms" in row:
            landed, talked = row["landed_ms"], row["talked_ms"]
            print(
                f"{row['fault']:<26}a new call is answered by the next cluster after {median(landed):.0f} ms"
                f" ({min(landed):.0f} to {max(landed):.0f}), talks after {median(talked):.0f};"
                f" {row['failed_calls']} failed before it"
            )
            continue
        cells = [f"{median(row[key]):.0f} ({min(row[key]):.0f} to {max(row[key]):.0f})" for key in _GAPS]
        went_on = f"{row['survived']}/{row['trials']}"
        print(f"{row['fault']:<26}{row['client']:<12}{went_on:>9}" + "".join(f"{cell:>26}" for cell in cells))


_GAPS: Final = ("gap_to_server_ms", "gap_to_client_ms")


async def _trials(
    bed: Bed,
    fault: str,
    client: str,
    make_call: MakeCall,
    addresses: tuple[tuple[str, int], ...],
    choose: Callable[[], Awaitable[list[str]]],
    trials: int,
) -> Row:
    row: Row = {"fault": fault, "client": client, "trials": trials, "survived": 0, "ends": []}
    row |= {key: [] for key in _GAPS}
    for _ in range(trials):
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(make_call(bed, addresses))
            taps = [stack.enter_context(Tap(host)) for host in (bed.transceiver, bed.host(NEAR))]
            await asyncio.sleep(BEFORE_SECONDS + random.random() * 2.5)  # any moment between two checks
            names = await choose()
            died = time.time()
            await bed.kill(*names)
            survived = await _both_again(taps, died)
            row["survived"] += survived
            row["ends"].append(await call.state())
            for key, tap in zip(_GAPS, taps, strict=True):
                row[key].append(tap.gap_ms(died))
        # The ingress as well: it believes for up to a minute that what died is dead.
        await bed.restart(*{*names, f"{NEAR}-ingress"})
    return row


async def _both_again(taps: list[Tap], died: float) -> bool:
    """Waits until both ends hear again, or the limit is over."""
    quiet_until = died + 1.0  # what was under way when it died has arrived by then
    deadline = time.time() + LIMIT_SECONDS
    while time.time() < deadline:
        await asyncio.sleep(0.05)
        if all(sum(at > quiet_until for at in tap.arrivals) >= 25 for tap in taps):
            await asyncio.sleep(AFTER_SECONDS)
            return True
    return False


async def _break(bed: Bed, how: str, hosts: list[str]) -> None:
    if how == "killed":
        await bed.kill(*hosts)
    else:
        _silence(bed, 100.0)


async def _mend(bed: Bed, how: str, hosts: list[str]) -> None:
    if how == "killed":
        await bed.restart(*hosts)
    else:
        _silence(bed, 0.0)


def _silence(bed: Bed, loss: float) -> None:
    for name, _, link in bed.plan.world.links.named():
        if FAR in (link.begin, link.end) and name.startswith("backbone:"):
            bed.lab.set_link(name, {"loss_percent": loss})


async def _first_elsewhere(bed: Bed, began: float) -> tuple[float, float, int]:
    """(milliseconds until a call was answered by the next cluster, until it talked, calls that failed before)."""
    failed = 0
    while time.monotonic() - began < NEW_CALL_SECONDS:
        called = time.monotonic()
        try:
            node, answered = await asyncio.wait_for(_new_call(bed), 15.0)
        except (RtcrelayError, TimeoutError):
            failed += 1
            continue
        if node.startswith(NEXT):
            return 1000 * (called - began) + answered, 1000 * (time.monotonic() - began), failed
        failed += 1  # it landed on what is dead
    return float("nan"), float("nan"), failed


async def _call_lands(bed: Bed, region: str) -> None:
    """Waits until new calls land there (again)."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            if (await _new_call(bed))[0].startswith(region):
                return
        except RtcrelayError:
            pass
        await asyncio.sleep(0.5)
    raise TimeoutError(f"no call lands in {region}")


async def _new_call(bed: Bed) -> tuple[str, float]:
    """(whom it landed with, milliseconds until that was answered); it talked."""
    way = Way("new", "", bed.front, bed.token, (bed.vip(f"{NEAR}-ingress"),))
    async with calling(way) as (caller, _):
        assert caller.answer is not None
        assert caller.call.timings.answered_ms is not None
        return str(caller.answer.node), caller.call.timings.answered_ms
