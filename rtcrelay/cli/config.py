"""``rtcrelay config``: what a service would run with, and what is wrong with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from rtcrelay import config
from rtcrelay.cli.app import new_group, report
from rtcrelay.cli.options import Common, Listing, leaf, parsed
from rtcrelay.cli.render import Column, note, show_rows
from rtcrelay.config.options import PROGRAMS
from rtcrelay.config.text import one_of
from rtcrelay.errors import BackendError, ExitStatus, RtcrelayError, UsageError

app = new_group()

_PROGRAM = typer.Argument(
    metavar="SERVICE",
    help="relay, transceiver or signaling; several. [default: those with a table in the configuration file, else all]",
    autocompletion=lambda: list(PROGRAMS),
)
_ALL = typer.Argument(
    metavar="SERVICE",
    help="relay, transceiver or signaling; several. [default: all]",
    autocompletion=lambda: list(PROGRAMS),
)
SETTINGS = (
    Column("program", "SERVICE"),
    Column("name", "SETTING"),
    Column("value", "VALUE", pick=lambda row: _words(row["value"])),
    Column("origin", "ORIGIN"),
)
CHECKS = (
    Column("program", "SERVICE"),
    Column("ok", "OK", pick=lambda row: "yes" if row["ok"] else "no"),
    Column("message", "MESSAGE"),
)


@leaf(
    app,
    "show",
    listing=True,
    examples="""
    rtcrelay config show relay
    rtcrelay config show --config relay.toml --changed
    rtcrelay config show transceiver -o jsonl | jq 'select(.name == "ingress")'""",
)
def show(
    options: Listing,
    programs: Annotated[list[str] | None, _PROGRAM] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
) -> None:
    """Show every setting of a service and where it comes from: variable, file or default. No secrets.

    Options of 'serve' are not known here: 'rtcrelay serve relay … --print-config' shows those, as TOML.
    """
    rows = []
    for program in _programs(programs, options.config):
        for name, value, origin in config.effective(program, {}, options.config):
            if not changed or origin != "default":
                row = {"kind": "setting", "v": 1, "program": program, "name": name, "value": value, "origin": origin}
                rows.append(row)
    show_rows(rows, SETTINGS, options)


@leaf(
    app,
    "check",
    listing=True,
    examples="""
    rtcrelay config check
    rtcrelay config check relay --config relay.toml
    RTCRELAY_WORKERS=4 rtcrelay config check relay --config relay.toml --json""",
)
def check(options: Listing, programs: Annotated[list[str] | None, _PROGRAM] = None) -> ExitStatus | None:
    """Check configuration files, variables, and the keys and secrets they name. Starts nothing.

    Tells everything that is wrong: what, where, and what was expected. Exits with 0, or with 78.
    """
    from rtcrelay.config.check import file_problems, setting_problems

    rows: list[dict[str, Any]] = []
    problems: list[RtcrelayError] = [*file_problems(options.config)]
    rows += [_row(None, error) for error in problems]
    for program in _programs(programs, options.config):
        found: list[RtcrelayError] = [*setting_problems(program, options.config)]
        message = ""
        if not found and not problems:
            try:
                message = _check_service(program, options.config)
            except RtcrelayError as error:
                found.append(error)
        rows += [_row(program, error) for error in found]
        rows += [{"kind": "config_check", "v": 1, "program": program, "ok": True, "message": message, "hint": None}] * (
            not found and not problems
        )
        problems += found
    if options.form in ("json", "jsonl"):
        show_rows(rows, CHECKS, options)
    elif not problems:
        for row in rows:
            print(f"{row['program']}: {row['message']}")
    for told in dict.fromkeys((str(error), error.hint) for error in problems):
        report(*told, ExitStatus.CONFIG)
    return ExitStatus.CONFIG if problems else None


@leaf(
    app,
    "init",
    examples="""
    rtcrelay config init relay
    rtcrelay config init relay transceiver --out rtcrelay.toml""",
)
def init(
    common: Common,
    programs: Annotated[list[str] | None, _ALL] = None,
    out: Annotated[str | None, typer.Option("--out", metavar="FILE", help="File to write. [default: stdout]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a configuration file to begin with: every setting, explained, with its default, commented out."""
    from rtcrelay.config.template import config_template

    content = config_template(_named(programs) or list(PROGRAMS))
    if out is None:
        print(content, end="")
        return
    try:
        with Path(out).open("w" if force else "x") as file:
            file.write(content)
    except FileExistsError as error:
        raise UsageError(
            f"{out} exists already", hint="name another file, or replace it with --force", status=ExitStatus.PROBLEM
        ) from error
    except OSError as error:
        raise BackendError(
            f"cannot write {out}: {(error.strerror or str(error)).lower()}", status=ExitStatus.IO
        ) from error
    note(f"wrote {out}", common)


@leaf(
    app,
    "schema",
    examples="""
    rtcrelay config schema | jq .properties.relay.properties.workers
    rtcrelay config schema > rtcrelay.schema.json""",
)
def schema(common: Common) -> None:
    """Print the JSON Schema of configuration files (draft 2020-12), which editors and validators of TOML take."""
    from rtcrelay.config.schema import config_schema

    json.dump(config_schema(), sys.stdout, indent=2)
    print()


def _programs(named: Sequence[str] | None, file: Path | None) -> list[str]:
    from rtcrelay.config.check import configured_programs

    return _named(named) or configured_programs(file, os.environ)


def _named(named: Sequence[str] | None) -> list[str]:
    for word in named or ():
        if word not in PROGRAMS and ("/" in word or "." in word):
            raise UsageError(f"expected {', '.join(PROGRAMS)}, not {word!r}", hint=f"--config {word} names the file")
    return list(dict.fromkeys(parsed("SERVICE", word, one_of(*PROGRAMS)) for word in named or ()))


def _check_service(program: str, file: Path | None) -> str:
    """Everything that starting does before it binds; a line about what would run. Raises ConfigError."""
    service = import_module(f"rtcrelay.{program}.service")
    return str(service.check(config.READERS[program]({}, file)))


def _row(program: str | None, error: RtcrelayError) -> dict[str, Any]:
    return {
        "kind": "config_check",
        "v": 1,
        "program": program,
        "ok": False,
        "message": str(error),
        "hint": error.hint,
    }


def _words(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return " ".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
