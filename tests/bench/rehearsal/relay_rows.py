"""Relays replaced and lost, Valkey restarted, under calls without their cryptography, which a relay does not read."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recovery.figures import Way, measure
from recovery.flows import Flows
from recovery.load_rows import stored
from recovery.processes import RelayProcess, key_file, until
from store.server import Server, running

from rtcrelay.client.demo.processes import free_ports
from rtcrelay.keys import load_key_file

from .kubelet import Readiness, hook_of, probe, terminate

SPACING = 0.02
_SETTLE_SECONDS = 1.0


@dataclass
class Bed:
    """Two relays of one VIP, calls through the first of them, and a Valkey."""

    flows: Flows
    relays: list[RelayProcess]
    valkey: Server
    directory: Path
    metrics: int
    made: int = 0

    def spawn(self) -> RelayProcess:
        """Another pod with a relay, at an address of its own."""
        self.made += 1
        host = f"127.0.0.{10 + self.made}"
        options = ("--redis", self.valkey.url, "--metrics", f"{host}:{self.metrics}")
        first = self.relays[0] if self.relays else None
        ports = first.ports if first else _ports()
        relay = RelayProcess(self.directory / f"relay-{self.made}", self.flows.address, ports, host, options)
        relay.spawn()
        self.relays.append(relay)
        return relay

    def until_ready(self, relay: RelayProcess) -> None:
        """Lets calls go on until the probe is content."""
        with Readiness((relay.host, self.metrics)) as readiness:
            self.speak_until(lambda: readiness.is_ready, "a ready relay")

    def speak_until(self, condition: Callable[[], bool], what: str) -> None:
        """Lets calls go on until something is true."""

        def spoken() -> bool:
            self.flows.run(0.05)
            return condition()

        until(spoken, what, 60.0)

    def close(self) -> None:
        """Ends every relay."""
        for relay in self.relays:
            relay.close()

    def steer(self, relay: RelayProcess) -> None:
        """The load balancer's next packets go there."""
        self.flows.point_at(relay.public, relay.internal)


def _ports() -> tuple[int, int]:
    public, internal = free_ports(2)
    return public, internal


@contextmanager
def bed_for(calls: int) -> Iterator[Bed]:
    """Everything is up, and every call is established and known to Valkey."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        flows = Flows(load_key_file(key_file(directory)).ring, calls, SPACING, echo=True, checks=True)
        stack.callback(flows.close)
        bed = Bed(flows, [], stack.enter_context(running("valkey")), directory, free_ports(1)[0])
        stack.callback(bed.close)
        for _ in range(2):
            bed.spawn().wait_until_ready()
        bed.steer(bed.relays[0])
        flows.establish()
        bed.speak_until(lambda: stored(bed.valkey.port) >= calls, "every route in Valkey")
        flows.forget()
        yield bed


def replace_relays(calls: int, drain_seconds: int) -> dict[str, Any]:
    """One new relay after the other, each ready before an old one goes; at the end none of the old ones is left."""
    with bed_for(calls) as bed:
        seconds, killed = [], 0
        for old in tuple(bed.relays):
            new = bed.spawn()
            bed.until_ready(new)

            assert old.process is not None
            with Readiness((old.host, bed.metrics)) as readiness:

                def steer(old: RelayProcess = old, new: RelayProcess = new, readiness: Readiness = readiness) -> None:
                    if bed.flows.public == old.public and readiness.misses:
                        bed.steer(new)
                    bed.flows.run(0.05)

                hook = hook_of("relay", drain_seconds)
                took, by_force = terminate(old.process.pid, old.directory, hook, drain_seconds + 15, steer)
            old.process.wait(timeout=10)
            seconds.append(took)
            killed += by_force
        return _row("relays replaced one by one", bed, replaced=len(seconds), killed=killed)


def restart_valkey(calls: int) -> dict[str, Any]:
    """SIGKILL to Valkey, a second without it, and a new one that knows nothing."""
    with bed_for(calls) as bed:
        bed.valkey.stop()
        bed.flows.run(1.0)
        bed.valkey.start()
        bed.flows.run(2.0)
        return _row("Valkey restarted", bed)


def lose_a_node(calls: int) -> dict[str, Any]:
    """SIGKILL to the relay that has all calls; the load balancer notices by two readiness probes, two seconds apart."""
    with bed_for(calls) as bed:
        lost, left = bed.relays
        bed.flows.run(0.5)
        lost.kill()
        with Readiness((lost.host, bed.metrics), probe()["periodSeconds"]) as readiness:
            while readiness.misses < probe()["failureThreshold"]:
                bed.flows.run(0.05)
        bed.steer(left)
        return _row("a node is lost without warning", bed, lost_nodes=1)


def _row(name: str, bed: Bed, **more: int) -> dict[str, Any]:
    """The figures of what happened; a call is lost if it says nothing in the last second."""
    bed.flows.run(_SETTLE_SECONDS)
    ending = time.monotonic() - _SETTLE_SECONDS / 2
    bed.flows.run(_SETTLE_SECONDS)
    bed.flows.settle()
    up, down = measure(bed.flows, ending)
    return {
        "row": name,
        "calls": bed.flows.count,
        **more,
        "calls_lost": max(up.silent, down.silent),
        "packets_sent": sum(last - first for _, first, last, _ in bed.flows.up.sent),
        "packets_lost": {"to_server": up.lost, "to_client": down.lost},
        "longest_gap_ms": round(max(_longest(up), _longest(down)), 1),
    }


def _longest(way: Way) -> float:
    return max(way.gaps_ms, default=0.0)
