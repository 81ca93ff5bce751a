"""``rtcrelay keys``: make and show key files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rtcrelay import config, keys
from rtcrelay.cli import key_revoke, key_rotate
from rtcrelay.cli.app import new_group
from rtcrelay.cli.key_options import ADMIN, KEY_FILE_OPTION, admins_of, live_reports, time_field
from rtcrelay.cli.options import Common, Listing, leaf, whole
from rtcrelay.cli.render import Column, note, show_rows

app = new_group()

COLUMNS = (
    Column("id", "ID", right=True),
    Column("state", "STATE"),
    Column("fingerprint", "FINGERPRINT"),
    Column("created", "CREATED"),
    Column("changed", "CHANGED"),
)


@leaf(
    app,
    "generate",
    examples="""
    rtcrelay keys generate -o new.toml
    rtcrelay keys generate | kubectl create secret generic rtcrelay-keys --from-file=keys.toml=/dev/stdin""",
)
def generate(
    common: Common,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help="File to write. [default: stdout]")
    ] = None,
    key_id: Annotated[
        str, typer.Option("--id", metavar="N", help="Number of the key in ufrags, 0 to 7. [default: 0]")
    ] = "0",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Make a key file with one new key.

    The file is written with mode 0600. Relays and transceivers that serve the same public address need the same file.
    """
    content = keys.generate(whole("--id", key_id, 0, keys.MAX_KEY_ID))
    if out is None:
        print(content, end="")
        return
    keys.write_key_file(Path(out), content, force=force)
    number, fingerprint = keys.load_key_file(Path(out)).fingerprints()[0]
    note(f"wrote {out}: key {number}, fingerprint {fingerprint}", common)


leaf(app, "rotate", listing=True, examples=key_rotate.EXAMPLES)(key_rotate.rotate)
leaf(app, "revoke", listing=True, examples=key_revoke.EXAMPLES)(key_revoke.revoke)


@leaf(
    app,
    "list",
    listing=True,
    examples="""
    rtcrelay keys list
    rtcrelay keys list --key-file keys.toml --json
    rtcrelay keys list --live""",
)
def list_keys(
    options: Listing,
    key_file: Annotated[str | None, KEY_FILE_OPTION] = None,
    admin: Annotated[list[str] | None, ADMIN] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the live servers which of the keys they accept.")] = False,
) -> None:
    """Show the keys of a key file, without their secrets.

    A key's fingerprint is the same on every server that holds the key.
    """
    path = config.find_key_file({"key_file": key_file}, options.config)
    reports = (
        live_reports(admins_of(admin, options.config), options.config, are_named=bool(admin)) if live or admin else None
    )
    rows = [
        {
            "kind": "key",
            "v": 1,
            "id": key.id,
            "state": key.state,
            "fingerprint": key.fingerprint,
            "created": time_field(key.created),
            "changed": time_field(key.changed),
            "servers": None if reports is None else [one.server for one in reports if one.accepts(key)],
        }
        for key in keys.load_key_file(path).keys
    ]
    asked = () if reports is None else (Column("servers", "SERVERS", pick=lambda row: _of(row, len(reports))),)
    show_rows(rows, (*COLUMNS, *asked), options)
    for report in reports or ():
        if report.problem is not None:
            note(f"{report.server}: {report.problem}", options)


def _of(row: Any, servers: int) -> str:
    return f"{len(row['servers'])} of {servers}"
