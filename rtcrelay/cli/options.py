"""The options that every command has, and the decorator that adds them.

They stand on the commands and not on the root, because people write them last.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from rtcrelay.cli.app import CONTEXT, Command
from rtcrelay.config.options import Setting
from rtcrelay.errors import UsageError

T = TypeVar("T")
Flags: TypeAlias = Mapping[str, object]
"""What was given on the command line, by setting name; None and False were not given."""

FORMATS = ("table", "plain", "json", "jsonl")
COLORS = ("auto", "always", "never")


@dataclass(frozen=True, slots=True)
class Common:
    """What the options of every command said."""

    verbosity: int
    """-1 quiet, 0 as usual, 1 and more verbose; from 2 on, errors come with a traceback."""
    config: Path | None
    """The configuration file that was named."""
    color: str
    """auto, always or never."""


@dataclass(frozen=True, slots=True)
class Output(Common):
    """Also what the options of commands that print something else than rows said."""

    form: str | None
    """table, plain, json or jsonl; None: table on a terminal, else plain."""


@dataclass(frozen=True, slots=True)
class Listing(Output):
    """Also what the options of commands that print rows said."""

    headers: bool
    """Whether a header line is wanted."""
    sort_by: str | None
    """The field to sort by."""
    limit: int | None
    """Rows at most."""


_QUIET = typer.Option("-q", "--quiet", help="Say only what went wrong.")
_VERBOSE = typer.Option("-v", "--verbose", count=True, help="Say more; -vv shows where an error came from.")
_CONFIG = typer.Option("-c", "--config", metavar="FILE", help="Configuration file (TOML). [env: RTCRELAY_CONFIG]")
_COLOR = typer.Option(
    "--color",
    metavar="|".join(COLORS),
    autocompletion=lambda: list(COLORS),
    help="Colour on a terminal. [default: auto]",
)
_OUTPUT = typer.Option(
    "-o",
    "--output",
    metavar="|".join(FORMATS),
    autocompletion=lambda: list(FORMATS),
    help="Output format. [default: table on a terminal, else plain]",
)
_JSON = typer.Option("--json", help="The same as -o json.")
_HEADERS = typer.Option("-H", "--no-headers", help="No header line.")
_SORT = typer.Option("--sort-by", metavar="FIELD", help="Sort rows by a field; -FIELD sorts backwards.")
_LIMIT = typer.Option("-n", "--limit", metavar="N", help="Rows to print at most.")


def _common(
    *,
    config: Annotated[str | None, _CONFIG] = None,
    color: Annotated[str, _COLOR] = "",
    quiet: Annotated[bool, _QUIET] = False,
    verbose: Annotated[int, _VERBOSE] = 0,
) -> Common:
    return Common(-1 if quiet else verbose, Path(config) if config else None, _choice("--color", color, COLORS))


def _printing(
    *,
    output: Annotated[str | None, _OUTPUT] = None,
    as_json: Annotated[bool, _JSON] = False,
    config: Annotated[str | None, _CONFIG] = None,
    color: Annotated[str, _COLOR] = "",
    quiet: Annotated[bool, _QUIET] = False,
    verbose: Annotated[int, _VERBOSE] = 0,
) -> Output:
    common = _common(config=config, color=color, quiet=quiet, verbose=verbose)
    if as_json and output not in (None, "json"):
        raise UsageError(f"--json and -o {output} exclude each other")
    form = "json" if as_json else output
    form = None if form is None else _choice("-o", form, FORMATS)
    return Output(common.verbosity, common.config, common.color, form)


def _listing(
    *,
    output: Annotated[str | None, _OUTPUT] = None,
    as_json: Annotated[bool, _JSON] = False,
    no_headers: Annotated[bool, _HEADERS] = False,
    sort_by: Annotated[str | None, _SORT] = None,
    limit: Annotated[str | None, _LIMIT] = None,
    config: Annotated[str | None, _CONFIG] = None,
    color: Annotated[str, _COLOR] = "",
    quiet: Annotated[bool, _QUIET] = False,
    verbose: Annotated[int, _VERBOSE] = 0,
) -> Listing:
    base = _printing(output=output, as_json=as_json, config=config, color=color, quiet=quiet, verbose=verbose)
    many = None if limit is None else whole("-n", limit, 0, sys.maxsize)
    return Listing(base.verbosity, base.config, base.color, base.form, not no_headers, sort_by, many)


def leaf(
    app: typer.Typer,
    name: str,
    *,
    listing: bool = False,
    printing: bool = False,
    settings: Sequence[Setting] = (),
    examples: str = "",
) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Makes a function a command with the common options.

    The function gets a `Common` (a `Listing` with ``listing``, an `Output` with ``printing``) first; with
    ``settings``, a mapping from setting names to what was given on the command line next; then its own parameters by
    name. It returns an exit status, or None.
    ``examples`` are lines for the end of its help.
    """

    def decorate(function: Callable[..., int | None]) -> Callable[..., None]:
        read = _listing if listing else _printing if printing else _common
        own = _parameters(function)[2 if settings else 1 :]
        shared = [_yielding(parameter, _short_names(own)) for parameter in _parameters(read)]
        named = [_setting_parameter(setting) for setting in settings]

        def command(**values: Any) -> None:
            taken = {p.name: values.pop(p.name) for p in shared}
            common = read(**taken)
            flags = [{p.name: values.pop(p.name) for p in named}] if settings else []
            try:
                status = function(common, *flags, **values)
            except Exception:
                if common.verbosity >= 2:
                    import traceback

                    traceback.print_exc()
                raise
            if status:
                raise typer.Exit(status)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *named, *shared)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks for
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__doc__ = function.__doc__
        epilog = f"\b\nExamples:\n{inspect.cleandoc(examples)}".replace("\n", "\n  ").replace("  Ex", "Ex")
        app.command(name, cls=Command, epilog=epilog if examples else None, context_settings=CONTEXT)(command)
        return command

    return decorate


