"""``rtcrelay nodes list`` and ``get``: who is alive."""

from __future__ import annotations

from typing import Annotated

import typer

from rtcrelay.cli.node_options import COLUMNS, WIDE, app, row_of
from rtcrelay.cli.options import Flags, Listing, leaf, parsed, whole
from rtcrelay.cli.redis_access import SETTINGS, node_names, with_store
from rtcrelay.cli.render import note, show_fields, show_rows
from rtcrelay.config.text import one_of
from rtcrelay.errors import ExitStatus

_ROLES, _STATES = ("relay", "transceiver"), ("serving", "cordoned", "draining")
_ROLE = typer.Option(
    "--role", metavar="ROLE", autocompletion=lambda: list(_ROLES), help="relay or transceiver. Repeatable: any of them."
)
_STATE = typer.Option(
    "--state",
    metavar="STATE",
    autocompletion=lambda: list(_STATES),
    help="serving, cordoned or draining. Repeatable: any of them.",
)
_CLUSTER = typer.Option("--cluster", metavar="ID", help="Clusters, 0 to 65535. Repeatable: any of them.")
_WIDE = typer.Option("-w", "--wide", help="More columns: processor, lag, keys, ingresses, version, host.")
_NODE = typer.Argument(metavar="NODE", autocompletion=node_names, help="Its name, as 'rtcrelay nodes list' has it.")


@leaf(
    app,
    "list",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay nodes list --redis redis://10.0.0.9
    rtcrelay nodes list --role transceiver --state serving --sort-by -load
    rtcrelay nodes list --json | jq '.[].keys'""",
)
def list_nodes(
    options: Listing,
    flags: Flags,
    role: Annotated[list[str] | None, _ROLE] = None,
    state: Annotated[list[str] | None, _STATE] = None,
    cluster: Annotated[list[str] | None, _CLUSTER] = None,
    wide: Annotated[bool, _WIDE] = False,
) -> None:
    """List the relays and transceivers that are alive: those with a heartbeat in Redis less than 15 s old.

    ADDR is where other nodes send packets to. LOAD is the part in use of what the node takes, AGE the time since it
    started. A relay's name is its first internal address, a transceiver's its --node.
    """
    from rtcrelay.store.directory import now_ms, read_nodes

    roles = [parsed("--role", word, one_of(*_ROLES)) for word in role or ()]
    states = [parsed("--state", word, one_of(*_STATES)) for word in state or ()]
    clusters = [whole("--cluster", word, 0, 65_535) for word in cluster or ()]
    nodes = with_store(flags, options.config, read_nodes)
    rows = [
        row_of(node, now_ms())
        for node in nodes.found
        if (not roles or node.role in roles)
        and (not states or node.state in states)
        and (not clusters or node.cluster in clusters)
    ]
    if rows or options.form in ("json", "jsonl"):
        show_rows(rows, WIDE if wide else COLUMNS, options)
    if options.form in (None, "table", "plain"):
        note(f"{len(rows)} nodes", options)
    if nodes.refused:
        note(f"{nodes.refused} entries are malformed and not shown", options)


@leaf(
    app,
    "get",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay nodes get transceiver-a
    rtcrelay nodes get 10.0.0.5:3479 --json""",
)
def get(options: Listing, flags: Flags, name: Annotated[str, _NODE]) -> ExitStatus | None:
    """Show all that a node says of itself. Exits with 1 if none of that name is alive."""
    from rtcrelay.store.directory import now_ms, read_nodes

    found = [row_of(node, now_ms()) for node in with_store(flags, options.config, read_nodes).meant(name)]
    if len(found) == 1:
        show_fields(found[0], WIDE, options)
    elif found:  # one of each cluster
        show_rows(found, WIDE, options)
    return None if found else ExitStatus.PROBLEM
