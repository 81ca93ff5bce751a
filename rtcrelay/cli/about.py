"""``rtcrelay version``, ``man`` and ``completion``: what rtcrelay says about itself."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated

import typer

import rtcrelay
from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Common, leaf
from rtcrelay.errors import ExitStatus, UsageError

app = new_group()


@leaf(app, "version", examples="rtcrelay version\nrtcrelay version --json")
def version(
    common: Common, as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False
) -> None:
    """Print the version."""
    if as_json:
        facts = {"kind": "version", "v": 1, "version": rtcrelay.__version__, "python": platform.python_version()}
        print(json.dumps(facts))
    else:
        print(f"rtcrelay {rtcrelay.__version__}")


@leaf(
    app,
    "completion",
    examples="""
    rtcrelay completion bash > /etc/bash_completion.d/rtcrelay
    rtcrelay completion zsh > "${fpath[1]}/_rtcrelay"
    rtcrelay completion fish > ~/.config/fish/completions/rtcrelay.fish""",
)
def completion(
    common: Common, shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]
) -> None:
    """Print the completion script of a shell."""
    from rtcrelay.cli.docs import SHELLS, completion_script

    if shell not in SHELLS:
        raise UsageError(f"no completion for {shell!r}, expected {', '.join(SHELLS)}", hint=_meant(shell, SHELLS))
    print(completion_script(shell), end="")


@leaf(app, "man", examples="rtcrelay man\nrtcrelay man serve\nrtcrelay man ufrag > rtcrelay-ufrag.1")
def man(
    common: Common,
    page: Annotated[str, typer.Argument(metavar="PAGE", help="A command. [default: the overview]")] = "",
) -> ExitStatus:
    """Show a manual page; its source if stdout is not a terminal."""
    from rtcrelay.cli.docs import man_pages

    pages = man_pages()
    name = f"{page.removesuffix('.1')}.1" if page.startswith("rtcrelay") else f"rtcrelay-{page}.1"
    name = name if page else "rtcrelay.1"
    if name not in pages:
        known = sorted(known.removesuffix(".1").removeprefix("rtcrelay-") for known in pages)
        raise UsageError(f"no manual page {page!r}, expected one of {', '.join(known)}", hint=_meant(page, known))
    if not sys.stdout.isatty() or shutil.which("man") is None:
        print(pages[name], end="")
        return ExitStatus.OK
    with tempfile.NamedTemporaryFile("w", suffix=".1") as file:
        file.write(pages[name])
        file.flush()
        # man is looked up as the user would
        return ExitStatus(bool(subprocess.run(["man", "-l", file.name]).returncode))  # noqa: S603, S607


def _meant(word: str, known: Sequence[str]) -> str | None:
    near = get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else None
