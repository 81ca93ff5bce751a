"""``rtcrelay keys rotate``: a new key, accepted everywhere before it is used anywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rtcrelay import config, keys
from rtcrelay.admin.client import AdminClient
from rtcrelay.cli.key_options import (
    ADMIN,
    FORCE,
    KEY_FILE_OPTION,
    RELOAD,
    admins_of,
    done_cell,
    live_reports,
    now,
    obstacle_cell,
    refusal,
    reload_servers,
)
from rtcrelay.cli.options import Listing, parsed, whole
from rtcrelay.cli.render import Column, note, show_fields
from rtcrelay.cli.services import DRY_RUN
from rtcrelay.config.text import parse_duration
from rtcrelay.errors import BackendError, ExitStatus, UsageError
from rtcrelay.key_edit import KeyFileEdit
from rtcrelay.key_rotation import Promotion, ServerKeys, candidate, free_id, plan_promotion
from rtcrelay.keys import KeyFile

EXAMPLES = """
    rtcrelay keys rotate --dry-run
    rtcrelay keys rotate --reload --wait --timeout 10s
    rtcrelay keys rotate --key-file keys.toml --servers 6"""

_SERVERS = typer.Option(
    "--servers", metavar="N", help="How many live servers must report the key, where not all can be asked from here."
)
_WAIT = typer.Option("--wait", help="Do both steps, and wait in between until every live server reports the new key.")
_TIMEOUT = typer.Option("--timeout", metavar="DURATION", help="With --wait: at most this long, then exit with 75.")
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Rotation:
    """What was asked for."""

    options: Listing
    path: Path
    admins: Sequence[AdminClient]
    are_named: bool
    servers: int | None
    reload: bool
    force: bool
    dry_run: bool

    def reports(self) -> list[ServerKeys]:
        return live_reports(self.admins, self.options.config, are_named=self.are_named)

    def reload_servers(self) -> ExitStatus | None:
        return reload_servers(self.admins) if self.reload else None


def rotate(
    options: Listing,
    key_file: Annotated[str | None, KEY_FILE_OPTION] = None,
    admin: Annotated[list[str] | None, ADMIN] = None,
    servers: Annotated[str | None, _SERVERS] = None,
    reload: Annotated[bool, RELOAD] = False,
    wait: Annotated[bool, _WAIT] = False,
    timeout: Annotated[str | None, _TIMEOUT] = None,
    force: Annotated[bool, FORCE] = False,
    dry_run: Annotated[bool, DRY_RUN] = False,
) -> ExitStatus | None:
    """Change the key that makes ufrags, in two steps that end no call: run it twice, or once with --wait.

    First a new key is added, which servers accept and do not use yet: bring the file to every relay and transceiver,
    and have them reload. Then, when every live server reports the new key, it becomes the active one; the old one
    stays accepted until 'rtcrelay keys revoke'. Exits with 1, and says why, if a server does not have the key.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout needs --wait")
    limit = float("inf") if timeout is None else parsed("--timeout", timeout, parse_duration)
    many = None if servers is None else whole("--servers", servers, 1, 1_000_000)
    path = config.find_key_file({"key_file": key_file}, options.config)
    admins = admins_of(admin, options.config)
    wanted = _Rotation(options, path, admins, bool(admin), many, reload, force, dry_run)
    ring = keys.load_key_file(path)
    if candidate(ring.keys) is None:
        ring = _add(wanted, ring)
        status = None if dry_run else wanted.reload_servers()
        if dry_run or not wait or status:
            return status
        note("waiting until every live server reports the new key", options)
    return _promote(wanted, ring, time.monotonic() + limit if wait else None)


def _add(wanted: _Rotation, ring: KeyFile) -> KeyFile:
    """The first step; returns the ring after it."""
    number = free_id(ring.keys, now())
    if number is None:
        raise refusal(
            f"key file {wanted.path} has no free id: all eight are in use, or rest for an hour after they were revoked",
            "rtcrelay keys list",
        )
    edit = KeyFileEdit(wanted.path, now())
    edit.add(number)
    after = ring if wanted.dry_run else edit.save()
    fingerprint = dict(after.fingerprints()).get(number)
    _show(wanted, _row("add", number, fingerprint, done=not wanted.dry_run))
    note("next: bring the file to every server, reload them, and rotate again", wanted.options)
    return after


def _promote(wanted: _Rotation, ring: KeyFile, deadline: float | None) -> ExitStatus | None:
    """The second step."""
    plan, reports = _plan(wanted, ring, None if wanted.force else deadline)
    allowed = wanted.force or not plan.obstacles
    done = allowed and not wanted.dry_run
    status = None
    if done:
        edit = KeyFileEdit(wanted.path, now())
        demoted = {} if plan.demoted is None else {plan.demoted.id: "accept"}
        edit.set_states({**demoted, plan.key.id: "active"})
        edit.save()
        status = wanted.reload_servers()
    row = _row("promote", plan.key.id, plan.key.fingerprint, done=done)
    row["demoted_id"] = plan.demoted.id if plan.demoted else None
    row["obstacles"] = list(plan.obstacles)
    row["servers"] = [
        {"server": one.server, "accepts": one.accepts(plan.key), "problem": one.problem} for one in reports
    ]
    _show(wanted, row)
    if not allowed:
        raise refusal(
            f"key {plan.key.id} is not safe to mint with: {plan.obstacles[0]}",
            "bring the file to every server and reload them; --force promotes it all the same",
        )
    if done and plan.demoted is not None:
        note(f"next: reload every server; later 'rtcrelay keys revoke {plan.demoted.id}'", wanted.options)
    return status


def _plan(wanted: _Rotation, ring: KeyFile, deadline: float | None) -> tuple[Promotion, list[ServerKeys]]:
    """The promotion and what it rests on; with a deadline, once nothing is in its way."""
    while True:
        reports = wanted.reports()
        plan = plan_promotion(ring.keys, reports, wanted.servers)
        if not plan.obstacles or deadline is None:
            return plan, reports
        if time.monotonic() >= deadline:
            raise BackendError(
                f"key {plan.key.id} is not everywhere yet: {plan.obstacles[0]}",
                hint="bring the file to every server and reload them; rotate again to go on",
                status=ExitStatus.TEMPORARY,
            )
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def _row(step: str, number: int, fingerprint: str | None, *, done: bool) -> dict[str, Any]:
    return {
        "kind": "key_rotation",
        "v": 1,
        "step": step,
        "done": done,
        "id": number,
        "fingerprint": fingerprint,
        "demoted_id": None,
        "obstacles": [],
        "servers": [],
    }


def _show(wanted: _Rotation, row: dict[str, Any]) -> None:
    show_fields(row, _FIELDS, wanted.options)


def _servers_cell(row: Any) -> str | None:
    return ", ".join(f"{one['server']} {'has it' if one['accepts'] else 'lacks it'}" for one in row["servers"]) or None


_FIELDS = (
    Column("step", "STEP"),
    Column("done", "DONE", pick=done_cell),
    Column("id", "KEY"),
    Column("fingerprint", "FINGERPRINT"),
    Column("demoted_id", "DEMOTED"),
    Column("servers", "SERVERS", pick=_servers_cell),
    Column("obstacles", "OBSTACLES", pick=obstacle_cell),
)
