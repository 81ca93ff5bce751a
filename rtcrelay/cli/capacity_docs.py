"""``docs/capacity.md``: how much is needed for how many calls, by formulas of measured figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple


class Figure(NamedTuple):
    """A measured number and where it comes from."""

    value: float
    unit: str
    source: str
    """The command that measures it again, or the place in the code that says it."""


PACKETS: Final = Figure(50, "packets a second each way of a call", "frames of 20 ms")
PAYLOAD: Final = Figure(160, "bytes in a datagram", "tests/bench/forward, its size of a voice packet")
ROUND_TRIP: Final = Figure(
    9087,
    "ns of a relay's processor for a packet there and one back, in bursts of 8",
    "python -m tests.bench.forward --flows 1000 --sizes 160 --echoes kernel",
)
PATH: Final = Figure(190, "bytes of a relay's memory for a path", "cargo bench --bench flows")
SESSION: Final = Figure(97_000, "bytes of a transceiver's memory for a session", "python -m tests.bench.sessions")
RELAY_PART: Final = Figure(0.6, "of a relay's processor is planned with", "chosen: room for a lost neighbour")
REFRESH: Final = Figure(75, "s between two writes of a call's route", "1.25 idle times of 60 s; rtcrelay/store")
RELAY_BEAT: Final = Figure(1.0, "commands a second of a relay's heartbeat", "python -m tests.bench.redis_calls")
NODE_BEAT: Final = Figure(0.8, "commands a second of a transceiver's heartbeat", "python -m tests.bench.redis_calls")
RELAY_LOOK: Final = Figure(0.2, "reads a second of each node by each relay", "python -m tests.bench.redis_calls")
FRONT_LOOK: Final = Figure(0.5, "reads a second of each node by each front", "rtcrelay/signaling/heartbeats.py")
REDIS: Final = Figure(49_000, "routes a second that Redis 7 takes", "python -m tests.bench.route_cache")
CALL: Final = Figure(180, "s that a call takes", "assumed: put your own in")

BACKENDS: Final = {
    "echo": Figure(567, "sessions on 70 % of a core", "python -m tests.bench.sessions"),
    "packets": Figure(730, "sessions on 70 % of a core", "python -m tests.bench.voice --find"),
    "PCM in": Figure(414, "sessions on 70 % of a core", "python -m tests.bench.voice --find"),
    "PCM both ways": Figure(74, "sessions on 70 % of a core", "python -m tests.bench.voice --find"),
    "realtime": Figure(55, "sessions on 70 % of a core", "python -m tests.bench.voice --find"),
}
SIZES: Final = (100, 10_000, 1_000_000)
SITE: Final = 10_000
"""Calls of one site at most: its Redis, its heartbeats and its ingress's bandwidth stay ordinary."""
FRONTS: Final = 2
"""Of signaling, in a site."""
_UDP_IP: Final = 28
_SPP: Final = 38


@dataclass(frozen=True, slots=True)
class Plan:
    """What so many concurrent calls need."""

    sites: int
    relay_workers: int
    """Cores of relays in all."""
    relays: int
    """Processes; two at least in each site, so that one may be lost."""
    transceivers: int
    """Processes of one core each; one more in each site than the calls need."""
    relay_memory_bytes: float
    """In all, for paths."""
    transceiver_memory_bytes: float
    """In all, for sessions."""
    public_bits: float
    """A second, each way, all clients."""
    internal_bits: float
    """A second, each way, between relays and transceivers."""
    redis_commands: float
    """A second, in the Redis of one site."""
    new_calls: float
    """A second."""


def plan(calls: int, backend: str = "realtime", call_seconds: float = CALL.value, workers: int = 4) -> Plan:
    """Reckons; ``workers`` is how many packet threads a relay has at most."""
    sites = max(1, math.ceil(calls / SITE))
    here = math.ceil(calls / sites)
    threads = math.ceil(here / calls_on_a_relay_core())
    relays = max(2, math.ceil(threads / workers) + 1)
    transceivers = math.ceil(here / BACKENDS[backend].value) + 1
    writes = here / REFRESH.value + here / call_seconds
    beats = relays * RELAY_BEAT.value + transceivers * NODE_BEAT.value
    looks = (relays * RELAY_LOOK.value + FRONTS * FRONT_LOOK.value) * (relays + transceivers)
    bits = 8 * PACKETS.value * calls
    return Plan(
        sites,
        sites * max(2, threads),
        sites * relays,
        sites * transceivers,
        calls * PATH.value,
        calls * SESSION.value,
        bits * (PAYLOAD.value + _UDP_IP),
        bits * (PAYLOAD.value + _UDP_IP + _SPP),
        writes + beats + looks,
        calls / call_seconds,
    )


