"""``rtcrelay sessions``: the calls of running transceivers, one by one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rtcrelay.admin.client import AdminClient
from rtcrelay.cli.app import new_group
from rtcrelay.cli.flow_columns import fitting
from rtcrelay.cli.options import Listing, leaf, parsed
from rtcrelay.cli.render import Column, note, show_fields, show_rows
from rtcrelay.cli.services import DRY_RUN, YES, admin_option, complete_transceivers, confirms, find_services, report_all
from rtcrelay.config.text import format_duration, one_of, parse_duration, parse_name
from rtcrelay.errors import ExitStatus, RtcrelayError, UsageError

app = new_group()

_ADMIN = admin_option("transceiver", "all transceivers")
_SRC = typer.Option("--src", metavar="ADDR", help="Clients: IP, CIDR or IP:PORT. Repeatable: any of them.")
_STATE = typer.Option(
    "--state",
    metavar="STATE",
    autocompletion=lambda: ["new", "checked", "connected"],
    help="new (no check came yet), checked, connected (DTLS is complete). Repeatable: any of them.",
)
_NODE = typer.Option(
    "--node",
    metavar="NAME",
    autocompletion=complete_transceivers,
    help="Transceivers by name. Repeatable: any of them.",
)
_IDLE = typer.Option(
    "--idle-above", metavar="DURATION", help="Nothing authentic came for longer. Repeatable: any of them."
)
_WIDE = typer.Option("-w", "--wide", help="More columns: transceiver, packets, paths, address changes.")
_NAME_HELP = "Session id or at least 4 characters of its beginning, or a ufrag, or a client's IP:PORT."


def _number(field: str, digits: int) -> Any:
    return lambda row: None if row[field] is None else f"{row[field]:.{digits}f}"


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['loss_in']:.1f}/{100 * row['loss_out']:.1f}"


def _jitter(row: Mapping[str, Any]) -> str:
    return f"{row['jitter_in_ms']:.1f}/{row['jitter_out_ms']:.1f}"


def _ice(row: Mapping[str, Any]) -> str:
    return "unchecked" if row["client"] is None else "validated" if row["path_validated"] else "checked"


def _age(row: Mapping[str, Any]) -> str:
    return format_duration(round(row["age_s"]))


SID = Column("id", "SID", unbroken=True)
STATE = Column("state", "STATE")
SRC = Column("client", "SRC", unbroken=True)
ROUND_TRIP = Column("round_trip_ms", "RTT", right=True, pick=_number("round_trip_ms", 1))
LOSS = Column("loss_in", "LOSS%", right=True, pick=_percent)
JITTER = Column("jitter_in_ms", "JITTER", right=True, pick=_jitter)
AGE = Column("age_s", "AGE", right=True, pick=_age)
ICE = Column("ice", "ICE", pick=_ice)
DTLS = Column("dtls", "DTLS")
UFRAG = Column("ufrag", "UFRAG", unbroken=True)
NODE = Column("node", "NODE")
COUNTS = (
    Column("rtp_packets_in", "PKTS>", right=True),
    Column("rtp_packets_out", "<PKTS", right=True),
    Column("paths", "PATHS", right=True),
    Column("moves", "MOVES", right=True),
)
COLUMNS = (SID, STATE, ICE, DTLS, SRC, UFRAG, ROUND_TRIP, LOSS, JITTER, AGE)
"""Of a listing."""
WIDE = (SID, NODE, *COLUMNS[1:-1], *COUNTS, AGE)
"""With --wide."""
LEAST = (DTLS, ICE, JITTER, UFRAG, LOSS, ROUND_TRIP, AGE)
"""What a narrow terminal leaves out first."""


@leaf(
    app,
    "list",
    listing=True,
    examples="""
    rtcrelay sessions list
    rtcrelay sessions list --state connected --sort-by -age_s --wide
    rtcrelay sessions list -o jsonl | jq 'select(.loss_in > 0.05)'""",
)
def list_sessions(
    options: Listing,
    admin: Annotated[list[str] | None, _ADMIN] = None,
    src: Annotated[list[str] | None, _SRC] = None,
    state: Annotated[list[str] | None, _STATE] = None,
    node: Annotated[list[str] | None, _NODE] = None,
    idle_above: Annotated[list[str] | None, _IDLE] = None,
    wide: Annotated[bool, _WIDE] = False,
) -> ExitStatus | None:
    """List the sessions of transceivers: who calls, how far set-up is, and how it sounds.

    LOSS% and JITTER (milliseconds) are from the client / to the client, as the last reports say; RTT is in
    milliseconds. "-": not known yet. Exits with 69 if a transceiver cannot be reached.
    """
    from rtcrelay.admin.sessions import read_sessions

    wanted = _filter((), src, state, node, idle_above)
    rows, errors = read_sessions(find_services(admin, options.config, "transceiver"), wanted)
    columns: Sequence[Column] = WIDE if wide else COLUMNS
    form = options.form or ("table" if sys.stdout.isatty() else "plain")
    if form == "table" and not wide:
        columns = fitting(columns, rows, shutil.get_terminal_size().columns, LEAST)
    if rows or form in ("json", "jsonl"):
        show_rows(rows, columns, options)
    if form in ("table", "plain") and (rows or not errors):
        note(f"{len(rows)} sessions", options)
    return report_all(errors)


@leaf(
    app,
    "get",
    listing=True,
    examples="""
    rtcrelay sessions get "$(rtcrelay sessions list -o jsonl | jq -r .client | head -n 1)"
    rtcrelay sessions list -o jsonl | jq -r .id | xargs -n 1 rtcrelay sessions get --json""",
)
def get(
    options: Listing,
    name: Annotated[str, typer.Argument(metavar="SESSION", help=_NAME_HELP)],
    admin: Annotated[list[str] | None, _ADMIN] = None,
) -> ExitStatus | None:
    """Show all that is known of a session: its paths, its reports, its channels, its set-up in milliseconds.

    Exits with 1 if there is none of that name.
    """
    from rtcrelay.admin.sessions import read_fully, read_sessions

    rows, errors = read_sessions(
        find_services(admin, options.config, "transceiver"), _filter((name,), None, None, None, None)
    )
    found = [full for row in rows if (full := read_fully(AdminClient(Path(row["socket"])), row["id"])) is not None]
    if len(found) == 1:
        _show(found[0], options)
    elif found:
        show_rows(found, WIDE, options)
    if not found and not errors:
        note(f"no session is called {name}", options)
    return report_all(errors) or (None if found else ExitStatus.PROBLEM)


@leaf(
    app,
    "close",
    listing=True,
    examples="""
    rtcrelay sessions close 6f0c2a
    rtcrelay sessions close --state new --idle-above 5s --dry-run
    rtcrelay sessions close --all --yes -A /run/rtcrelay/transceiver-a.sock""",
)
def close(
    options: Listing,
    names: Annotated[list[str] | None, typer.Argument(metavar="SESSION", help=_NAME_HELP)] = None,
    admin: Annotated[list[str] | None, _ADMIN] = None,
    src: Annotated[list[str] | None, _SRC] = None,
    state: Annotated[list[str] | None, _STATE] = None,
    node: Annotated[list[str] | None, _NODE] = None,
    idle_above: Annotated[list[str] | None, _IDLE] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every session.")] = False,
    yes: Annotated[bool, YES] = False,
    dry_run: Annotated[bool, DRY_RUN] = False,
) -> ExitStatus | None:
    """End sessions. Their clients are told at once, over the data channel and by DTLS close_notify.

    A person is asked first; elsewhere --yes is necessary. Shows what was closed; exits with 1 if nothing was.
    """
    from rtcrelay.admin.sessions import close as close_session
    from rtcrelay.admin.sessions import read_sessions, refuse_ambiguous

    wanted = _filter(names, src, state, node, idle_above)
    if bool(wanted) == everything:
        raise UsageError("expected sessions, or filters, or --all for every session" if not everything else
                         "--all does not go with sessions or filters")  # fmt: skip
    rows, errors = read_sessions(find_services(admin, options.config, "transceiver"), wanted)
    refuse_ambiguous(rows, names or ())
    if rows and not dry_run:
        what = f"Close {len(rows)} sessions?" if len(rows) > 1 else f"Close session {rows[0]['id']}?"
        if not confirms(what, yes):
            return ExitStatus.PROBLEM
        closed: list[dict[str, Any]] = []
        for row in rows:
            try:
                done = close_session(AdminClient(Path(row["socket"])), row["id"])
            except RtcrelayError as error:
                errors.append(error)
            else:
                closed += [done] if done is not None else []
        rows = closed
    if rows or options.form in ("json", "jsonl"):
        show_rows(rows, (SID, NODE, STATE, SRC, UFRAG, AGE), options)
    note(f"{len(rows)} sessions {'would be ' if dry_run else ''}closed", options)
    return report_all(errors) or (None if rows else ExitStatus.PROBLEM)


def _filter(
    names: Sequence[str] | None,
    src: Sequence[str] | None,
    state: Sequence[str] | None,
    node: Sequence[str] | None,
    idle: Sequence[str] | None,
) -> Any:
    from rtcrelay.admin.flows import parse_matcher
    from rtcrelay.admin.sessions import LEAST_PREFIX, STATES, Filter

    for name in names or ():
        if len(name) < LEAST_PREFIX:
            raise UsageError(f"{name!r} is too short, expected at least {LEAST_PREFIX} characters of an id")
    return Filter(
        tuple(names or ()),
        tuple(parsed("--src", word, parse_matcher) for word in src or ()),
        tuple(parsed("--state", word, one_of(*STATES)) for word in state or ()),
        tuple(parsed("--node", word, parse_name) for word in node or ()),
        tuple(parsed("--idle-above", word, parse_duration) for word in idle or ()),
    )


_PATHS = (
    Column("client", "PATH", unbroken=True),
    Column("ingress", "INGRESS", right=True),
    Column("selected", "SELECTED", pick=lambda row: "yes" if row["selected"] else "no"),
    Column("validated", "VALIDATED", pick=lambda row: "yes" if row["validated"] else "no"),
    Column("idle_s", "IDLE", right=True, pick=lambda row: f"{row['idle_s']:.1f}s"),
)
_SOURCES = (
    Column("ssrc", "SSRC", right=True),
    Column("packets", "PACKETS", right=True),
    Column("lost_packets", "LOST", right=True),
    Column("loss", "LOSS%", right=True, pick=lambda row: f"{100 * row['loss']:.1f}"),
    Column("jitter_ms", "JITTER", right=True, pick=lambda row: f"{row['jitter_ms']:.1f}"),
)


def _show(row: dict[str, Any], options: Listing) -> None:
    """Every field on a line of its own, then paths and sources as tables."""
    fields = [
        Column(name, name.upper(), pick=(lambda row: " ".join(row["channel_labels"]) or None))
        if name == "channel_labels"
        else Column(name, name.upper())
        for name in row
        if name not in ("kind", "v", "all_paths", "sources")
    ]
    show_fields(row, fields, options)
    if options.form in ("json", "jsonl"):
        return
    for rows, columns in ((row["all_paths"], _PATHS), (row["sources"], _SOURCES)):
        if rows:
            print()
            show_rows(rows, columns, options)
