"""``rtcrelay sdp``: what a session description says, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Listing, leaf, parsed
from rtcrelay.cli.packets import OPTIONAL_KEY_FILE, maybe_key_file
from rtcrelay.cli.render import Column, Row, note, show_fields, show_rows
from rtcrelay.config.options import PUBLIC_PORT
from rtcrelay.config.text import address
from rtcrelay.debug.captures import open_input
from rtcrelay.debug.sdp_inspection import Inspection, description_text, inspect_description, inspection_row
from rtcrelay.debug.ufrags import ufrag_phrase
from rtcrelay.errors import ExitStatus, UsageError
from rtcrelay.rtc.sdp import MAX_BYTES

app = new_group()
# One command in a group would become the group itself.
app.callback()(lambda: None)

FACTS = (
    Column("role", "DESCRIPTION"),
    Column("bundle", "BUNDLE", pick=lambda row: " ".join(row["bundle"]) or "none"),
    Column("ice_lite", "ICE-LITE", pick=lambda row: "yes" if row["ice_lite"] else "no"),
    Column("ufrag", "UFRAG", pick=lambda row: row["ufrags"][0]["ufrag"] if row["ufrags"] else None),
    Column("route", "ROUTE", pick=lambda row: _route(row)),
)
MEDIA = (
    Column("mid", "MID"),
    Column("media", "MEDIA"),
    Column("direction", "DIRECTION"),
    Column("setup", "SETUP"),
    Column("rtcp_mux", "MUX", pick=lambda row: "yes" if row["rtcp_mux"] else "no"),
    Column("opus", "OPUS", right=True, pick=lambda row: row["opus"] and row["opus"]["payload_type"]),
    Column("parameters", "PARAMETERS", pick=lambda row: row["opus"] and row["opus"]["parameters"]),
)
CANDIDATES = (
    Column("address", "CANDIDATE"),
    Column("transport", "TRANSPORT"),
    Column("type", "TYPE"),
    Column("component", "COMP", right=True),
    Column("priority", "PRIORITY", right=True),
)
FINDINGS = (Column("level", "LEVEL"), Column("code", "FINDING", unbroken=True), Column("message", "WHY"))

_VIP = typer.Option(
    "--vip", metavar="ADDR", help="Public address that the candidates must name, IP[:3478]; repeatable."
)
_FILE = typer.Argument(metavar="FILE", help="SDP, or a JSON object with the member sdp; - or nothing is stdin.")


@leaf(
    app,
    "inspect",
    listing=True,
    examples="""
    rtcrelay sdp inspect offer.sdp
    curl -s --data-binary @offer.sdp -H 'Content-Type: application/sdp' http://127.0.0.1:8080/whip \\
        | rtcrelay sdp inspect --vip 127.0.0.1:3478 --key-file keys.toml""",
)
def inspect(
    options: Listing,
    file: Annotated[str, _FILE] = "-",
    vip: Annotated[list[str] | None, _VIP] = None,
    key_file: Annotated[str | None, OPTIONAL_KEY_FILE] = None,
) -> ExitStatus | None:
    """Read a session description, an offer or an answer, and look for what keeps a call from working.

    The parser is the transceiver's own. A fault means that the call cannot work, or not through the relay; a warning
    that it may not, or that the description tells too much. Exits with 1 if there is a fault, with 65 if it is no
    session description.
    """
    vips = [parsed("--vip", word, address(PUBLIC_PORT, concrete=True)) for word in vip or ()]
    keys = maybe_key_file(key_file, options)
    if file == "-" and sys.stdin.isatty():
        raise UsageError("expected a file, or a session description on stdin")
    with open_input(file) as stream:
        text = description_text(stream.read(4 * MAX_BYTES))
    found = inspect_description(text, vips=vips, ring=keys.ring if keys else None)
    row = inspection_row(found)
    if options.form in ("json", "jsonl"):
        print(json.dumps(row, indent=2 if options.form == "json" else None))
    else:
        _show(row, options)
    _conclude(found, options)
    return ExitStatus.PROBLEM if found.has_faults else None


def _show(row: dict[str, Any], options: Listing) -> None:
    show_fields(row, FACTS, options)
    for name, columns in (("media", MEDIA), ("candidates", CANDIDATES), ("findings", FINDINGS)):
        if row[name]:
            print()
            show_rows(row[name], columns, options)


def _conclude(found: Inspection, options: Listing) -> None:
    faults = sum(finding.level == "fault" for finding in found.findings)
    note(f"{faults} faults, {len(found.findings) - faults} warnings", options)


def _route(row: Row) -> str | None:
    if not row["ufrags"] or "verdict" not in row["ufrags"][0]:
        return None
    return ufrag_phrase(row["ufrags"][0])
