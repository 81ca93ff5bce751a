"""``rtcrelay keys revoke``: a key is refused, once nobody needs it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from rtcrelay import config, keys
from rtcrelay.cli.key_options import (
    ADMIN,
    FORCE,
    KEY_FILE_OPTION,
    RELOAD,
    admins_of,
    complete_key_ids,
    done_cell,
    live_reports,
    now,
    obstacle_cell,
    refusal,
    reload_servers,
    time_field,
)
from rtcrelay.cli.options import Listing, whole
from rtcrelay.cli.render import Column, note, show_fields
from rtcrelay.cli.services import DRY_RUN, YES, confirms
from rtcrelay.config.options import TRANSCEIVER
from rtcrelay.config.sources import load_files, resolve
from rtcrelay.errors import ExitStatus
from rtcrelay.key_edit import KeyFileEdit
from rtcrelay.key_rotation import ID_REST, revocable_from, revoke_obstacles
from rtcrelay.keys import Key, KeyFile

EXAMPLES = """
    rtcrelay keys revoke 0 --dry-run
    rtcrelay keys revoke 0 --key-file keys.toml --yes --reload"""

_KEY = typer.Argument(metavar="KEY", help="Number of the key, 0 to 7.", autocompletion=complete_key_ids)
_MAX_SESSION = typer.Option(
    "--max-session-duration",
    metavar="DURATION",
    help="The longest that a session may last. [default: the transceivers' setting, 2h]",
)


def revoke(
    options: Listing,
    key_id: Annotated[str, _KEY],
    key_file: Annotated[str | None, KEY_FILE_OPTION] = None,
    admin: Annotated[list[str] | None, ADMIN] = None,
    max_session: Annotated[str | None, _MAX_SESSION] = None,
    reload: Annotated[bool, RELOAD] = False,
    force: Annotated[bool, FORCE] = False,
    yes: Annotated[bool, YES] = False,
    dry_run: Annotated[bool, DRY_RUN] = False,
) -> ExitStatus | None:
    """Have a key refused, once no session of it can be left. Says how many flows and sessions end with it.

    Refused with 1 while the key is active, while a server still mints with it, and until the longest session after
    its demotion is over; --force overrides the last two, for a key that has leaked. Its id is free an hour later.
    """
    from rtcrelay.admin.key_reports import KeyUse, read_key_use

    path = config.find_key_file({"key_file": key_file}, options.config)
    ring = keys.load_key_file(path)
    key = _accepted(ring, whole("KEY", key_id, 0, keys.MAX_KEY_ID))
    longest = _longest_session(max_session, options.config)
    admins = admins_of(admin, options.config)
    reports = live_reports(admins, options.config, are_named=bool(admin))
    obstacles = revoke_obstacles(key, ring.keys, reports, longest, now())
    use = read_key_use(admins, key.id) if reports else KeyUse(None, None)
    row = {
        "kind": "key_revocation",
        "v": 1,
        "id": key.id,
        "fingerprint": key.fingerprint,
        "done": False,
        "flows": use.flows,
        "sessions": use.sessions,
        "servers_asked": len(reports),
        "obstacles": obstacles,
        "revocable_from": time_field(revocable_from(key, ring.keys, longest)),
        "id_free_from": None,
    }
    if obstacles and not force:
        show_fields(row, _FIELDS, options)
        raise refusal(f"key {key.id} is still in use: {obstacles[0]}", "--force revokes a key that has leaked")
    if dry_run:
        show_fields(row, _FIELDS, options)
        return None
    if not confirms(f"Revoke key {key.id} ({key.fingerprint}), which ends {use}?", yes):
        return ExitStatus.PROBLEM
    edit = KeyFileEdit(path, now())
    edit.set_states({key.id: "revoked"})
    edit.save()
    status = reload_servers(admins) if reload else None
    show_fields(row | {"done": True, "id_free_from": time_field(now() + ID_REST)}, _FIELDS, options)
    note(f"ends {use}" if reload else "next: bring the file to every server and reload them", options)
    return status


def _accepted(ring: KeyFile, number: int) -> Key:
    """The key of that number, if it can be revoked at all."""
    key = next((one for one in ring.keys if one.id == number), None)
    if key is None or key.state == "revoked":
        has = ", ".join(str(one.id) for one in ring.keys if one.state != "revoked") or "none"
        why = "is revoked already" if key else "is not there"
        raise refusal(f"key {number} {why}: {ring.path} accepts {has}", "rtcrelay keys list")
    if key.state == "active":
        raise refusal(
            f"key {number} is the active one: without it no transceiver could take a call",
            "'rtcrelay keys rotate' makes another one active first",
        )
    return key


def _longest_session(given: str | None, file: Path | None) -> timedelta:
    setting = next(setting for setting in TRANSCEIVER if setting.name == "max_session_duration")
    flags = {"max_session_duration": given}
    return timedelta(seconds=resolve("transceiver", setting, flags, load_files(file, os.environ), os.environ).parsed)


def _count(name: str) -> Any:
    return lambda row: "unknown" if row[name] is None else str(row[name])


_FIELDS = (
    Column("id", "KEY"),
    Column("fingerprint", "FINGERPRINT"),
    Column("done", "DONE", pick=done_cell),
    Column("flows", "FLOWS", pick=_count("flows")),
    Column("sessions", "SESSIONS", pick=_count("sessions")),
    Column("obstacles", "OBSTACLES", pick=obstacle_cell),
    Column("revocable_from", "REVOCABLE FROM"),
    Column("id_free_from", "ID FREE FROM"),
)
