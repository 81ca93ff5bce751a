"""``rtcrelay probe ingress``: how far is each ingress from here? Their ranking, as measured."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay import config
from rtcrelay.cli.options import Listing, parsed, whole
from rtcrelay.cli.probe_stun import parse_target
from rtcrelay.cli.render import Column, show_rows
from rtcrelay.config.sites import load_sites
from rtcrelay.config.text import duration_between, format_address, parse_path
from rtcrelay.debug.pinging import Pinger, PingPlan, Reply
from rtcrelay.debug.probe_socket import UdpEndpoint
from rtcrelay.debug.probing import Watch, run_pings
from rtcrelay.debug.stun_probe import Probe
from rtcrelay.errors import ExitStatus, RtcrelayError, UsageError

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

EXAMPLES = """
    rtcrelay probe ingress 127.0.0.1 --count 5 -i 50ms
    rtcrelay probe ingress --sites sites.toml --json"""
"""For the end of the command's help."""

COLUMNS = (
    Column("rank", "RANK", right=True),
    Column("name", "INGRESS"),
    Column("address", "ADDRESS", unbroken=True),
    Column("rtt_ms", "RTT_MS", right=True),
    Column("min_ms", "MIN_MS", right=True),
    Column("max_ms", "MAX_MS", right=True),
    Column("jitter_ms", "JITTER_MS", right=True),
    Column("loss_percent", "LOSS%", right=True),
    Column("problem", "PROBLEM"),
)
_MOST = 64
"""Ingresses asked at once."""


def ingress(
    options: Listing,
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="ADDR", help="HOST[:3478], instead of those of the sites file."),
    ] = None,
    sites: Annotated[
        str | None,
        typer.Option("--sites", metavar="FILE", help="Sites file (TOML). [default: as for serve signaling]"),
    ] = None,
    count: Annotated[str, typer.Option("--count", metavar="N", help="Requests to each. [default: 10]")] = "10",
    interval: Annotated[
        str, typer.Option("-i", "--interval", metavar="DURATION", help="Between them, 20ms to 1m. [default: 200ms]")
    ] = "200ms",
    wait: Annotated[
        str, typer.Option("-W", "--wait", metavar="DURATION", help="For each answer, 1ms to 1m. [default: 1s]")
    ] = "1s",
) -> ExitStatus:
    """Ask every ingress with STUN, all at the same time, and rank them by their round trip from here.

    As a client would find them: the nearest first, those that do not answer last. JITTER_MS is the mean difference of
    one round trip to the next. Exits with 0 if all answered, else with 1.
    """
    if targets and sites:
        raise UsageError("ADDR and --sites exclude each other")
    plan = PingPlan(
        Probe(),
        whole("--count", count, 1, 10_000),
        parsed("-i", interval, duration_between(0.02, 60)),
        parsed("-W", wait, duration_between(0.001, 60)),
    )
    with ThreadPoolExecutor(_MOST) as threads:
        rows = list(threads.map(lambda each: _measure(each[0], each[1], plan), _ingresses(targets, sites, options)))
    rows.sort(key=lambda row: (row["rtt_ms"] is None, row["rtt_ms"]))
    show_rows([{**row, "rank": rank} for rank, row in enumerate(rows, 1)], COLUMNS, options)
    return ExitStatus.OK if rows and all(row["received"] for row in rows) else ExitStatus.PROBLEM


def _ingresses(targets: list[str] | None, sites: str | None, options: Listing) -> list[tuple[str, Address]]:
    """(name, address) of each."""
    if targets:
        return [(target, parse_target(target, False, False)) for target in targets]
    path = parsed("--sites", sites, parse_path) if sites else config.find_sites(options.config)
    return [(ingress.name, ingress.address) for ingress in load_sites(path).ingresses]


def _measure(name: str, target: Address, plan: PingPlan) -> Mapping[str, Any]:
    """A row about one ingress; nothing that goes wrong with it hurts the others."""
    replies: list[Reply] = []
    troubles: list[str] = []
    pinger, problem = Pinger(plan, target), None
    try:
        line = UdpEndpoint(target, None)
        try:
            run_pings(pinger, line, Watch(replies.append, troubles.append))
        finally:
            line.close()
    except RtcrelayError as error:
        problem = str(error)
    tally = pinger.tally
    good = sorted((reply.number, 1000 * (reply.rtt_seconds or 0.0)) for reply in replies if reply.is_good)
    changes = [abs(after - before) for (_, before), (_, after) in pairwise(good)]
    return {
        "kind": "ingress_probe",
        "v": 1,
        "rank": 0,
        "name": name,
        "address": format_address(target),
        "sent": tally.sent,
        "received": tally.received,
        "loss_percent": round(tally.loss_percent, 1),
        "rtt_ms": round(1000 * tally.avg_seconds, 3) if good else None,
        "min_ms": round(1000 * tally.min_seconds, 3) if good else None,
        "max_ms": round(1000 * tally.max_seconds, 3) if good else None,
        "jitter_ms": round(sum(changes) / len(changes), 3) if changes else None,
        "problem": problem or (troubles[0] if troubles else None if good else "does not answer"),
    }
