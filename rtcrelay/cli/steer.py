"""``rtcrelay steer``: where signaling would send a call, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rtcrelay import config
from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Listing, leaf, parsed, whole
from rtcrelay.cli.render import Column, note, show_rows
from rtcrelay.config.sites import Place, Sites, load_sites, parse_place
from rtcrelay.config.text import parse_ip, parse_path
from rtcrelay.errors import ExitStatus, UsageError
from rtcrelay.signaling.describe import describe_decision, read_world
from rtcrelay.signaling.directory import Directory
from rtcrelay.signaling.steer import World, steer

app = new_group()
# One command in a group would become the group itself.
app.callback()(lambda: None)

INGRESSES = (
    Column("name", "INGRESS"),
    Column("address", "ADDRESS", unbroken=True),
    Column("access_ms", "RTT_MS", right=True),
    Column("weight", "WEIGHT", right=True),
    Column("told", "TOLD", pick=lambda row: row["refusal"] or ("yes" if row["told"] else "farther away")),
)
CLUSTERS = (
    Column("name", "CLUSTER"),
    Column("cluster", "ID", right=True),
    Column("round_trip_ms", "RTT_MS", right=True),
    Column("refusal", "CALL", pick=lambda row: row["refusal"] or row["order"]),
)

_FROM = typer.Option("--from", metavar="LAT,LON|IP", help="Where the client is, in degrees, or its IP address.")
_SITES = typer.Option(
    "--sites", metavar="FILE", help="Ingresses and clusters (TOML). [default: as for serve signaling]"
)
_DATABASE = typer.Option(
    "--geo-database", metavar="FILE", help="MaxMind database, for an IP address. [default: as for serve signaling]"
)
_CLIENT = typer.Option(
    "--client", metavar="IP", help="The client's address, which decides between equally near ingresses."
)
_TOLD = typer.Option(
    "--told", metavar="N", help="Ingresses that a client is told. [default: as for serve signaling, 2]"
)
_ADMIN = typer.Option(
    "-A", "--admin", metavar="SOCKET", help="Ask this running signaling what lives, instead of taking all as alive."
)


@leaf(
    app,
    "explain",
    listing=True,
    examples="""
    rtcrelay steer explain --sites sites.toml --from 48.86,2.35
    rtcrelay steer explain --sites sites.toml --from 198.51.100.7 --geo-database GeoLite2-City.mmdb
    rtcrelay steer explain --from -33.87,151.21 -A /run/rtcrelay/signaling.sock --json""",
)
def explain(
    options: Listing,
    where: Annotated[str | None, _FROM] = None,
    sites: Annotated[str | None, _SITES] = None,
    database: Annotated[str | None, _DATABASE] = None,
    client: Annotated[str | None, _CLIENT] = None,
    told: Annotated[str | None, _TOLD] = None,
    admin: Annotated[str | None, _ADMIN] = None,
) -> ExitStatus:
    """Say which ingresses a client would be told and which cluster would take its call, and why not the others.

    Round trips are estimates: measured between the sites where the file says so, else by distance. Exits with 1 if no
    cluster takes the call.
    """
    usual_database, usual_told = config.find_steering(options.config)
    most = usual_told if told is None else whole("--told", told, 1, 8)
    path = parsed("--sites", sites, parse_path) if sites else config.find_sites(options.config)
    place, address = _place(where, usual_database if database is None else Path(database))
    if client is not None:
        address = parsed("--client", client, parse_ip)
    decision = steer(_world(load_sites(path), admin), place, address)
    row = describe_decision(decision, place, most)
    if options.form in ("json", "jsonl"):
        print(json.dumps(row, indent=2 if options.form == "json" else None))
    else:
        _show(row, options)
    return ExitStatus.OK if decision.tried() else ExitStatus.PROBLEM


def _place(where: str | None, database: Path | None) -> tuple[Place | None, str]:
    """(the client's place, what decides between equals)."""
    if where is None:
        return None, ""
    try:
        address = parse_ip(where)
    except ValueError:
        return parsed("--from", where, parse_place), where
    if database is None:
        raise UsageError("--from: an IP address needs --geo-database FILE", hint="or give a place: --from LAT,LON")
    from rtcrelay.signaling.geo import open_database

    return open_database(database)(address), address


def _world(sites: Sites, admin: str | None) -> World:
    """What a running front knows; without one, every transceiver of the file lives, and each cluster has one."""
    if admin is None:
        return Directory(sites, assume_alive=True).world(0.0)
    from rtcrelay.admin.client import AdminClient

    return read_world(AdminClient(Path(admin)).read("/v1/world"), World(sites, {}))


def _show(row: dict[str, Any], options: Listing) -> None:
    if row["latitude"] is None:
        note("the client's place is unknown: it gets its own order of ingresses", options)
    order = 0
    for cluster in row["clusters"]:
        order += cluster["refusal"] is None
        cluster["order"] = "first" if order == 1 else f"if the {order - 1} before cannot"
    show_rows(row["ingresses"], INGRESSES, options)
    show_rows(row["clusters"], CLUSTERS, options)
