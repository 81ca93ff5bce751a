"""``rtcrelay flows list`` and ``get``: the paths of relays at this moment."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from rtcrelay.admin.client import AdminClient
from rtcrelay.cli import flow_columns
from rtcrelay.cli.flow_options import ADMIN, DST, IDLE, SRC, STATE, WIDE, app, make_filter, relays, report_all
from rtcrelay.cli.options import Listing, leaf
from rtcrelay.cli.render import Column, note, show_fields, show_rows
from rtcrelay.errors import ExitStatus, RtcrelayError


@leaf(
    app,
    "list",
    listing=True,
    examples="""
    rtcrelay flows list
    rtcrelay flows list --src 127.0.0.0/8 --state strong --sort-by -idle_s
    rtcrelay flows list -o jsonl | jq 'select(.one_way)'""",
)
def list_flows(
    options: Listing,
    admin: Annotated[list[str] | None, ADMIN] = None,
    src: Annotated[list[str] | None, SRC] = None,
    dst: Annotated[list[str] | None, DST] = None,
    state: Annotated[list[str] | None, STATE] = None,
    idle_above: Annotated[list[str] | None, IDLE] = None,
    wide: Annotated[bool, WIDE] = False,
) -> ExitStatus | None:
    """List the paths of relays: where each leads, what passed, and how it fares on each leg.

    ">" is from the client as it reached the relay, "<" from the transceiver; jitter and round trips (RTT-C relay to
    client and back, RTT-T relay to transceiver and back) are in milliseconds. What the relay cannot know is "-".
    ONE-WAY names the only side that sends. Exits with 69 if a relay cannot be reached.
    """
    from rtcrelay.admin.flows import read_flows, read_pages

    wanted = make_filter(src, dst, state, idle_above)
    form = options.form or ("table" if sys.stdout.isatty() else "plain")
    errors: list[RtcrelayError] = []
    rows: list[dict[str, Any]] = []
    if form in ("json", "jsonl") and not (wanted or options.sort_by or options.limit is not None):
        # As the relays wrote it: 100,000 flows are read and written twice as fast.
        _copy(relays(admin, options.config), form, errors, read_pages)
        return report_all(errors)
    for service in relays(admin, options.config):
        try:
            rows += read_flows(service, wanted)
        except RtcrelayError as error:
            errors.append(error)
    columns: Sequence[Column] = flow_columns.WIDE if wide else flow_columns.COLUMNS
    if form == "table" and not wide:
        columns = flow_columns.fitting(columns, rows, shutil.get_terminal_size().columns)
    if form in ("json", "jsonl") and not options.sort_by and options.limit is None:
        _write_json(rows, form)
    elif rows or form in ("json", "jsonl"):
        show_rows(rows, columns, options)
    if form in ("table", "plain") and (rows or not errors):
        note(f"{len(rows)} flows", options)
    return report_all(errors)


@leaf(
    app,
    "get",
    listing=True,
    examples="""
    rtcrelay flows get 198.51.100.7:51234
    rtcrelay flows get 127.0.0.1 --json""",
)
def get(
    options: Listing,
    client: Annotated[str, typer.Argument(metavar="SRC", help="The client: IP:PORT, or IP for all its paths.")],
    admin: Annotated[list[str] | None, ADMIN] = None,
) -> ExitStatus | None:
    """Show all that is known of a client's paths. Exits with 1 if there are none."""
    from rtcrelay.admin.flows import read_flows

    wanted, errors, found = make_filter([client], None, None, None), list[RtcrelayError](), list[dict[str, Any]]()
    for service in relays(admin, options.config):
        try:
            found += read_flows(service, wanted)
        except RtcrelayError as error:
            errors.append(error)
    if len(found) == 1:
        show_fields(found[0], flow_columns.WIDE, options)
    elif found:
        show_rows(found, flow_columns.WIDE, options)
    return report_all(errors) or (None if found else ExitStatus.PROBLEM)


def _write_json(rows: Sequence[dict[str, Any]], form: str) -> None:
    import msgspec

    text = (",\n" if form == "json" else "\n").join(msgspec.json.encode(row).decode() for row in rows)
    print(f"[{text}]" if form == "json" else text, end="\n" if text or form == "json" else "")


def _copy(services: Sequence[AdminClient], form: str, errors: list[RtcrelayError], read_pages: Any) -> None:
    out = sys.stdout.buffer if hasattr(sys.stdout, "buffer") else None
    separator, any_yet = b",\n" if form == "json" else b"\n", False

    def write(content: bytes) -> None:
        if out is None:
            sys.stdout.write(content.decode())
        else:
            out.write(content)

    sys.stdout.flush()
    write(b"[" if form == "json" else b"")
    for service in services:
        try:
            for flows in read_pages(service):
                if flows:
                    write((separator if any_yet else b"") + separator.join(map(bytes, flows)))
                    any_yet = True
        except RtcrelayError as error:
            errors.append(error)
    write(b"]\n" if form == "json" else b"\n" if any_yet else b"")
