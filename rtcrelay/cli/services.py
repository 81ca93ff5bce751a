"""Which running services a command asks, what went wrong with them, and whether a person agrees."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import typer

from rtcrelay import config
from rtcrelay.admin.client import AdminClient
from rtcrelay.cli.app import report
from rtcrelay.config.options import CLUSTER
from rtcrelay.config.sources import load_files, resolve
from rtcrelay.errors import BackendError, ExitStatus, RtcrelayError, UsageError

Role: TypeAlias = Literal["relay", "transceiver", "signaling"]

YES = typer.Option("-y", "--yes", help="Do not ask.")
DRY_RUN = typer.Option("--dry-run", help="Show what would be done, and do nothing.")


def admin_option(whose: str, all_of_them: str) -> Any:
    """The option --admin; ``whose`` socket, and what is asked without it."""
    return typer.Option(
        "-A",
        "--admin",
        metavar="SOCKET",
        autocompletion=complete_sockets,
        help=f"Admin socket of a {whose}, repeatable. [default: what $RTCRELAY_ADMIN or the configuration file names,"
        f" else {all_of_them} in $RUNTIME_DIRECTORY, or in /run/rtcrelay and $XDG_RUNTIME_DIR/rtcrelay]",
    )


def find_services(named: Sequence[str] | None, file: Path | None, role: Role | None = None) -> list[AdminClient]:
    """The services to ask: those named, else those of this machine, of one role or of both.

    Raises BackendError if there is none.
    """
    sockets = config.find_admin_sockets(named or (), file)
    if not named and role is not None:
        sockets = [path for path in sockets if _role(path) == role]
    if not sockets:
        raise BackendError(
            f"no {role or 'service'} runs here: there is no admin socket where they are usually made",
            hint="--admin SOCKET names one",
            status=ExitStatus.UNAVAILABLE,
        )
    return [AdminClient(socket) for socket in sockets]


def report_all(errors: Sequence[RtcrelayError]) -> ExitStatus | None:
    """Tells every error; returns the gravest status, None for none."""
    for error in errors:
        report(str(error), error.hint, error.status)
    return max((error.status for error in errors), default=None)


def confirms(question: str, yes: bool) -> bool:
    """Whether a person agrees to what cannot be undone. Raises UsageError where nobody can be asked, without --yes."""
    refuse_unasked(yes)
    return yes or asks(question)


def refuse_unasked(*answers: bool) -> None:
    """Raises UsageError where nobody can be asked, unless an option (--yes, --dry-run) is the answer."""
    if not (any(answers) or sys.stdin.isatty()):
        raise UsageError("there is no terminal to ask on", hint="--yes does it, --dry-run shows what would be done")


def asks(question: str) -> bool:
    """Asks on the terminal."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _role(socket: Path) -> Role:
    """Whose socket it is, by its name; those that nobody named are called so."""
    if socket.name.startswith("transceiver-"):
        return "transceiver"
    return "signaling" if socket.name.startswith("signaling") else "relay"


def complete_sockets(incomplete: str) -> list[str]:
    """The admin sockets of this machine, by their names; none of them is asked."""
    return [str(path) for path in _sockets_here() if str(path).startswith(incomplete)]


def complete_transceivers(incomplete: str) -> list[str]:
    """The names of the transceivers of this machine, from their sockets' names."""
    names = [path.stem.removeprefix("transceiver-") for path in _sockets_here() if _role(path) == "transceiver"]
    return [name for name in names if name.startswith(incomplete)]


def complete_cluster(incomplete: str) -> list[str]:
    """The cluster that is configured here."""
    try:
        value = resolve(None, CLUSTER, {}, load_files(None, os.environ), os.environ)
    except RtcrelayError:
        return []
    return [value.words[0]] if value.words[0].startswith(incomplete) else []


def _sockets_here() -> list[Path]:
    try:
        return config.find_admin_sockets(())
    except RtcrelayError:
        return []
