"""``rtcrelay lab``: a small world on one machine, to see what distance, loss and crashes do."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Common, Listing, Output, leaf, parsed
from rtcrelay.cli.render import Column, note, show_rows
from rtcrelay.config.text import one_of, parse_name
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay.lab.lab import HostStatus, Lab
    from rtcrelay.lab.plan import Plan

app = new_group()

HOSTS = (
    Column("name", "HOST"),
    Column("role", "ROLE"),
    Column("private", "PRIVATE", unbroken=True),
    Column("public", "PUBLIC", unbroken=True),
    Column("state", "STATE"),
    Column("pid", "PID", right=True),
    Column("namespace", "NAMESPACE", unbroken=True),
)
LINKS = (
    Column("link", "LINK"),
    Column("way", "WAY"),
    Column("delay_ms", "DELAY_MS", right=True),
    Column("jitter_ms", "JITTER_MS", right=True),
    Column("loss_percent", "LOSS%", right=True),
    Column("reorder_percent", "REORDER%", right=True),
    Column("rate_mbit", "MBIT", right=True),
    Column("sent", "SENT", right=True),
    Column("lost", "LOST", right=True),
    Column("overflowed", "OVERFLOWED", right=True),
    Column("reordered", "REORDERED", right=True),
    Column("late_p99_ms", "LATE_P99_MS", right=True),
)
SIGNALS = ("kill", "term", "stop", "cont", "hup")

_NAME = typer.Option("--name", metavar="NAME", help="Which laboratory; there may be several. [default: lab]")
_WORLD = typer.Option("--world", metavar="FILE", help="Regions and links (TOML). [default: the built-in world]")
_AT = typer.Option("--at", metavar="HOST", autocompletion=lambda: _host_names(), help="Where to run it.")
_HOST = typer.Argument(metavar="HOST", autocompletion=lambda: _host_names(), help="As 'lab status' shows it.")


@leaf(
    app,
    "up",
    printing=True,
    examples="""
    rtcrelay lab up
    rtcrelay lab up --world my.toml --name mine --json""",
)
def up(
    options: Output,
    world: Annotated[str | None, _WORLD] = None,
    name: Annotated[str, _NAME] = "lab",
) -> ExitStatus:
    """Build the laboratory and start everything in it, in network namespaces of its own. Needs root.

    Three regions with an ingress and a client each, two of them with a cluster: relays, a transceiver, Valkey. Public
    paths have delay, jitter and loss, the backbone between regions is clean. It runs until 'lab down'; what it made is
    written down in /run/rtcrelay-lab, so that this also removes what a killed 'lab up' left.
    """
    from rtcrelay.lab.world import world_text

    lab = _lab(name)
    began = time.monotonic()
    lab.up(*world_text(Path(world) if world else None))
    plan = lab.plan()
    calls = {region.name: lab.url(plan, region.name) for region in plan.world.regions}
    row = {
        "kind": "lab",
        "v": 1,
        "name": name,
        "directory": str(lab.directory),
        "token_file": lab.environment(plan, plan.hosts[0])["LAB_TOKEN_FILE"],
        "hosts": len(plan.hosts),
        "links": len(plan.links()),
        "seconds": round(time.monotonic() - began, 3),
        "calls": calls,
    }
    if options.form in ("json", "jsonl"):
        print(json.dumps(row, indent=2 if options.form == "json" else None))
        return ExitStatus.OK
    note(f"{row['hosts']} hosts and {row['links']} links are up after {row['seconds']:.1f} s", options)
    example = f"rtcrelay lab run{_option(name)} --at {plan.world.regions[0].name} --"
    note(f"a call: {example} sh -c 'rtcrelay probe session $LAB_URL --token-file $LAB_TOKEN_FILE'", options)
    return ExitStatus.OK


@leaf(
    app,
    "down",
    examples="""
    rtcrelay lab down
    rtcrelay lab down --name mine""",
)
def down(common: Common, name: Annotated[str, _NAME] = "lab") -> ExitStatus:
    """Remove the laboratory: its processes, whatever else runs in its namespaces, the namespaces, its directory.

    Also what a killed 'lab up' left. Nothing that the laboratory did not make is touched. Done already is success.
    """
    if not _lab(name).down():
        note(f"there is no laboratory {name}", common)
    return ExitStatus.OK


@leaf(
    app,
    "run",
    examples="""
    rtcrelay lab run --at sydney -- rtcrelay probe ingress --sites /run/rtcrelay-lab/lab/sites.toml
    rtcrelay lab run --at sydney -- sh -c 'rtcrelay probe session "$LAB_URL" --token-file "$LAB_TOKEN_FILE"'
    rtcrelay lab run --at virginia-relay-1 -- rtcrelay flows list""",
)
def run(
    common: Common,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What to run, and its arguments.")],
    at: Annotated[str | None, _AT] = None,
    name: Annotated[str, _NAME] = "lab",
) -> None:
    """Run a command on a host of the laboratory, and exit as it does.

    It has the host's network and finds the host's services (RUNTIME_DIRECTORY) and the keys (RTCRELAY_KEY_FILE).
    LAB_URL is where a client there calls, LAB_TOKEN_FILE the token for it, LAB_SITES the sites file, LAB_DIRECTORY
    where logs are. Without --at: at the first region's client.
    """
    lab = _lab(name)
    plan = lab.plan()
    words, environment = lab.command(plan, lab.host(plan, at) if at else plan.hosts[0], command)
    sys.stdout.flush()
    os.execvpe(words[0], words, environment)  # noqa: S606  # the command is the user's


@leaf(
    app,
    "status",
    listing=True,
    examples="""
    rtcrelay lab status
    rtcrelay lab status --json""",
)
def status(options: Listing, name: Annotated[str, _NAME] = "lab") -> ExitStatus:
    """Show every host of the laboratory and whether its service runs. Exits with 1 if one does not."""
    found = _lab(name).status()
    show_rows([_host_row(each) for each in found], HOSTS, options)
    dead = any(each.process is not None and not each.running for each in found)
    return ExitStatus.PROBLEM if dead else ExitStatus.OK


@leaf(
    app,
    "links",
    listing=True,
    examples="""
    rtcrelay lab links
    rtcrelay lab links --sort-by -lost --json""",
)
def links(options: Listing, name: Annotated[str, _NAME] = "lab") -> ExitStatus:
    """Show what each way of each link does to packets, and what it did so far.

    LATE_P99_MS is the emulator's own error: how long after they were due 99 of 100 of the last packets left.
    """
    show_rows([_link_row(row) for row in _lab(name).links()], LINKS, options)
    return ExitStatus.OK


@leaf(
    app,
    "set",
    listing=True,
    examples="""
    rtcrelay lab set public:sydney-virginia loss_percent=20
    rtcrelay lab set backbone:sydney-virginia delay_ms=300 jitter_ms=20 --json""",
)
def set_link(
    options: Listing,
    link: Annotated[str, typer.Argument(metavar="LINK", help="As 'lab links' shows it.")],
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="As in the world file.")],
    name: Annotated[str, _NAME] = "lab",
) -> ExitStatus:
    """Have a link treat packets differently from now on, both ways. What is not named stays as it is."""
    rows = _lab(name).set_link(link, dict(parsed("KEY=VALUE", change, _change) for change in changes))
    show_rows([_link_row(row) for row in rows], LINKS, options)
    return ExitStatus.OK


@leaf(
    app,
    "kill",
    examples="""
    rtcrelay lab kill sydney-ingress
    rtcrelay lab kill virginia-transceiver-1 --signal term""",
)
def kill(
    common: Common,
    host: Annotated[str, _HOST],
    number: Annotated[
        str, typer.Option("--signal", metavar="|".join(SIGNALS), help="Which signal. [default: kill]")
    ] = "kill",
    name: Annotated[str, _NAME] = "lab",
) -> ExitStatus:
    """Have a host's service crash: send it a signal. 'lab start' starts it again."""
    import signal

    lab = _lab(name)
    chosen = signal.Signals[f"SIG{parsed('--signal', number, one_of(*SIGNALS)).upper()}"]
    lab.kill(lab.host(lab.plan(), host), chosen)
    return ExitStatus.OK


