"""What the commands of ``rtcrelay flows`` share: options, filters, and which relays to ask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rtcrelay import config
from rtcrelay.admin.client import AdminClient
from rtcrelay.cli.app import new_group, report
from rtcrelay.cli.options import parsed
from rtcrelay.config.text import one_of, parse_duration
from rtcrelay.errors import BackendError, ExitStatus, RtcrelayError

if TYPE_CHECKING:
    from rtcrelay.admin.flows import Filter

app = new_group()

ADMIN = typer.Option(
    "-A",
    "--admin",
    metavar="SOCKET",
    help="Admin socket of a relay, repeatable. [default: what $RTCRELAY_ADMIN or the configuration file names, else"
    " all relays in $RUNTIME_DIRECTORY, or in /run/rtcrelay and $XDG_RUNTIME_DIR/rtcrelay]",
)
SRC = typer.Option("--src", metavar="ADDR", help="Clients: IP, CIDR or IP:PORT. Repeatable: any of them.")
DST = typer.Option("--dst", metavar="ADDR", help="Next hops: IP, CIDR or IP:PORT. Repeatable: any of them.")
STATE = typer.Option(
    "--state",
    metavar="STATE",
    autocompletion=lambda: ["strong", "weak", "pending", "none"],
    help="State of the surest claim: strong (media came back), weak (a check was answered), pending (a check was"
    " sent), none. Repeatable: any of them.",
)
IDLE = typer.Option("--idle-above", metavar="DURATION", help="Without a packet for longer. Repeatable: any of them.")
WIDE = typer.Option("-w", "--wide", help="More columns: reordered packets, age, ingress id, relay.")


def make_filter(
    src: Sequence[str] | None, dst: Sequence[str] | None, state: Sequence[str] | None, idle: Sequence[str] | None
) -> Filter:
    """The filter that options say. Raises UsageError."""
    from rtcrelay.admin.flows import STATES, Filter, parse_matcher

    return Filter(
        tuple(parsed("--src", word, parse_matcher) for word in src or ()),
        tuple(parsed("--dst", word, parse_matcher) for word in dst or ()),
        tuple(parsed("--state", word, one_of(*STATES)) for word in state or ()),
        tuple(parsed("--idle-above", word, parse_duration) for word in idle or ()),
    )


def relays(named: Sequence[str] | None, file: Path | None) -> list[AdminClient]:
    """The relays to ask: those named, else those of this machine. Raises BackendError if there is none."""
    sockets = config.find_admin_sockets(named or (), file)
    if not named:
        sockets = [path for path in sockets if not path.name.startswith("transceiver-")]
    if not sockets:
        raise BackendError(
            "no relay runs here: there is no admin socket where they are usually made",
            hint="--admin SOCKET names one",
            status=ExitStatus.UNAVAILABLE,
        )
    return [AdminClient(socket) for socket in sockets]


def report_all(errors: Sequence[RtcrelayError]) -> ExitStatus | None:
    """Tells every error; returns the gravest status, None for none."""
    for error in errors:
        report(str(error), error.hint, error.status)
    return max((error.status for error in errors), default=None)


def compact(row: dict[str, Any]) -> str:
    """A JSON object as one line."""
    return json.dumps(row, separators=(",", ":"))
