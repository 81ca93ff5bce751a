"""``rtcrelay status`` and ``drain``: what operators do with running services."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rtcrelay.admin.client import AdminClient
from rtcrelay.admin.drain import drain as drain_services
from rtcrelay.admin.drain import wait_until_empty
from rtcrelay.admin.status import statuses
from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Listing, leaf, parsed
from rtcrelay.cli.render import Column, note, show_rows
from rtcrelay.cli.services import YES, admin_option, asks, find_services, report_all
from rtcrelay.config.text import format_duration, parse_duration
from rtcrelay.errors import ExitStatus, UsageError

app = new_group()

COLUMNS = (
    Column("role", "ROLE"),
    Column("node", "NODE"),
    Column("state", "STATE"),
    Column("flows", "FLOWS", right=True),
    Column("sessions", "SESSIONS", right=True),
    Column("dropped_packets", "DROPPED", right=True),
    Column("uptime_s", "UPTIME", right=True, pick=lambda row: _uptime(row["uptime_s"])),
    Column("pid", "PID", right=True),
    Column("socket", "SOCKET"),
)

_ADMIN = admin_option("service", "all")
_WAIT = typer.Option("--wait", help="Return only when no flows and sessions are left.")
_TIMEOUT = typer.Option("--timeout", metavar="DURATION", help="Wait at most this long, then exit with 75.")
_CANCEL = typer.Option("--cancel", help="Be ready for calls again.")


@leaf(
    app,
    "status",
    listing=True,
    examples="""
    rtcrelay status
    rtcrelay status -A /run/rtcrelay/relay.sock --json""",
)
def status(options: Listing, admin: Annotated[list[str] | None, _ADMIN] = None) -> ExitStatus:
    """Show how the relays and transceivers of this machine fare.

    Exits with 0 if all are ready or draining, 1 if one is not, 69 if one cannot be reached or there is none.
    """
    rows, errors = statuses(service.socket for service in find_services(admin, options.config))
    if rows:
        show_rows(rows, COLUMNS, options)
    fine = all(row["state"] in ("ready", "draining") for row in rows)
    return report_all(errors) or (ExitStatus.OK if fine else ExitStatus.PROBLEM)


@leaf(
    app,
    "drain",
    listing=True,
    examples="""
    rtcrelay drain --wait --timeout 10m
    rtcrelay drain -A /run/rtcrelay/transceiver-a.sock
    rtcrelay drain --cancel""",
)
def drain(
    options: Listing,
    admin: Annotated[list[str] | None, _ADMIN] = None,
    wait: Annotated[bool, _WAIT] = False,
    timeout: Annotated[str | None, _TIMEOUT] = None,
    cancel: Annotated[bool, _CANCEL] = False,
    yes: Annotated[bool, YES] = False,
) -> ExitStatus | None:
    """Have services drain: they are no longer ready, so that load balancers send new calls elsewhere.

    A relay goes on forwarding whatever comes, new calls too, until it is ended. A transceiver refuses new calls and
    keeps those it has.
    """
    if cancel and wait:
        raise UsageError("--cancel and --wait exclude each other")
    if timeout is not None and not wait:
        raise UsageError("--timeout needs --wait")
    seconds = None if timeout is None else parsed("--timeout", timeout, parse_duration)
    services = find_services(admin, options.config)
    if not (yes or cancel or _confirms(services)):
        return ExitStatus.PROBLEM
    rows, errors = drain_services(services, cancel=cancel)
    if wait and rows:
        drained = [AdminClient(Path(row["socket"])) for row in rows]
        wait_until_empty(drained, lambda left: note(f"{left} flows or sessions are left", options), timeout=seconds)
        rows, _ = statuses(service.socket for service in drained)  # those that have ended meanwhile have drained
    if rows:
        show_rows(rows, COLUMNS, options)
    return report_all(errors)


def _confirms(services: Sequence[AdminClient]) -> bool:
    """Asks a person; a program, such as a pod's preStop hook, means what it says."""
    if not sys.stdin.isatty():
        return True
    return asks(f"Drain {', '.join(str(service.socket) for service in services)}?")


def _uptime(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(round(seconds))
