"""Manual pages and completion scripts are what the command tree makes today, and are well formed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rtcrelay.cli import docs
from rtcrelay.errors import ExitStatus

REPOSITORY = Path(__file__).parents[2]
GENERATED = docs.generate()


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_a_committed_file_is_what_the_command_tree_makes(name: str) -> None:
    assert (REPOSITORY / name).read_text() == GENERATED[name], "run: python -m rtcrelay.cli.docs"


@pytest.mark.parametrize("name", ["docs/capacity.md", "docs/logs.md", "docs/metrics.md"])
def test_a_committed_reference_page_is_what_the_services_make(name: str) -> None:
    assert (REPOSITORY / name).read_text() == docs.reference()[name], "run: python -m rtcrelay.cli.docs"


def test_nothing_else_lies_beside_the_generated_files() -> None:
    present = {f"{folder}/{path.name}" for folder in ("man", "completions") for path in (REPOSITORY / folder).iterdir()}
    assert present == set(GENERATED)


def test_the_overview_lists_every_exit_status() -> None:
    page = docs.man_pages()["rtcrelay.1"]
    for status in ExitStatus:
        assert f".TP\n.B {status.value}\n" in page


@pytest.mark.requires(command="man", install="apt-get install man-db")
@pytest.mark.parametrize("name", sorted(name for name in GENERATED if name.startswith("man/")))
def test_man_formats_a_page_without_a_warning(name: str) -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", str(REPOSITORY / name)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "OPTIONS" in done.stdout or "rtcrelay" in done.stdout


@pytest.mark.parametrize("shell", docs.SHELLS)
def test_a_shell_accepts_its_completion_script(shell: str, requires: object) -> None:
    assert callable(requires)
    requires(command=shell, install=f"apt-get install {shell}")
    script = next(REPOSITORY / name for name in GENERATED if shell in name or (shell == "zsh" and "_rtcrelay" in name))
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
