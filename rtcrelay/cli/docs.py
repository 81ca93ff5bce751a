"""Manual pages, completions and reference pages, made from the code. ``python -m rtcrelay.cli.docs`` writes them.

The committed files are compared with what this makes by a test.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rtcrelay
from rtcrelay import errors
from rtcrelay.cli.app import COMMANDS, ROOT_EPILOG, ROOT_HELP, root_command

SHELLS = ("bash", "zsh", "fish")

# What has no page of its own: one line says all of it.
_PAGES = tuple(name for name in COMMANDS if name not in ("completion", "man", "version"))

_PIPES = (
    "A reader that has enough and closes the pipe, such as head(1), is no failure: the status is 0. SIGTERM ends a"
    " one-shot command by the signal, which shells show as 143; services end with 0."
)
_ENVIRONMENT = (
    ("RTCRELAY_…", "A setting, as each option says. An option on the command line comes first."),
    ("RTCRELAY_CONFIG", "Configuration file, as --config."),
    ("RTCRELAY_DEBUG", "With 1, errors show where they came from."),
    ("CREDENTIALS_DIRECTORY", "Holds keys.toml if no key file is named (systemd: LoadCredential=keys.toml:…)."),
    ("RUNTIME_DIRECTORY", "Where admin sockets are made (systemd: RuntimeDirectory=rtcrelay)."),
    ("NOTIFY_SOCKET", "Where readiness is reported, as sd_notify(3)."),
    ("WATCHDOG_USEC", "A relay reports twice within this time that it works (systemd: WatchdogSec=)."),
    ("NO_COLOR", "Tables have no colour."),
)
_FILES = (
    ("$XDG_CONFIG_HOME/rtcrelay/config.toml", "The user's configuration. Read if --config is not given."),
    ("/etc/rtcrelay/config.toml", "The system's configuration, for what the user's does not say."),
    ("/run/rtcrelay/relay.sock", "The relay's admin socket: RUNTIME_DIRECTORY comes first, and for users who cannot"
     " write there it is $XDG_RUNTIME_DIR/rtcrelay/relay.sock."),
)  # fmt: skip

_BASH = """\
# Completion of rtcrelay for bash. Made by 'rtcrelay completion bash'.
_rtcrelay_completion() {
    local IFS=$'\\n' cur=${COMP_WORDS[COMP_CWORD]} cword=$COMP_CWORD
    local -a words=("${COMP_WORDS[@]}")
    # ':' breaks bash's words, so an ip:port would come in three; bash-completion puts it together again.
    if declare -F _get_comp_words_by_ref > /dev/null; then
        _get_comp_words_by_ref -n : cur words cword
    fi
    COMPREPLY=($(env COMP_WORDS="${words[*]}" COMP_CWORD="$cword" _RTCRELAY_COMPLETE=complete_bash "$1"))
    if declare -F __ltrim_colon_completions > /dev/null; then
        __ltrim_colon_completions "$cur"
    fi
}
complete -o default -F _rtcrelay_completion rtcrelay
"""


_ZSH = """\
#compdef rtcrelay
# Completion of rtcrelay for zsh. Made by 'rtcrelay completion zsh'.
_rtcrelay_completion() {
    eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _RTCRELAY_COMPLETE=complete_zsh rtcrelay)
}
# Autoloaded from fpath, this file is run by the first TAB, which wants an answer.
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _rtcrelay_completion "$@"
else
    compdef _rtcrelay_completion rtcrelay
fi
"""

_FISH = """\
# Completion of rtcrelay for fish. Made by 'rtcrelay completion fish'.
function __rtcrelay_complete
    env _RTCRELAY_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] \\
        _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) rtcrelay
end
complete --command rtcrelay --no-files --arguments '(__rtcrelay_complete get-args)' \\
    --condition '__rtcrelay_complete is-args'
"""


def completion_script(shell: str) -> str:
    """The completion script of one of `SHELLS`."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]


def man_pages() -> dict[str, str]:
    """The manual pages (roff, man macros) by file name."""
    root = root_command()
    with root.make_context("rtcrelay", [], resilient_parsing=True) as context:
        pages = {"rtcrelay.1": "\n".join(_overview(context)) + "\n"}
        for name in _PAGES:
            command = root.get_command(context, name)
            pages[f"rtcrelay-{name}.1"] = "\n".join(_page(name, command, context)) + "\n"
    return pages