def whole(option: str, text: str, low: int, high: int) -> int:
    """A whole number that an option was given, from ``low`` to ``high``, or a UsageError."""
    from rtcrelay.config.text import whole_number

    return parsed(option, text, whole_number(low, high))


def parsed(option: str, text: str, parse: Callable[[str], T]) -> T:
    """What ``parse`` makes of an option's text, or a UsageError that names the option."""
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} {error}") from None


def _choice(option: str, text: str, choices: Sequence[str]) -> str:
    from rtcrelay.config.text import one_of

    return str(parsed(option, text or choices[0], one_of(*choices)))


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _names(option: Any) -> tuple[str, ...]:
    # Typer's signature has the first name in the place of a default, and knows better later.
    return tuple(name for name in (option.default, *(option.param_decls or ())) if isinstance(name, str))


def _short_names(parameters: Sequence[inspect.Parameter]) -> set[str]:
    return {name for p in parameters for name in _names(p.annotation.__metadata__[0]) if len(name) == 2}


def _yielding(parameter: inspect.Parameter, taken: set[str]) -> inspect.Parameter:
    """A common option without the short name that the command has another use for: ping's -c is a count."""
    [option] = parameter.annotation.__metadata__
    if not taken & set(_names(option)):
        return parameter
    fewer = copy(option)
    fewer.default, *fewer.param_decls = (name for name in _names(option) if name not in taken)
    return parameter.replace(annotation=Annotated[parameter.annotation.__origin__, fewer])


def _setting_parameter(setting: Setting) -> inspect.Parameter:
    default = setting.default_help or setting.default
    notes = [f"[default: {default}]"] if default and not setting.switch else []
    names = [name for name in (setting.short, setting.option) if name]
    option = typer.Option(
        *names,
        metavar=setting.metavar or None,
        help=" ".join([setting.help, *notes, f"[env: {setting.variable}]"]),
    )
    kind: Any = bool if setting.switch else (list[str] | None) if setting.many else (str | None)
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if setting.switch else None,
        annotation=Annotated[kind, option],
    )
