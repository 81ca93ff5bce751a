"""What the commands of ``rtcrelay flows`` share: options, filters, and which relays to ask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rtcrelay.admin.client import AdminClient
from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import parsed
from rtcrelay.cli.services import admin_option, find_services
from rtcrelay.cli.services import report_all as report_all
from rtcrelay.config.text import one_of, parse_duration

if TYPE_CHECKING:
    from rtcrelay.admin.flows import Filter

app = new_group()

ADMIN = admin_option("relay", "all relays")
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
    return find_services(named, file, "relay")


def compact(row: dict[str, Any]) -> str:
    """A JSON object as one line."""
    return json.dumps(row, separators=(",", ":"))
