"""``rtcrelay flows kill``: relays forget paths, and keep them away for a moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from rtcrelay.admin.client import AdminClient
from rtcrelay.cli import flow_columns
from rtcrelay.cli.flow_options import ADMIN, DST, IDLE, STATE, app, make_filter, relays, report_all
from rtcrelay.cli.options import Listing, leaf
from rtcrelay.cli.render import note, show_rows
from rtcrelay.cli.services import DRY_RUN, YES, asks, refuse_unasked
from rtcrelay.errors import ExitStatus, RtcrelayError, UsageError

_SOURCES = typer.Argument(metavar="SRC", help="Clients: IP, CIDR or IP:PORT; any of them.")
_ALL = typer.Option("--all", help="Every path.")


@leaf(
    app,
    "kill",
    listing=True,
    examples="""
    rtcrelay flows kill 198.51.100.7:51234
    rtcrelay flows kill 198.51.100.0/24 --dry-run
    rtcrelay flows kill --dst 10.0.3.7 --idle-above 10s --yes""",
)
def kill(
    options: Listing,
    src: Annotated[list[str] | None, _SOURCES] = None,
    admin: Annotated[list[str] | None, ADMIN] = None,
    dst: Annotated[list[str] | None, DST] = None,
    state: Annotated[list[str] | None, STATE] = None,
    idle_above: Annotated[list[str] | None, IDLE] = None,
    everything: Annotated[bool, _ALL] = False,
    yes: Annotated[bool, YES] = False,
    dry_run: Annotated[bool, DRY_RUN] = False,
) -> ExitStatus | None:
    """Have relays forget paths and all their claims, and show which.

    Until the client's next check, and for 5 s at most, whatever comes for such a path is dropped (reason killed). A
    check with a valid ufrag is a new decision and sets the path up again, with browsers within 3 s: to end a call for
    good, close its session; to refuse its ufrag, revoke the key. Exits with 1 if there is no such path.
    """
    wanted = make_filter(src, dst, state, idle_above)
    if everything and wanted:
        raise UsageError("--all and a choice of paths exclude each other")
    if not (everything or wanted):
        raise UsageError("expected SRC, --dst, --state or --idle-above, or --all for every path")
    refuse_unasked(yes, dry_run)
    from rtcrelay.admin.flows import kill_flows, read_flows

    errors: list[RtcrelayError] = []
    found: list[tuple[AdminClient, list[dict[str, Any]]]] = []
    for service in relays(admin, options.config):
        try:
            found.append((service, list(read_flows(service, wanted))))
        except RtcrelayError as error:
            errors.append(error)
    rows = [row for _, flows in found for row in flows]
    if rows or options.form in ("json", "jsonl"):
        show_rows(rows, flow_columns.COLUMNS, options)
    if dry_run:
        note(f"{len(rows)} flows would be killed", options)
    elif rows and not yes and not asks(f"Kill {len(rows)} flows?"):
        note("nothing was killed", options)
        return ExitStatus.PROBLEM
    elif rows or not errors:
        note(f"{sum(_kill(service, flows, errors, kill_flows) for service, flows in found)} flows killed", options)
    return report_all(errors) or (None if rows else ExitStatus.PROBLEM)


def _kill(service: AdminClient, flows: Sequence[dict[str, Any]], errors: list[RtcrelayError], ask: Any) -> int:
    try:
        return int(ask(service, flows))
    except RtcrelayError as error:
        errors.append(error)
        return 0
