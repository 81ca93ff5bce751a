"""``rtcrelay routes set`` and ``flush``: repairs of the route cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.cli.options import Flags, Listing, leaf, parsed, whole
from rtcrelay.cli.redis_access import SETTINGS, node_names, with_store
from rtcrelay.cli.render import note, show_fields, show_rows
from rtcrelay.cli.route_list import note_malformed, row_of
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
    open_listing,
)
from rtcrelay.cli.services import YES, asks, refuse_unasked
from rtcrelay.config.text import address, duration_between, format_address
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay.config import Address
    from rtcrelay.store.directory import Nodes
    from rtcrelay.store.redis_store import RedisStore

_BATCH = 1000
"""Keys that go at once: the server frees their memory aside (UNLINK)."""
_INGRESS = typer.Option(
    "--ingress", metavar="ID", help="Ingress id. [default: the one of all relays that are alive, if they have one]"
)
_ONE_CLUSTER = typer.Option("--cluster", metavar="ID", help="Cluster. [default: the transceiver's, else 0]")
_TTL = typer.Option("--ttl", metavar="DURATION", help="How long the route holds, 1s to 1h. [default: 150s]")
_TARGET = typer.Argument(metavar="NODE", autocompletion=node_names, help="A transceiver's name, or its IP:PORT.")
_ALL = typer.Option("--all", help="All routes, malformed entries too.")
_DRY = typer.Option("--dry-run", help="Print the routes that would go, and leave them.")


@leaf(
    app,
    "set",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay routes set 198.51.100.7:51234 transceiver-a
    rtcrelay routes set 198.51.100.7:51234 10.0.3.7:7000 --ingress 3479 --ttl 60s""",
)
def set_route(
    options: Listing,
    flags: Flags,
    client: Annotated[str, typer.Argument(metavar="SRC", help="The client, IP:PORT or [IP6]:PORT.")],
    target: Annotated[str, _TARGET],
    ingress: Annotated[str | None, _INGRESS] = None,
    cluster: Annotated[str | None, _ONE_CLUSTER] = None,
    ttl: Annotated[str, _TTL] = "150s",
) -> None:
    """Write a route by hand, to repair an incident.

    A relay asks for it only when a packet comes that no claim tells the way of, and takes it only for its own cluster
    and within its --transceivers. It changes nothing for a path that a relay knows.
    """
    from rtcrelay.store.directory import now_ms, read_nodes
    from rtcrelay.store.route_entry import PathKey, RouteEntry

    source = parsed("SRC", client, address(concrete=True))
    seconds = round(parsed("--ttl", ttl, duration_between(1, 3600)))
    number = None if ingress is None else whole("--ingress", ingress, 1, 65_535)
    owner = None if cluster is None else whole("--cluster", cluster, 0, 65_535)

    async def work(store: RedisStore) -> dict[str, Any]:
        nodes = await read_nodes(store)
        next_hop, of_cluster = _find(nodes, target, owner)
        key = PathKey(source, _only_ingress(nodes, of_cluster) if number is None else number)
        now = now_ms()
        entry = RouteEntry(of_cluster, next_hop, "operator", now, now + 1000 * seconds)
        (before,) = await store.read([key.text()])
        note(
            f"warning: a relay that believes this route sends {format_address(source)}'s packets to"
            f" {format_address(next_hop)}, which drops them unless the call is its own",
            options,
        )
        await store.write([(key.text(), entry.text())], seconds)
        return {
            "kind": "route_set",
            "v": 1,
            "client": format_address(source),
            "ingress": key.ingress,
            "cluster": of_cluster,
            "next_hop": format_address(next_hop),
            "ttl_s": seconds,
            "before": None if before is None else before.split("|")[2] if before.count("|") == 5 else "malformed",
        }

    show_fields(with_store(flags, options.config, work), [*COLUMNS[:2], *COLUMNS[3:5], COLUMNS[7]], options)


@leaf(
    app,
    "flush",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay routes flush --dst 10.0.3.7 --dry-run
    rtcrelay routes flush --node transceiver-a --yes
    rtcrelay routes flush --all""",
)
def flush(
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
    everything: Annotated[bool, _ALL] = False,
    yes: Annotated[bool, YES] = False,
    dry_run: Annotated[bool, _DRY] = False,
) -> ExitStatus | None:
    """Remove routes from Redis: those that all filters mean, or --all.

    Calls go on: a relay forwards by its own memory, and writes the route of a live call anew within half of its time.
    Asks on a terminal; elsewhere it needs --yes. Exits with 1 if the answer is no.
    """
    asked = Asked(src, dst, node, cluster, relay, ingress, age_above, age_below, ttl_below)
    wanted = asked.filter()
    if everything == bool(wanted or node):
        raise UsageError("expected filters that say which routes, or --all, and not both")
    refuse_unasked(yes, dry_run)

    async def work(store: RedisStore) -> ExitStatus | None:
        routes = await open_listing(store, asked, wanted)
        found = [row async for page in routes.pages(store) for row in page]
        if dry_run:
            if found or options.form in ("json", "jsonl"):
                show_rows([row_of(row) for row in found], COLUMNS, options)
            note(f"{len(found)} routes would go", options)
            note_malformed(routes, options)
            return None
        keys: list[str | bytes] = [row.key() for row in found]
        if everything:
            keys += routes.reader.malformed
        if not (yes or asks(f"Remove {len(keys)} routes from {store.name}?")):
            return ExitStatus.PROBLEM
        gone = sum([await store.remove(keys[start : start + _BATCH]) for start in range(0, len(keys), _BATCH)])
        if options.form in ("json", "jsonl"):
            print(f'{{"kind":"flush","v":1,"routes":{gone}}}')
        note(f"{gone} routes removed", options)
        return None

    return with_store(flags, options.config, work)


def _find(nodes: Nodes, target: str, cluster: int | None) -> tuple[Address, int]:
    """(media address, cluster) of a transceiver by name or address."""
    for node in nodes.named(target, cluster):
        if node.media_address is not None:
            return node.media_address, node.cluster_id
    try:
        where = address(concrete=True)(target)
    except ValueError:
        raise UsageError(
            f"NODE: {target!r} is neither a transceiver that is alive nor IP:PORT",
            hint="'rtcrelay nodes list' has those that are",
        ) from None
    known = [node.cluster_id for node in nodes.found if node.media == format_address(where)]
    return where, cluster if cluster is not None else known[0] if known else 0


def _only_ingress(nodes: Nodes, cluster: int) -> int:
    found = {ingress.id for node in nodes.found if node.cluster == cluster for ingress in node.ingresses}
    if len(found) != 1:
        said = f"are {', '.join(map(str, sorted(found)))}" if found else "are not known, for none is alive"
        raise UsageError(f"the ingress ids of cluster {cluster}'s relays {said}", hint="--ingress ID names one")
    return found.pop()
