"""``rtcrelay routes watch``: what happens to routes, as it happens."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.cli.options import Flags, Listing, leaf, parsed
from rtcrelay.cli.redis_access import SETTINGS, with_store
from rtcrelay.cli.render import note
from rtcrelay.cli.route_list import row_of
from rtcrelay.cli.route_options import Asked, Cluster, Dst, Ingress, Node, Relay, Src, app, open_listing
from rtcrelay.config.text import duration_between, one_of
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay.store.redis_store import RedisStore
    from rtcrelay.store.route_changes import Change

_KINDS = ("new", "update", "expire", "delete")
_EVENT = typer.Option(
    "-e",
    "--event",
    metavar="EVENT",
    autocompletion=lambda: list(_KINDS),
    help="new, update (written anew, or another next hop), expire or delete. Repeatable: any of them.",
)
_INTERVAL = typer.Option(
    "-i", "--interval", metavar="DURATION", help="Without notifications: time between two listings. [default: 2s]"
)
_ENABLE = typer.Option(
    "--enable-notifications",
    help="Change the server's configuration, so that it tells of changes (CONFIG SET notify-keyspace-events), until the"
    " watch ends.",
)


@leaf(
    app,
    "watch",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay routes watch
    rtcrelay routes watch -e new -e expire --src 198.51.100.0/24
    rtcrelay routes watch -o jsonl | jq 'select(.event == "update" and .before)'""",
)
def watch(
    options: Listing,
    flags: Flags,
    src: Src = None,
    dst: Dst = None,
    node: Node = None,
    cluster: Cluster = None,
    relay: Relay = None,
    ingress: Ingress = None,
    event: Annotated[list[str] | None, _EVENT] = None,
    interval: Annotated[str, _INTERVAL] = "2s",
    enable: Annotated[bool, _ENABLE] = False,
) -> ExitStatus | None:
    """Print what happens to routes, one line each, until Ctrl-C or -n lines.

    If the server sends keyspace notifications (notify-keyspace-events with K$gx), they are used; else all routes are
    listed every --interval and compared. Which of both it is is said on stderr. Exits with 69 when Redis is gone.
    """
    if options.sort_by or options.form == "json":
        raise UsageError("a watch has no end: --sort-by and -o json do not go with it", hint="-o jsonl")
    kinds = [parsed("--event", word, one_of(*_KINDS)) for word in event or ()]
    seconds = parsed("--interval", interval, duration_between(0.1, 3600))
    asked = Asked(src, dst, node, cluster, relay, ingress)
    wanted = asked.filter()

    async def work(store: RedisStore) -> None:
        from rtcrelay.store.route_changes import Known, can_notify, follow_listings, follow_notifications

        routes = await open_listing(store, asked, wanted)
        known, pattern = Known(routes.reader), wanted.pattern
        async with _notifying(store, enable):
            told = await can_notify(store)
            changes = (
                follow_notifications(store, pattern, known) if told else follow_listings(store, pattern, known, seconds)
            )
            left = options.limit
            async with aclosing(changes):
                await anext(changes)  # what is there has been read: what happens from now on will be told
                note("watching by notifications" if told else f"watching by a listing every {interval}", options)
                async for batch in changes:
                    meant = [c for c in batch if (not kinds or c.event in kinds) and routes.wanted.takes(c.row)]
                    _print(meant[:left], options)
                    left = None if left is None else left - len(meant)
                    if left is not None and left <= 0:
                        return

    try:
        with_store(flags, options.config, work)
    except KeyboardInterrupt:
        return None
    return None


def _notifying(store: RedisStore, enable: bool) -> Any:
    from contextlib import nullcontext

    from rtcrelay.store.route_changes import notifications_enabled

    return notifications_enabled(store) if enable else nullcontext()


def _print(changes: list[Change], options: Listing) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for change in changes:
        row = {"kind": "route_event", "v": 1, "time": now, "event": change.event, "before": change.before}
        row |= {name: value for name, value in row_of(change.row).items() if name not in ("kind", "v")}
        print(json.dumps(row, separators=(",", ":")) if options.form == "jsonl" else _line(row))
    if changes:
        sys.stdout.flush()


def _line(row: dict[str, Any]) -> str:
    node = f" ({row['node']})" if row["node"] else ""
    before = f" before={row['before']}" if row["before"] else ""
    return (
        f"{row['time'][11:23]} {row['event'].upper():6} {row['client']} -> {row['next_hop']}{node}{before}"
        f" ingress={row['ingress']} cluster={row['cluster']} relay={_printable(row['relay'])} ttl={row['ttl_s']:.0f}s"
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
