"""The faults that a relay sees, under one to ten thousand calls without their cryptography."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from store.server import Server, running

from rtcrelay.keys import load_key_file

from .figures import Way, measure, quantiles
from .flows import Flows
from .processes import Prober, RelayProcess, key_file, relays, until

BEFORE_SECONDS: Final = 0.3
"""Of undisturbed speech before each fault, and a random part of an interval more."""
SPACING: Final = {1: 0.02, 1_000: 0.02, 10_000: 0.2}
"""Seconds between two packets of a flow: 50 a second, and 5 with ten thousand, which is what the machine can do."""


@dataclass(frozen=True)
class Fault:
    """One row."""

    name: str
    run: Callable[[Bed], float | None]
    """Makes the fault while everybody speaks; returns when a relay forwarded again, None if none was away."""
    after_seconds: float
    """Of speech after it."""
    redis: bool = False
    relays: int = 1
    echo: bool = False
    checks: bool = False


@dataclass
class Bed:
    """What a fault is made on."""

    flows: Flows
    relays: list[RelayProcess]
    valkey: Server | None
    starts_ms: list[float] = field(default_factory=list)
    """Of relays that were started, until they forwarded."""


def kill_and_restart(bed: Bed) -> float | None:
    """SIGKILL, and the same command line again."""
    (relay,) = bed.relays
    relay.kill()
    begun = time.monotonic()
    relay.spawn()
    prober = Prober(relay.public)
    try:
        while prober.answered_at is None and time.monotonic() < begun + 10:
            bed.flows.run(0.001, prober.tick)
    finally:
        prober.close()
    assert prober.answered_at is not None, relay.log()[-800:]
    bed.starts_ms.append(1000 * (prober.answered_at - begun))
    return prober.answered_at


def take_over(bed: Bed) -> float | None:
    """A planned hand-over on one host."""
    (relay,) = bed.relays
    old = relay.process
    assert old is not None
    relay.spawn("--takeover")
    end = time.monotonic() + 10
    while old.poll() is None:
        assert time.monotonic() < end, relay.log()[-800:]
        bed.flows.run(0.01)
    return None


def re_hash(bed: Bed) -> float | None:
    """The load balancer's next packets go to the other relay; the first one lives on."""
    bed.relays.reverse()
    bed.flows.point_at(bed.relays[0].public, bed.relays[0].internal)
    return time.monotonic()


def stop_redis(bed: Bed) -> float | None:
    """SIGKILL to the server."""
    assert bed.valkey is not None
    bed.valkey.stop()
    return None


def stall_redis(bed: Bed) -> float | None:
    """SIGSTOP: it accepts connections and answers nothing."""
    assert bed.valkey is not None
    bed.valkey.signal(signal.SIGSTOP)
    return None


FAULTS: Final = (
    Fault("kill, nothing kept", kill_and_restart, 3.0, echo=True, checks=True),
    Fault("kill, return learning", kill_and_restart, 0.8),
    Fault("kill, Redis", kill_and_restart, 1.2, redis=True, echo=True),
    Fault("hand-over", take_over, 0.3),
    Fault("re-hash, Redis", re_hash, 0.5, redis=True, relays=2, echo=True),
    Fault("re-hash, nothing shared", re_hash, 3.0, relays=2, echo=True, checks=True),
    Fault("Redis gone", stop_redis, 1.0, redis=True),
    Fault("Redis stalled", stall_redis, 1.0, redis=True),
)


def run_fault(
    fault: Fault, count: int, trials: int, progress: Callable[[str], object] = lambda _: None
) -> dict[str, Any]:
    """One row at one size: its figures over all trials."""
    up, down = Way(), Way()
    with bed_for(fault, count) as bed:
        for trial in range(trials):
            forwards_at = _trial(fault, bed)
            for way, new in zip((up, down), measure(bed.flows, forwards_at), strict=True):
                way.add(new)
            progress(f"{fault.name} {trial + 1}/{trials}")
            _mend(fault, bed)
    return {
        "row": fault.name,
        "client": "synthetic",
        "flows": count,
        "packets_a_second": round(1 / bed.flows.spacing),
        "trials": trials,
        "start_ms": quantiles(bed.starts_ms) if bed.starts_ms else None,
        "to_server": up.summary(),
        "to_client": down.summary(),
    }


@contextmanager
def bed_for(fault: Fault, count: int) -> Iterator[Bed]:
    """Relays, flows that are established through them, and a Valkey that knows all routes if there is one."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ring = load_key_file(key_file(directory)).ring
        spacing = SPACING.get(count, 0.02 * max(1, count / 1000))
        flows = Flows(ring, count, spacing, echo=fault.echo, checks=fault.checks)
        stack.callback(flows.close)
        options: tuple[str, ...] = ()
        valkey = None
        if fault.redis:
            valkey = stack.enter_context(running("valkey"))
            options = ("--redis", valkey.url)
        made = stack.enter_context(relays(directory, flows.address, fault.relays, options))
        flows.point_at(made[0].public, made[0].internal)
        flows.establish()
        bed = Bed(flows, made, valkey)
        _until_known(bed)
        yield bed


def _trial(fault: Fault, bed: Bed) -> float | None:
    bed.flows.run(1.5 * bed.flows.spacing)  # what is late from before is no part of this
    bed.flows.settle(0.05)
    bed.flows.forget()
    bed.flows.run(BEFORE_SECONDS + random.random() * bed.flows.spacing)
    forwards_at = fault.run(bed)
    bed.flows.run(fault.after_seconds + 2 * bed.flows.spacing)
    bed.flows.settle()
    return forwards_at


def _mend(fault: Fault, bed: Bed) -> None:
    """Makes everything whole again for the next trial."""
    if fault.run is stop_redis and bed.valkey is not None:
        bed.valkey.start()
    if fault.run is stall_redis and bed.valkey is not None:
        bed.valkey.signal(signal.SIGCONT)
    if fault.run is re_hash:
        forgetful, *_ = bed.relays[1:]
        forgetful.kill()  # or it would remember the paths
        forgetful.start()
    if fault.echo:  # else nobody needs them, and a Valkey that was stopped has forgotten them for minutes
        _until_known(bed)


def _until_known(bed: Bed) -> None:
    """Waits until Valkey has every route."""
    if bed.valkey is None:
        return
    port, wanted = bed.valkey.port, bed.flows.count

    def knows_all() -> bool:
        bed.flows.run(0.05)
        return stored(port) >= wanted

    if bed.flows.count == 1 or stored(port) < wanted:
        with contextlib.suppress(TimeoutError):
            until(knows_all, "every route in Valkey", 5.0)


def stored(port: int) -> int:
    """Keys that a Valkey holds."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"DBSIZE\r\n")
        return int(connection.recv(64)[1:].split()[0])
