"""``rtcrelay doctor``: what is wrong here, and the command that mends it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rtcrelay import config
from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Listing, leaf, parsed
from rtcrelay.cli.render import Column, note, show_rows
from rtcrelay.cli.services import admin_option
from rtcrelay.cli.stream import paint, wants_color
from rtcrelay.config.options import PROGRAMS
from rtcrelay.config.text import duration_between, one_of
from rtcrelay.doctor.finding import Finding, Verdict
from rtcrelay.errors import ExitStatus

app = new_group()

COLUMNS = (
    Column("verdict", "VERDICT", pick=lambda row: row["verdict"].upper()),
    Column("check", "CHECK"),
    Column("message", "FINDING"),
    Column("remedy", "REMEDY"),
)
_TONES = {Verdict.PASS: "good", Verdict.SKIP: "dim", Verdict.WARN: "odd", Verdict.FAIL: "bad"}
_SERVICES = typer.Argument(
    metavar="SERVICE",
    help="relay, transceiver or signaling; several. [default: those with a table in the configuration file, else all]",
    autocompletion=lambda: list(PROGRAMS),
)
_TIMEOUT = typer.Option("--timeout", metavar="DURATION", help="Wait for an answer, 100ms to 1m. [default: 2s]")
_ONLY = typer.Option("--problems", help="Only what is wrong: WARN and FAIL.")


@leaf(
    app,
    "doctor",
    listing=True,
    examples="""
    rtcrelay doctor
    rtcrelay doctor relay --config relay.toml --problems
    rtcrelay doctor -o json | jq -r '.[] | select(.verdict == "fail") | .remedy'""",
)
def doctor(
    options: Listing,
    services: Annotated[list[str] | None, _SERVICES] = None,
    admin: Annotated[list[str] | None, admin_option("service", "all")] = None,
    timeout: Annotated[str | None, _TIMEOUT] = None,
    problems: Annotated[bool, _ONLY] = False,
) -> ExitStatus:
    """Look for what is wrong with this machine and the services on it: files, kernel, network, Redis, processes.

    Changes nothing. Each finding comes with the command that mends it or shows more. SKIP: not needed here, or not
    to be known. Exits with 1 if anything is FAIL.
    """
    seconds = parsed("--timeout", timeout or "2s", duration_between(0.1, 60))
    programs = [parsed("SERVICE", word, one_of(*PROGRAMS)) for word in services or ()]
    from rtcrelay.doctor.examine import examine
    from rtcrelay.doctor.patient import admit

    findings = examine(admit(programs, options.config, _sockets(admin, options.config), seconds))
    shown = [one for one in findings if not problems or one.verdict in (Verdict.WARN, Verdict.FAIL)]
    form = options.form or ("table" if sys.stdout.isatty() else "plain")
    if form == "table" and not (options.sort_by or options.limit):
        _print(shown, options)
    elif shown or form in ("json", "jsonl"):
        show_rows([one.as_row() for one in shown], COLUMNS, options)
    counts = Counter(one.verdict for one in findings)
    note(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict), options)
    return ExitStatus.PROBLEM if counts[Verdict.FAIL] else ExitStatus.OK


def _sockets(named: Sequence[str] | None, file: Path | None) -> list[Path]:
    found = config.find_admin_sockets(named or (), file)
    # A configured socket on which nobody listens is no service that has failed: perhaps it is not meant to run.
    return [path for path in found if named or path.exists()]


def _print(findings: Sequence[Finding], options: Listing) -> None:
    """Verdict, check and finding, and the remedy on a line of its own, to be copied."""
    colored = wants_color(options.color)
    width = shutil.get_terminal_size().columns
    names = max((len(one.check) for one in findings), default=0)
    indent = " " * (4 + 2 + names + 2)
    for one in findings:
        text = Column("message", "").cell(one.as_row())
        lines = textwrap.wrap(text, max(30, width - len(indent)), break_on_hyphens=False) or [""]
        verdict = paint(one.verdict.value.upper(), _TONES[one.verdict], wanted=colored)
        print(f"{verdict}  {one.check.ljust(names)}  {lines[0]}")
        for line in lines[1:]:
            print(indent + line)
        if one.remedy and one.verdict is not Verdict.PASS:
            print(f"{indent}{paint(f'$ {one.remedy}', 'dim', wanted=colored)}")
