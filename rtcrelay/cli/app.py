"""The command tree, and what happens around every command: errors, exit statuses, closed pipes.

Typer is fast only while nothing makes it import pydantic (about 95 ms) or rich (about 90 ms). So options are text
that `rtcrelay.config` parses, help has no markup, and a command's module is imported when the command is named.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

import rtcrelay
from rtcrelay.errors import ExitStatus, RtcrelayError, UsageError

COMMANDS = {
    "serve": ("rtcrelay.cli.serve", "Run a relay, a transceiver, or signaling in front of many."),
    "demo": ("rtcrelay.cli.demo", "Prove the whole path on this machine: a call through a relay, and its recovery."),
    "status": ("rtcrelay.cli.operate", "Show how the relays and transceivers of this machine fare."),
    "doctor": ("rtcrelay.cli.doctor", "Look for what is wrong with this machine and its services."),
    "drain": ("rtcrelay.cli.operate", "Have load balancers send new calls elsewhere, before a restart."),
    "flows": ("rtcrelay.cli.flows", "Watch the paths of running relays: where each leads, and how it fares."),
    "sessions": ("rtcrelay.cli.sessions", "Watch and end the calls of running transceivers."),
    "capture": ("rtcrelay.cli.capture", "Capture both legs of chosen flows in running relays, as pcapng."),
    "routes": ("rtcrelay.cli.routes", "Look into the route cache: what relays remember for each other in Redis."),
    "nodes": ("rtcrelay.cli.nodes", "Show the relays and transceivers of a site, and have some take no new calls."),
    "ufrag": ("rtcrelay.cli.ufrag", "Make and read routing ufrags."),
    "stun": ("rtcrelay.cli.stun", "Read and write STUN messages."),
    "spp": ("rtcrelay.cli.spp", "Read the header between relays and transceivers."),
    "sdp": ("rtcrelay.cli.sdp", "Look for faults in session descriptions."),
    "steer": ("rtcrelay.cli.steer", "Say where signaling would send a call, and why."),
    "explain": ("rtcrelay.cli.explain", "Say what a relay would do with packets, and why."),
    "probe": ("rtcrelay.cli.probe", "Ask relays and servers: STUN, a route, a whole session, or a capture replayed."),
    "lab": ("rtcrelay.cli.lab", "Build a small world on this machine: distance, loss and crashes, to measure."),
    "bench": ("rtcrelay.cli.bench", "Measure what a relay costs on this machine."),
    "keys": ("rtcrelay.cli.keys", "Make and show the keys of routing ufrags."),
    "config": ("rtcrelay.cli.config", "Show, check and begin configuration files."),
    "completion": ("rtcrelay.cli.about", "Print the completion script of a shell."),
    "man": ("rtcrelay.cli.about", "Show a manual page."),
    "version": ("rtcrelay.cli.about", "Print the version."),
}
"""Where each command lives, and its line in help. The module's ``app`` is the command, or a group that holds it."""

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

ROOT_HELP = """\
Run and debug WebRTC relays for voice AI.

\b
A relay takes all media at one public UDP address and sends each packet to
the transceiver that the ICE ufrag of the first one names."""

ROOT_EPILOG = """\
\b
Examples:
  rtcrelay demo
  rtcrelay keys generate -o keys.toml
  rtcrelay serve relay --key-file keys.toml"""


class _Text:
    """Stands for typer's coercion: strings and lists of strings, as they came."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None and (param.multiple or param.nargs == -1):
            return ()
        return value


def _as_text(params: list[Any]) -> list[Any]:
    """Has parameters keep their text; their help says the default in its own words.

    Typer would build a pydantic adapter for each one, which costs more than all the rest. Should a later typer not
    have this attribute, commands get slower and work as before.
    """
    for param in params:
        if getattr(param, "_runtime_param", param) is None:
            param._runtime_param = _Text()
        param.show_default = False
    return params


class Command(TyperCommand):
    """A command whose options stay the text they were given."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _as_text(super().get_params(ctx))


