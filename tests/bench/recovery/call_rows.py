"""The faults that a call meets, with real DTLS, SRTP and transceivers: our own client's call, or Chromium's."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from e2e.nat import Nat
from store.server import Server, running

from rtcrelay.client.caller import Caller, calling
from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.config.text import format_address

from .figures import Way, quantiles, way_of
from .processes import Prober
from .tap import Tap

SPACING: Final = 0.02
BEFORE_SECONDS: Final = 1.0
SILENT: Final = "tests.bench.recovery.silent"


@dataclass(frozen=True)
class CallFault:
    """One row."""

    name: str
    run: Callable[[CallBed], Awaitable[float | None]]
    """Makes the fault in mid-call; returns when a relay forwarded again (Unix time), None if none was away."""
    after_seconds: float = 1.5
    """Of the call after it."""
    speaks: bool = False
    """Whether the server speaks by itself; else it echoes, and only who hears something answers."""
    announces: bool = True
    redis: bool = False
    nat: bool = False
    """Whether a NAT, which is the load balancer too, stands in front."""
    two_relays: bool = False
    chromium: bool = True
    once: bool = False
    """Whether a call survives only one of it."""


@dataclass
class CallBed:
    """What a fault is made on."""

    site: Site
    nat: Nat | None
    valkey: Server | None
    second: Daemon | None
    second_vip: tuple[str, int]
    caller: Caller | None = None
    page: Any = None
    """The browser's page; None with our own client."""
    starts_ms: list[float] = field(default_factory=list)
    back_ms: list[float] = field(default_factory=list)
    """Until a call that had to be made anew talked."""


async def kill_and_restart(bed: CallBed) -> float | None:
    """SIGKILL to the relay, and the same command line again."""
    await bed.site.relay.daemon.kill()
    begun = time.monotonic()
    starting = asyncio.ensure_future(bed.site.relay.daemon.start())
    prober = Prober(bed.site.relay.vip)
    while prober.answered_at is None:
        prober.tick(time.monotonic())
        await asyncio.sleep(0.0005)
    answered = time.time()
    bed.starts_ms.append(1000 * (prober.answered_at - begun))
    prober.close()
    await starting
    return answered


async def take_over(bed: CallBed) -> float | None:
    """A planned hand-over."""
    old = bed.site.relay.daemon
    new = Daemon("successor", (*old.arguments, "--takeover"), old.log.parent)
    await new.start()
    await old.wait()
    new.arguments = old.arguments
    object.__setattr__(bed.site.relay, "daemon", new)  # the site ends it
    return None


async def re_hash(bed: CallBed) -> float | None:
    """The balancer's next packets go to the other relay."""
    assert bed.nat is not None
    vips = (bed.site.relay.vip, bed.second_vip)
    bed.nat.target = vips[bed.nat.target == vips[0]]
    return time.time()


async def rebind(bed: CallBed) -> float | None:
    """The NAT forgets its mappings: the client has another address from now on."""
    assert bed.nat is not None
    bed.nat.rebind()
    return None


async def stop_redis(bed: CallBed) -> float | None:
    """SIGKILL to Valkey."""
    assert bed.valkey is not None
    bed.valkey.stop()
    return None


async def stall_redis(bed: CallBed) -> float | None:
    """SIGSTOP to Valkey."""
    assert bed.valkey is not None
    bed.valkey.signal(signal.SIGSTOP)
    return None


async def restart_ice(bed: CallBed) -> float | None:
    """New ICE credentials, as on a change of network."""
    if bed.caller is not None:
        await bed.caller.restart_ice()
        return None
    from e2e.test_ice_restart import RESTART

    restarted = await bed.page.evaluate(RESTART)
    assert restarted["status"] == 200, restarted
    return None


async def drain(bed: CallBed) -> float | None:
    """SIGTERM to the transceiver: it takes no new calls, and its calls go on."""
    pid = bed.site.transceivers[0].daemon.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    return None


FAULTS: Final = (
    CallFault("kill, nothing kept", kill_and_restart, 3.2, announces=False),
    CallFault("kill, announces", kill_and_restart),
    CallFault("kill, return learning", kill_and_restart, speaks=True, announces=False),
    CallFault("kill, Redis", kill_and_restart, announces=False, redis=True),
    CallFault("hand-over", take_over, 0.5),
    CallFault("re-hash, Redis", re_hash, 1.0, announces=False, redis=True, nat=True, two_relays=True),
    CallFault("NAT rebinding", rebind, 3.2, nat=True),
    CallFault("Redis gone", stop_redis, 1.0, redis=True),
    CallFault("Redis stalled", stall_redis, 1.0, redis=True),
    CallFault("ICE restart", restart_ice, 3.0),
    CallFault("transceiver drain", drain, 2.0, once=True),
)


