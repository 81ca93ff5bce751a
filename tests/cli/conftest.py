"""Two ways to run a command line: in this process, and as users do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from rtcrelay import keys
from rtcrelay.__main__ import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command line did."""

    status: int
    out: str
    err: str


Cli: TypeAlias = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("RTCRELAY_", "_RTCRELAY_")) or name in ("CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in this process."""

    def run(*args: str) -> Outcome:
        status = main(list(args))
        captured = capsys.readouterr()
        return Outcome(int(status), captured.out, captured.err)

    return run


@pytest.fixture
def process() -> Cli:
    """Runs a command line as a process of its own, with pipes."""

    def run(*args: str, stdin: str = "", before: tuple[str, ...] = (), **environ: str) -> Outcome:
        done = subprocess.run(
            [*before, sys.executable, "-m", "rtcrelay", *args],
            input=stdin,
            capture_output=True,
            text=True,
            env=os.environ | environ,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    """A sound key file."""
    path = tmp_path / "keys.toml"
    keys.write_key_file(path, keys.generate(3))
    return str(path)