class Group(TyperGroup):
    """A group that says what was probably meant by an unknown command."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _as_text(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        near = get_close_matches(name, self.list_commands(ctx), 1)
        hint = f"did you mean '{ctx.command_path} {near[0]}'?" if near else f"'{ctx.command_path} --help' lists all"
        raise UsageError(f"no such command {name!r}", hint=hint)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """With the first sentence of each command's help, whole: cut to a line, it says too little."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, _first_sentence(command.help or "")))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return paragraph.split(". ")[0].removesuffix(".") + "."


class _Root(Group):
    """The commands of `COMMANDS`, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module, summary = COMMANDS[cmd_name]
            command = typer.main.get_command(import_module(module).app)
            command = getattr(command, "commands", {}).get(cmd_name, command)
            command.name = cmd_name
            command.help = command.help or summary
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        # Completing a command's name imports no command.
        item = import_module("typer._click.shell_completion").CompletionItem
        names = [item(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return names or super().shell_complete(ctx, incomplete)


def new_group() -> typer.Typer:
    """An empty group (or, with one command, that command) in the style of all others."""
    return typer.Typer(
        cls=Group,
        context_settings=CONTEXT,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def root_command() -> Any:
    """The whole tree, not yet imported behind its first level."""
    app = typer.Typer(
        cls=_Root,
        context_settings=CONTEXT,
        no_args_is_help=True,
        help=ROOT_HELP,
        epilog=ROOT_EPILOG,
        # Completion itself is on; its two root options are replaced by `rtcrelay completion SHELL`.
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root_options)
    return typer.main.get_command(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rtcrelay {rtcrelay.__version__}")
        raise typer.Exit(ExitStatus.OK)


_VERSION = typer.Option("-V", "--version", help="Print the version and exit.", is_eager=True, callback=_print_version)


def _root_options(version: Annotated[bool, _VERSION] = False) -> None:
    pass


def run(args: Sequence[str]) -> int:
    """Runs one command line and returns its exit status; whatever goes wrong is told in one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A locale that cannot say a character must not end a command.
            stream.reconfigure(errors="backslashreplace")
    if os.environ.get("_RTCRELAY_COMPLETE"):
        return _complete()
    try:
        status = _invoke(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Who reads has enough: that is success. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.OK
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED


def _invoke(args: Sequence[str]) -> int:
    command = root_command()
    try:
        with command.make_context("rtcrelay", list(args)) as context:
            command.invoke(context)
        return ExitStatus.OK
    except typer.Exit as end:
        return end.exit_code
    except RtcrelayError as error:
        return report(str(error), error.hint, error.status)
    except TyperException as error:
        return _report_usage(error)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return report(f"{place}{(error.strerror or str(error)).lower()}", None, ExitStatus.IO)
    except Exception as error:
        hint = "this is a defect of rtcrelay; RTCRELAY_DEBUG=1 shows where"
        return report(f"{type(error).__name__}: {error}", hint, ExitStatus.SOFTWARE)


def report(message: str, hint: str | None, status: int) -> int:
    """Tells an error on stderr and returns the status. With RTCRELAY_DEBUG=1, the exception at hand is shown too."""
    if os.environ.get("RTCRELAY_DEBUG") == "1" and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    print(f"rtcrelay: error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return status


def _report_usage(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return ExitStatus.USAGE
    hint = f"'{context.command_path} --help' lists all options" if context else None
    option, near = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    if type(error).__name__ == "NoSuchOption":
        message = f"no such option {option}"
        hint = f"did you mean {' or '.join(sorted(near))}?" if near else hint
    else:
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
    return report(message, hint, ExitStatus.USAGE)


def _complete() -> int:
    from typer._completion_classes import completion_init

    completion_init()
    root_command().main(prog_name="rtcrelay", complete_var="_RTCRELAY_COMPLETE")
    return ExitStatus.OK