def _overview(context: Any) -> Iterator[str]:
    yield from _head("rtcrelay", ROOT_HELP.partition("\n")[0].rstrip("."))
    yield from (".SH SYNOPSIS", ".B rtcrelay", ".I COMMAND", "[\\fIOPTIONS\\fR]")
    yield from (".SH DESCRIPTION", *_text(ROOT_HELP.partition("\b\n")[2]))
    yield ".SH COMMANDS"
    for name, (_, summary) in COMMANDS.items():
        page = f" See \\fBrtcrelay\\-{name}\\fR(1)." if name in _PAGES else ""
        yield from (".TP", f".B rtcrelay {_roff(name)}", _roff(summary) + page)
    yield ".SH OPTIONS"
    yield from _options(context.command, context)
    yield ".SH EXIT STATUS"
    for value, meaning in _exit_statuses():
        yield from (".TP", f".B {value}", _roff(meaning))
    yield from (".PP", _roff(_PIPES))
    yield ".SH ENVIRONMENT"
    for name, meaning in _ENVIRONMENT:
        yield from (".TP", f".B {_roff(name)}", _roff(meaning))
    yield ".SH FILES"
    for name, meaning in _FILES:
        yield from (".TP", f".I {_roff(name)}", _roff(meaning))
    yield from _examples(ROOT_EPILOG)
    yield ".SH SEE ALSO"
    yield ",\n".join(f".BR rtcrelay\\-{name} (1)" for name in _PAGES).replace("(1),", "(1) ,")


def _page(name: str, command: Any, parent: Any) -> Iterator[str]:
    yield from _head(f"rtcrelay-{name}", COMMANDS[name][1].rstrip("."))
    leaves = getattr(command, "commands", None) or {"": command}
    yield ".SH SYNOPSIS"
    contexts = {}
    for leaf_name, leaf in leaves.items():
        path = " ".join(part for part in ("rtcrelay", name, leaf_name) if part)
        contexts[path] = leaf, leaf.context_class(leaf, info_name=path, parent=None)
        pieces = " ".join(f"\\fI{_roff(piece)}\\fR" for piece in leaf.collect_usage_pieces(contexts[path][1]))
        yield from (f".B {_roff(path)}", pieces, ".br")
    yield ".SH DESCRIPTION"
    for path, (leaf, context) in contexts.items():
        if len(contexts) > 1:
            yield f".SS {_roff(path)}"
        yield from _text(leaf.help or "")
        yield from _options(leaf, context)
    yield from _examples("\n".join(leaf.epilog or "" for leaf in leaves.values()))
    yield from (".SH SEE ALSO", ".BR rtcrelay (1)", "has exit statuses, environment and files.")


def _head(name: str, summary: str) -> Iterator[str]:
    # No date: the pages change with the version, and a build must give the same bytes each time.
    yield f'.TH {_roff(name).upper()} 1 "" "rtcrelay {rtcrelay.__version__}" "rtcrelay manual"'
    yield from (".SH NAME", f"{_roff(name)} \\- {_roff(summary[0].lower() + summary[1:])}")


def _options(command: Any, context: Any) -> Iterator[str]:
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None:
            yield from (".TP", f".B {_roff(record[0])}", _roff(record[1]))


def _examples(epilog: str) -> Iterator[str]:
    lines = [line.strip() for line in epilog.replace("\b", "").splitlines() if line.startswith("  ")]
    if lines:
        yield from (".SH EXAMPLES", ".nf", *(_roff(line) for line in lines), ".fi")


def _text(help_text: str) -> Iterator[str]:
    for index, paragraph in enumerate(inspect.cleandoc(help_text).split("\n\n")):
        yield from ((".PP", _roff(paragraph)) if index else (_roff(paragraph),))


def _exit_statuses() -> Iterator[tuple[int, str]]:
    """(number, meaning) as `ExitStatus` documents its members."""
    tree = ast.parse(inspect.getsource(errors.ExitStatus))
    body = tree.body[0].body  # type: ignore[attr-defined]  # the class statement
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(following, ast.Expr):
            yield ast.literal_eval(statement.value), ast.literal_eval(following.value)


def _roff(text: str) -> str:
    """Text that roff prints as it is."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").splitlines()
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in lines)


def generate() -> dict[str, str]:
    """What is made of the command tree, by its path in the repository."""
    pages = {f"man/{name}": content for name, content in man_pages().items()}
    names = {"bash": "rtcrelay.bash", "zsh": "_rtcrelay", "fish": "rtcrelay.fish"}
    return pages | {f"completions/{names[shell]}": completion_script(shell) for shell in SHELLS}


def reference() -> dict[str, str]:
    """What is made of the services, by its path in the repository."""
    from rtcrelay.cli.capacity_docs import capacity_page
    from rtcrelay.cli.log_docs import logs_page
    from rtcrelay.cli.metric_docs import metrics_page  # it imports every service

    return {"docs/metrics.md": metrics_page(), "docs/logs.md": logs_page(), "docs/capacity.md": capacity_page()}


def main() -> int:
    """Writes the generated files into the repository that this package lies in."""
    repository = Path(__file__).resolve().parents[2]
    for name, content in (generate() | reference()).items():
        (repository / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