def calls_on_a_relay_core() -> float:
    """How many calls one packet thread is planned for."""
    return RELAY_PART.value / (PACKETS.value * ROUND_TRIP.value * 1e-9)


def capacity_page() -> str:
    """The whole page."""
    return "\n".join((_HEAD, *_sizes(), "", _MIDDLE, *_backends(), "", _FIGURES, *_figures(), "", _END))


def _sizes() -> list[str]:
    plans = [plan(calls) for calls in SIZES]
    rows = {
        "sites": [f"{p.sites:,}" for p in plans],
        "relay processes (cores)": [f"{p.relays:,} ({p.relay_workers:,})" for p in plans],
        "transceivers, a core each": [f"{p.transceivers:,}" for p in plans],
        "memory for paths, for sessions": [
            f"{_round(p.relay_memory_bytes)}B, {_round(p.transceiver_memory_bytes)}B" for p in plans
        ],
        "public traffic, each way": [f"{_round(p.public_bits)}bit/s" for p in plans],
        "internal traffic, each way": [f"{_round(p.internal_bits)}bit/s" for p in plans],
        "commands a second to the Redis of a site": [f"{p.redis_commands:,.0f}" for p in plans],
        "new calls a second": [f"{p.new_calls:,.1f}" for p in plans],
    }
    head = [f"| concurrent calls | {' | '.join(f'{calls:,}' for calls in SIZES)} |", "|---|" + "---|" * len(SIZES)]
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]


def _backends() -> list[str]:
    head = [f"| backend | {' | '.join(f'{calls:,} calls' for calls in SIZES)} |", "|---|" + "---|" * len(SIZES)]
    cells = {name: [f"{plan(calls, name).transceivers:,}" for calls in SIZES] for name in BACKENDS}
    return head + [f"| {name} | {' | '.join(row)} |" for name, row in cells.items()]


def _figures() -> list[str]:
    known = [PACKETS, PAYLOAD, ROUND_TRIP, RELAY_PART, PATH, SESSION, REFRESH, RELAY_BEAT, NODE_BEAT]
    known += [RELAY_LOOK, FRONT_LOOK, REDIS, CALL]
    named = [(figure, "") for figure in known] + [(figure, f", {name}") for name, figure in BACKENDS.items()]
    rows = [f"| {figure.value:,g} | {figure.unit}{more} | `{figure.source}` |" for figure, more in named]
    return ["| figure | of | source |", "|---|---|---|", *rows]


def _round(value: float) -> str:
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.3g} "


_HEAD = f"""\
# How much for how many calls

Reckoned from measured figures, for calls of {CALL.value:g} s with a realtime backend (OpenAI's events), 20 ms frames,
both sides speaking all the time. Put your own figures in: the formulas are `plan` in `rtcrelay/cli/capacity_docs.py`,
which this page is made by (`python -m rtcrelay.cli.docs`).
"""
_MIDDLE = """\
- *Calls on a relay's core* = 0.6 / (50 × seconds for a packet there and one back). In bursts of 1 it is a third of
  that, in bursts of 64 a third more: bursts come by themselves under load.
- *Relays* = as many as a site's calls need and one more. *Transceivers* = calls / sessions of a core, and one more.
- *Redis, of a site* = calls / 75 + calls / length of a call, as routes; + 1 a relay + 0.8 a transceiver, as heartbeats;
  + (0.2 a relay + 0.5 a front) × nodes, as looking who lives. In pipelines, and routes of one moment in one command.

**What runs out first.** At 100 calls nothing: the second relay is there for the first one's failure. At 10,000 it is
the transceivers' cores by far, then a 1 Gbit/s interface; Redis does a hundredth of what it could. At 1,000,000 it is
what surrounds the relays: 75 Gbit/s each way at many ingresses, a load balancer in front of each VIP, thousands of
cores for backends. So it is a hundred sites of 10,000, each with a Redis of its own; only the keys are shared. A site
is not made larger, because who looks grows with the square of the nodes.

## Transceivers, by what answers
"""
_FIGURES = """\
## Figures
"""
_END = """\
**Measured:** forwarding with 1,000 calls on one core, the path table with 100,000 paths, relays killed, handed over
and re-hashed under 10,000 calls (5 packets a second each), sessions of a core, commands of 8 calls to a real Valkey
(0.100 a second and call at an idle time of 8 s, as the formula says). All on 2 virtual processors that other work
shared; sessions with real-time priority, because of that other work. **Reckoned only:** everything
at 1,000,000 calls, networks and load balancers, more than 2 cores, and what it costs to set up thousands of calls a
second. Measure your own machine with `rtcrelay bench relay`, and watch `rtcrelay_transceiver_load` and
`rtcrelay_relay_receive_overflows_total` while you add calls.
"""