@leaf(
    app,
    "start",
    examples="""
    rtcrelay lab start sydney-ingress
    rtcrelay lab start virginia-relay-1 --name mine""",
)
def start(common: Common, host: Annotated[str, _HOST], name: Annotated[str, _NAME] = "lab") -> ExitStatus:
    """Start a host's service again and wait until it is ready; one that still runs is killed first."""
    lab = _lab(name)
    lab.restart(lab.host(lab.plan(), host))
    return ExitStatus.OK


@leaf(
    app,
    "world",
    examples="""
    rtcrelay lab world > my.toml
    rtcrelay lab world --world my.toml""",
)
def world(common: Common, world: Annotated[str | None, _WORLD] = None) -> ExitStatus:
    """Print the built-in world, to be copied and changed; or check another."""
    from rtcrelay.lab.world import read_world, world_text

    text, origin = world_text(Path(world) if world else None)
    read_world(text, origin)
    print(text, end="")
    return ExitStatus.OK


def _lab(name: str) -> Lab:
    from rtcrelay.lab.lab import Lab
    from rtcrelay.lab.network import require_root

    require_root()
    return Lab(parsed("--name", name, parse_name))


def _option(name: str) -> str:
    return "" if name == "lab" else f" --name {name}"


def _host_names() -> list[str]:
    """For completion: of the laboratory that most have."""
    try:
        return [host.name for host in _plan().hosts]
    except Exception:
        return []


def _plan() -> Plan:
    return _lab("lab").plan()


def _host_row(status: HostStatus) -> dict[str, Any]:
    host, process = status.host, status.process
    return {
        "kind": "lab_host",
        "v": 1,
        "name": host.name,
        "region": host.region,
        "role": host.role,
        "namespace": host.namespace,
        "private": host.private,
        "public": host.public,
        "cluster": host.cluster,
        "ingress": host.ingress_id or None,
        "state": None if process is None else "running" if status.running else "dead",
        "pid": process.pid if process and status.running else None,
    }


def _link_row(row: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "lab_link", "v": 1, **row}


def _change(text: str) -> tuple[str, float]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"KEY=VALUE: {text!r} has no value", hint="for example loss_percent=5")
    try:
        return key, float(value)
    except ValueError:
        raise ValueError("has no number after the =") from None