async def run_call_fault(fault: CallFault, client: str, trials: int) -> dict[str, Any]:
    """One row with ``client`` ``call`` (ours) or ``chromium``: its figures over all trials."""
    up, down, starts, done = Way(), Way(), list[float](), 0
    while done < trials:
        async with bed_for(fault, client) as (bed, tap):
            for _ in range(1 if fault.once else trials):
                forwards_at = await _trial(fault, bed, tap)
                for way, sent, arrived, echo in (
                    (up, "up_sent", "up_arrived", False),
                    (down, "down_sent", "down_arrived", not fault.speaks),
                ):
                    way.add(way_of(_settled(tap.seen(sent)), tap.seen(arrived), SPACING, forwards_at, echo))
                done += 1
                await _mend(fault, bed)
            starts += bed.starts_ms
    return {
        "row": fault.name,
        "client": client,
        "flows": 1,
        "packets_a_second": 50,
        "trials": trials,
        "start_ms": quantiles(starts) if starts else None,
        "to_server": up.summary(),
        "to_client": down.summary(),
    }


async def _trial(fault: CallFault, bed: CallBed, tap: Tap) -> float | None:
    await asyncio.sleep(BEFORE_SECONDS)
    tap.forget()
    await asyncio.sleep(0.3 + random.random() * 2.5)  # any moment between two checks
    forwards_at = await fault.run(bed)
    await asyncio.sleep(fault.after_seconds)
    if bed.caller is not None:
        bed.caller.call.mute(True, asyncio.get_running_loop().time())
        await asyncio.sleep(0.3)
        bed.caller.call.mute(False, asyncio.get_running_loop().time())
        bed.caller.wake()
    return forwards_at


def _settled(sent: list[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """Without the last tenth of a second: a browser does not pause for us, and those may be under way."""
    return [packet for packet in sent if packet[0] < sent[-1][0] - 0.1]


async def _mend(fault: CallFault, bed: CallBed) -> None:
    if fault.run is stop_redis and bed.valkey is not None:
        bed.valkey.start()
    if fault.run is stall_redis and bed.valkey is not None:
        bed.valkey.signal(signal.SIGCONT)
    if fault.run is re_hash and bed.nat is not None and bed.second is not None:
        idle = bed.second if bed.nat.target == bed.site.relay.vip else bed.site.relay.daemon
        await idle.kill()  # or it would remember the path
        await idle.start()


@asynccontextmanager
async def bed_for(fault: CallFault, client: str) -> AsyncIterator[tuple[CallBed, Tap]]:
    """A call that talks, on processes of its own, and a tap."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = stack.enter_context(running("valkey")) if fault.redis else None
        extra = ("--redis", valkey.url) if valkey is not None else ()
        backend = ("--backend", "tone") if fault.speaks else ()
        drains = ("--drain-timeout", "30s") if fault.run is drain else ()
        site = Site(directory, SiteOptions(nodes=("a",), extra_relay=extra, extra_transceiver=(*backend, *drains)))
        node, vip = site.transceivers[0], site.relay.vip
        if not fault.announces:
            node.daemon.program = ("-m", SILENT)
        nat = None
        if fault.nat:
            nat, (port,) = Nat(vip), free_ports(1)
            words = {format_address(vip): f"127.0.0.1:{port}"}
            node.daemon.arguments = tuple(words.get(word, word) for word in node.daemon.arguments)
            await nat.open(port)
            stack.callback(nat.close)
        stack.push_async_callback(site.stop)
        await site.start()
        bed = CallBed(site, nat, valkey, *await _second(fault, site, stack))
        public = nat.address if nat is not None else vip
        tap = stack.enter_context(Tap(public, node.media))
        await _talk(bed, client, stack)
        yield bed, tap


async def _second(fault: CallFault, site: Site, stack: AsyncExitStack) -> tuple[Daemon | None, tuple[str, int]]:
    """Another relay for the same VIP, if the row has one: the same ports at another address."""
    first, other = site.relay, ("127.0.0.2", site.relay.vip[1])
    if not fault.two_relays:
        return None, other
    words = {
        format_address(first.vip): format_address(other),
        format_address(first.internal): f"127.0.0.2:{first.internal[1]}",
        str(site.directory / "relay.sock"): str(site.directory / "second.sock"),
    }
    second = Daemon("second", [words.get(word, word) for word in first.daemon.arguments], site.directory)
    node = site.transceivers[0].daemon
    node.arguments = (*node.arguments, "--relays", "127.0.0.0/8")
    await node.stop()
    await node.start()
    stack.push_async_callback(second.stop)
    await second.start()
    return second, other


async def _talk(bed: CallBed, client: str, stack: AsyncExitStack) -> None:
    node = bed.site.transceivers[0]
    if client == "call":
        bed.caller = await stack.enter_async_context(calling(node.url))
        await bed.caller.until(lambda: bed.caller is not None and _hears(bed.caller), "no call", 10.0)
        return
    from e2e.browser import open_page
    from e2e.test_ice_restart import CALL, RECEIVED, TRICKLE
    from e2e.waiting import until

    browser = await stack.enter_async_context(open_page(node.page))
    bed.page = browser.page
    await bed.page.evaluate(CALL, node.url)
    await until(lambda: bed.page.evaluate(RECEIVED), lambda seen: seen["packets"] >= 50, "audio")
    await bed.page.evaluate(TRICKLE)


def _hears(caller: Caller) -> bool:
    return caller.call.counts(asyncio.get_running_loop().time()).audio_received >= 50
