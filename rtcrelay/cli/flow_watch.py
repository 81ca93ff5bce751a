"""``rtcrelay flows stats`` and ``tail``: counts, and what happens to paths as it happens."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from rtcrelay.admin.client import AdminClient
from rtcrelay.cli.flow_options import ADMIN, DST, SRC, app, compact, make_filter, relays, report_all
from rtcrelay.cli.options import Listing, leaf, parsed
from rtcrelay.cli.render import Column, show_rows
from rtcrelay.config.text import one_of, parse_duration
from rtcrelay.errors import ExitStatus, RtcrelayError, UsageError

_EVENTS = ("opened", "established", "refreshed", "asked", "killed")
_COUNT_COLUMNS = (
    Column("group", "GROUP"),
    Column("name", "NAME"),
    Column("count", "COUNT", right=True),
    Column("relay", "RELAY"),
)
_INTERVAL = typer.Option(
    "-i", "--interval", metavar="DURATION", help="Count only what happens within this time from now on."
)
_ALL = typer.Option("-a", "--all", help="Also what never happened.")
_KIND = typer.Option(
    "-e",
    "--event",
    metavar="EVENT",
    autocompletion=lambda: list(_EVENTS),
    help="opened (a check was sent), established (media came back), refreshed (it still does), asked (the route"
    " cache) or killed (by an operator). Repeatable: any of them.",
)


@leaf(
    app,
    "stats",
    listing=True,
    examples="""
    rtcrelay flows stats
    rtcrelay flows stats -i 2s --sort-by -count
    rtcrelay flows stats --all --json""",
)
def stats(
    options: Listing,
    admin: Annotated[list[str] | None, ADMIN] = None,
    interval: Annotated[str | None, _INTERVAL] = None,
    everything: Annotated[bool, _ALL] = False,
) -> ExitStatus | None:
    """Show what relays counted since they started: packets, claims, and drops by reason."""
    seconds = None if interval is None else parsed("--interval", interval, parse_duration)
    errors: list[RtcrelayError] = []
    services = relays(admin, options.config)
    before = {} if seconds is None else _counts(services, errors)
    if seconds is not None:
        time.sleep(seconds)
        errors.clear()  # whoever cannot be reached is told of once
    rows = [
        {"kind": "count", "v": 1, "group": group, "name": name, "count": count, "relay": relay}
        for (relay, group, name), now in _counts(services, errors).items()
        # A relay that was restarted meanwhile counts from nothing.
        if (count := now - (old if (old := before.get((relay, group, name), 0)) <= now else 0)) or everything
    ]
    if rows or options.form in ("json", "jsonl"):
        show_rows(rows, _COUNT_COLUMNS, options)
    return report_all(errors)


@leaf(
    app,
    "tail",
    listing=True,
    examples="""
    rtcrelay flows tail
    rtcrelay flows tail -e opened -e established --src 198.51.100.0/24
    rtcrelay flows tail -o jsonl | jq .client""",
)
def tail(
    options: Listing,
    admin: Annotated[list[str] | None, ADMIN] = None,
    src: Annotated[list[str] | None, SRC] = None,
    dst: Annotated[list[str] | None, DST] = None,
    event: Annotated[list[str] | None, _KIND] = None,
) -> ExitStatus | None:
    """Print what happens to paths, one line each, until Ctrl-C or -n lines.

    A line "lost" says how many events are missing, because there were too many for the relay or for this reader.
    Exits with 69 if a relay cannot be reached or ends.
    """
    from rtcrelay.admin.flows import read_events

    if options.sort_by or options.form == "json":
        raise UsageError("a tail has no end: --sort-by and -o json do not go with it", hint="-o jsonl")
    kinds = [parsed("--event", word, one_of(*_EVENTS)) for word in event or ()]
    wanted = make_filter(src, dst, None, None)
    services = relays(admin, options.config)
    found: queue.Queue[dict[str, Any] | RtcrelayError | None] = queue.Queue(10_000)
    for service in services:
        arguments = (service, lambda service: read_events(service, wanted, kinds), found)
        threading.Thread(target=_follow, args=arguments, daemon=True).start()
    try:
        return report_all(_print_events(found, len(services), options))
    except KeyboardInterrupt:
        return None


def _counts(services: list[AdminClient], errors: list[RtcrelayError]) -> Mapping[tuple[str, str, str], int]:
    counts: dict[tuple[str, str, str], int] = {}
    for service in services:
        try:
            stats = service.read("/v1/stats")
        except RtcrelayError as error:
            errors.append(error)
            continue
        relay = next((pair["internal"] for pair in stats.get("listeners", ())), str(service.socket))
        cache = {name: count for name, count in (stats.get("route_cache") or {}).items() if isinstance(count, int)}
        for group, found in (("drop", stats.get("drops")), ("count", stats.get("counters")), ("route_cache", cache)):
            counts.update({(relay, group, name): count for name, count in (found or {}).items()})
    return counts


def _follow(service: AdminClient, events: Any, found: queue.Queue[Any]) -> None:
    try:
        for row in events(service):
            found.put(row)
        found.put(None)
    except RtcrelayError as error:
        found.put(error)


def _print_events(found: queue.Queue[Any], open_streams: int, options: Listing) -> list[RtcrelayError]:
    errors: list[RtcrelayError] = []
    printed = 0
    while open_streams and (options.limit is None or printed < options.limit):
        row = found.get()
        if row is None or isinstance(row, RtcrelayError):
            open_streams -= 1
            ended = RtcrelayError("a relay has ended", status=ExitStatus.UNAVAILABLE)
            errors.append(row if row is not None else ended)
            continue
        print(compact(row) if options.form == "jsonl" else _line(row))
        printed += 1
        if found.empty():
            sys.stdout.flush()
    return errors


def _line(row: Mapping[str, Any]) -> str:
    clock = row["time"][11:23]
    if row["kind"] == "lost":
        return f"{clock} LOST {row['events']} events ({row['where']}) relay={row['relay']}"
    to = f" -> {row['next_hop']}" if row["next_hop"] else ""
    shared = "" if row["alone"] or row["event"] in ("opened", "asked", "killed") else " shared"
    return f"{clock} {row['event'].upper():11} {row['client']}{to} ingress={row['ingress']}{shared}"
