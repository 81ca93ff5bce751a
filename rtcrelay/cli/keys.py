"""``rtcrelay keys``: make and show key files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtcrelay import config, keys
from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Common, Listing, leaf, whole
from rtcrelay.cli.render import Column, note, show_rows
from rtcrelay.config.options import KEY_FILE

app = new_group()

COLUMNS = (
    Column("id", "ID", right=True),
    Column("state", "STATE"),
    Column("fingerprint", "FINGERPRINT"),
    Column("created", "CREATED"),
)

KEY_FILE_HELP = f"{KEY_FILE.help} [default: {KEY_FILE.default_help}] [env: {KEY_FILE.variable}]"


@leaf(
    app,
    "generate",
    examples="""
    rtcrelay keys generate -o keys.toml
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


@leaf(app, "list", listing=True, examples="rtcrelay keys list --key-file keys.toml\nrtcrelay keys list --json")
def list_keys(
    options: Listing,
    key_file: Annotated[str | None, typer.Option("--key-file", metavar="FILE", help=KEY_FILE_HELP)] = None,
) -> None:
    """Show the keys of a key file, without their secrets.

    A key's fingerprint is the same on every server that holds the key.
    """
    path = config.find_key_file({"key_file": key_file}, options.config)
    rows = [
        {
            "kind": "key",
            "v": 1,
            "id": key.id,
            "state": key.state,
            "fingerprint": key.fingerprint,
            "created": keys.format_time(key.created) if key.created else None,
        }
        for key in keys.load_key_file(path).keys
    ]
    show_rows(rows, COLUMNS, options)
