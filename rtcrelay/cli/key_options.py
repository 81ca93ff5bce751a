"""What the commands that change a key ring share: options, and the servers that hold its keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from rtcrelay import config, keys
from rtcrelay.admin.client import AdminClient
from rtcrelay.cli.services import admin_option, report_all
from rtcrelay.config.options import KEY_FILE, REDIS
from rtcrelay.config.sources import load_files, resolve
from rtcrelay.errors import ExitStatus, RtcrelayError, UsageError
from rtcrelay.key_rotation import KeyReports, ServerKeys, collect

KEY_FILE_HELP = f"{KEY_FILE.help} [default: {KEY_FILE.default_help}] [env: {KEY_FILE.variable}]"
KEY_FILE_OPTION = typer.Option("--key-file", metavar="FILE", help=KEY_FILE_HELP)
ADMIN = admin_option("service", "all")
RELOAD = typer.Option("--reload", help="Have the servers that are asked read their files again, as SIGHUP does.")
FORCE = typer.Option("--force", help="Do it although calls may end or be refused.")


def live_reports(admins: Sequence[AdminClient], file: Path | None, *, are_named: bool) -> list[ServerKeys]:
    """What the servers behind these sockets report and, if a Redis is configured, all that show in it that they
    live."""
    from rtcrelay.admin.key_reports import AdminKeyReports

    sources: list[KeyReports] = [AdminKeyReports(admins, are_named)]
    if resolve(None, REDIS, {}, load_files(file, os.environ), os.environ).parsed is not None:
        sources.append(_Heartbeats(file))
    return collect(sources)


@dataclass(frozen=True, slots=True)
class _Heartbeats:
    """The servers that show in Redis that they live, as `KeyReports`."""

    file: Path | None

    def read(self) -> Sequence[ServerKeys]:
        """See `KeyReports.read`. Without Redis nobody knows who lives, which is a report of its own."""
        from rtcrelay.cli.redis_access import with_store
        from rtcrelay.store.directory import read_nodes

        try:
            nodes = with_store({}, self.file, read_nodes)
        except RtcrelayError as error:
            return [ServerKeys("whoever shows in Redis that it lives", {}, str(error))]
        return [
            ServerKeys(
                f"{node.role} {node.node} (heartbeat)",
                {key.id: (key.fingerprint, key.state) for key in node.keys},
                process=(node.process.host, node.process.pid),
            )
            for node in nodes.found
        ]


def admins_of(named: Sequence[str] | None, file: Path | None) -> list[AdminClient]:
    """The admin sockets that are named, else those of this machine; perhaps none."""
    return [AdminClient(socket) for socket in config.find_admin_sockets(named or (), file)]


def reload_servers(admins: Sequence[AdminClient]) -> ExitStatus | None:
    """Has them read their files again, and tells what went wrong."""
    from rtcrelay.admin.key_reports import reload_all

    return report_all(reload_all(admins))


def refusal(message: str, hint: str) -> UsageError:
    """A step that would do harm: the answer is no."""
    return UsageError(message, hint=hint, status=ExitStatus.PROBLEM)


def complete_key_ids(incomplete: str) -> list[str]:
    """The ids in the key ring that is configured."""
    try:
        ring = keys.load_key_file(config.find_key_file({}))
    except RtcrelayError:
        return []
    return [str(key.id) for key in ring.keys if str(key.id).startswith(incomplete)]


def now() -> datetime:
    """The time that files and rules speak of."""
    return datetime.now(UTC)


def time_field(when: datetime | None) -> str | None:
    """A time as JSON has it."""
    return None if when is None else keys.format_time(when)


def obstacle_cell(row: Any) -> str | None:
    """Why a step is dangerous, as one cell."""
    return "; ".join(row["obstacles"]) or None


def done_cell(row: Any) -> str:
    """Whether it was done, as a word."""
    return "yes" if row["done"] else "no"
