"""``rtcrelay routes list``, ``get`` and ``stats``: what is in the route cache at this moment."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.cli.options import Flags, Listing, leaf
from rtcrelay.cli.redis_access import SETTINGS, with_store
from rtcrelay.cli.render import note, show_fields, show_rows
from rtcrelay.cli.route_options import (
    COLUMNS,
    AgeAbove,
    AgeBelow,
    Asked,
    Cluster,
    Dst,
    Ingress,
    Node,
    Relay,
    Src,
    TtlBelow,
    app,
    exact_client,
    open_listing,
)
from rtcrelay.cli.stream import stream_rows
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay.cli.route_options import Listing as Routes
    from rtcrelay.store.redis_store import RedisStore
    from rtcrelay.store.route_rows import RouteRow

_COUNT = typer.Option("--count-only", help="Print only how many there are.")


@leaf(
    app,
    "list",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay routes list --redis redis://10.0.0.9
    rtcrelay routes list --src 198.51.100.0/24 --ttl-below 30s
    rtcrelay routes list --node transceiver-a --count-only
    rtcrelay routes list -o jsonl | jq 'select(.node == null)'""",
)
def list_routes(
    options: Listing,
    flags: Flags,
    src: Src = None,
    dst: Dst = None,
    node: Node = None,
    cluster: Cluster = None,
    relay: Relay = None,
    ingress: Ingress = None,
    age_above: AgeAbove = None,
    age_below: AgeBelow = None,
    ttl_below: TtlBelow = None,
    count_only: Annotated[bool, _COUNT] = False,
) -> ExitStatus | None:
    """List the routes in Redis: which transceiver each client's packets go to, and which relay said so.

    NODE is the transceiver's name, if it has a heartbeat. AGE is the time since the route was written, TTL the time
    that it has left; relays write it anew while the call goes on. Entries that are malformed are counted on stderr.
    """
    asked = Asked(src, dst, node, cluster, relay, ingress, age_above, age_below, ttl_below)
    wanted = asked.filter()

    async def work(store: RedisStore) -> None:
        routes = await open_listing(store, asked, wanted)
        pages = routes.pages(store)
        count = await (_count(pages) if count_only else _print(pages, options))
        if count_only:
            _print_count(count, options)
        elif options.form in (None, "table", "plain"):
            note(f"{count} routes", options)
        note_malformed(routes, options)

    with_store(flags, options.config, work)
    return None


@leaf(
    app,
    "get",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay routes get 198.51.100.7:51234
    rtcrelay routes get 198.51.100.7 --json""",
)
def get(
    options: Listing,
    flags: Flags,
    client: Annotated[str, typer.Argument(metavar="SRC", help="The client: IP:PORT, or IP for all its routes.")],
    ingress: Ingress = None,
) -> ExitStatus | None:
    """Show a client's route. Exits with 1 if there is none."""
    if exact_client(client) is None:
        raise UsageError(f"SRC: {client!r} is no address, expected IP, IP:PORT or [IP6]:PORT")
    asked = Asked(src=[client], ingress=ingress)
    wanted = asked.filter()

    async def work(store: RedisStore) -> list[dict[str, Any]]:
        routes = await open_listing(store, asked, wanted)
        found = [row_of(row) async for page in routes.pages(store) for row in page]
        note_malformed(routes, options)
        return found

    found = with_store(flags, options.config, work)
    if len(found) == 1:
        show_fields(found[0], COLUMNS, options)
    elif found:
        show_rows(found, COLUMNS, options)
    return None if found else ExitStatus.PROBLEM


def row_of(row: RouteRow) -> dict[str, Any]:
    """A route as the renderers take it."""
    import msgspec

    return msgspec.structs.asdict(row)


def note_malformed(routes: Routes, options: Listing) -> None:
    """Tells how many entries made no sense, if any."""
    if routes.reader.malformed_count:
        note(f"{routes.reader.malformed_count} entries are malformed and not shown", options)


async def _count(pages: AsyncIterator[list[RouteRow]]) -> int:
    return sum([len(page) async for page in pages])


def _print_count(count: int, options: Listing) -> None:
    form = options.form
    print(f'{{"kind":"route_count","v":1,"routes":{count}}}' if form in ("json", "jsonl") else count)


async def _print(pages: AsyncIterator[list[RouteRow]], options: Listing) -> int:
    """Prints routes as the options say; returns how many."""
    form = options.form or ("table" if sys.stdout.isatty() else "plain")
    if form in ("json", "jsonl") and not options.sort_by and options.limit is None:
        return await _write_json(pages, form)
    rows = [row_of(row) async for page in pages for row in page]
    if form == "table" or options.sort_by or form in ("json", "jsonl"):
        if rows or form in ("json", "jsonl"):
            show_rows(rows, COLUMNS, options)
    else:
        stream_rows(rows, COLUMNS, options)
    return len(rows)


async def _write_json(pages: AsyncIterator[list[RouteRow]], form: str) -> int:
    """Writes whole pages as they come: a row costs a microsecond."""
    import msgspec

    encoder = msgspec.json.Encoder()
    sys.stdout.flush()
    out, count = sys.stdout.buffer, 0
    async for page in pages:
        if form == "jsonl":
            out.write(encoder.encode_lines(page))
            out.flush()
        elif page:
            out.write((b",\n" if count else b"[") + encoder.encode(page)[1:-1])
        count += len(page)
    if form == "json":
        out.write(b"]\n" if count else b"[]\n")
    out.flush()
    return count
