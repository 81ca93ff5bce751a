"""What people see: real terminals of 80 and 200 columns, pipes, pipes that close, no colour, no UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .demo_site import DemoSite, demo_site, talking
from .test_cli_app import on_terminal

TABLES = ("status", "flows list", "sessions list", "sessions list --wide", "keys list", "config show relay", "doctor")
LISTS = ("flows list", "flows stats --all", "sessions list", "config show relay", "doctor --timeout 500ms", "keys list")

pytestmark = pytest.mark.requires(command="tmux", install="apt-get install tmux")


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    with demo_site() as site, talking(site.url(0)), talking(site.url(1)):
        yield site


class Tmux:
    """One terminal with a shell in it."""

    def __init__(self, socket: Path, site: DemoSite, columns: int) -> None:
        self._command = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self._environ = site.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "SHELL": "/bin/sh"}
        size = ["-x", str(columns), "-y", "60"]
        shell = "env PS1='$ ' sh"
        self._runs = 0
        self._tmux("new-session", "-d", *size, "-c", str(site.directory), shell)
        self._tmux("set-option", "-g", "history-limit", "5000")

    def _tmux(self, *args: str) -> str:
        done = subprocess.run(
            [*self._command, *args], capture_output=True, text=True, env=self._environ, check=True, timeout=20
        )
        return done.stdout

    def screen(self) -> list[str]:
        """The lines that are seen; a line that the terminal had to break is one again."""
        return self._tmux("capture-pane", "-p", "-J").rstrip().splitlines()

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def run(self, line: str) -> list[str]:
        """What a command printed."""
        self._runs += 1
        self.keys(f"clear; {line}; echo ended {self._runs}", "Enter")
        lines = self.until(f"ended {self._runs}", begins=True)
        return lines[: lines.index(f"ended {self._runs}")]

    def until(self, word: str, *, begins: bool = False) -> list[str]:
        end = time.monotonic() + 30
        while True:
            lines = self.screen()
            if any(line.startswith(word) if begins else word in line for line in lines):
                return lines
            assert time.monotonic() < end, f"no {word!r} on the screen:\n" + "\n".join(lines)
            time.sleep(0.05)

    def close(self) -> None:
        self._tmux("kill-server")


@contextmanager
def terminal(directory: Path, site: DemoSite, columns: int) -> Iterator[Tmux]:
    tmux = Tmux(directory / "tmux", site, columns)
    try:
        yield tmux
    finally:
        tmux.close()


@pytest.mark.parametrize("columns", [80, 200])
def test_tables_fit_the_terminal_and_cut_nothing(site: DemoSite, tmp_path: Path, columns: int) -> None:
    session = json.loads(site.run("sessions", "list", "--json").stdout)[0]
    with terminal(tmp_path, site, columns) as tmux:
        for command in TABLES:
            lines = tmux.run(f"rtcrelay {command}")
            assert lines, command
            if columns == 200 or "--wide" not in command:
                assert max(map(len, lines)) <= columns, command
            assert not any("…" in line for line in lines), command
            if command == "sessions list":
                shown = "\n".join(lines)
                assert session["id"] in shown
                assert session["client"] in shown
                assert (session["ufrag"] in shown) == (columns == 200), "left out as a whole, not cut"


@pytest.mark.parametrize("columns", [80, 200])
def test_the_live_view_draws_sorts_and_gives_the_terminal_back(site: DemoSite, tmp_path: Path, columns: int) -> None:
    with terminal(tmp_path, site, columns) as tmux:
        tmux.run("echo before")
        tmux.keys("rtcrelay flows top -i 200ms", "Enter")
        frame = tmux.until("by rate")
        assert frame[0].startswith("2 flows, ")
        assert max(map(len, frame)) <= columns
        assert any(line.startswith("SRC") for line in frame)
        tmux.keys("s")
        tmux.until("by bytes")
        tmux.keys("q")
        after = tmux.until("before")
        assert not any("flows, " in line for line in after)
        assert tmux.run("echo again") == ["again"]


def test_a_question_is_answered_at_its_prompt(site: DemoSite, tmp_path: Path) -> None:
    with terminal(tmp_path, site, 80) as tmux:
        tmux.keys("clear; rtcrelay sessions close --all; echo ended:$?", "Enter")
        tmux.until("Close 2 sessions? [y/N]")
        tmux.keys("n", "Enter")
        assert "ended:1" in tmux.until("ended:", begins=True)
    assert len(json.loads(site.run("sessions", "list", "--json").stdout)) == 2


@pytest.mark.parametrize("command", LISTS)
def test_a_pipe_gets_plain_columns_of_any_width_without_escapes(site: DemoSite, command: str) -> None:
    done = site.shell(f"rtcrelay {command} | cat")
    assert "\x1b" not in done.stdout
    assert "─" not in done.stdout
    header, *rows = done.stdout.splitlines()
    assert header == header.upper()
    assert rows


@pytest.mark.parametrize("command", LISTS)
@pytest.mark.parametrize("form", ["plain", "json", "jsonl", "table"])
def test_a_pipe_that_closes_is_success_and_silent(site: DemoSite, command: str, form: str) -> None:
    done = site.shell(f"rtcrelay {command} -q -o {form} | head -c 1")
    assert done.returncode in ((0, 1) if command.startswith("doctor") else (0,))
    assert done.stderr == ""
    assert len(done.stdout) == 1


def test_no_color_and_dumb_terminals_get_none(site: DemoSite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    args = ["doctor", "--timeout", "500ms"]
    assert "\x1b[3" in on_terminal(args, 80)
    assert "\x1b[" not in on_terminal(args, 80, NO_COLOR="1")
    assert "\x1b[" not in on_terminal(args, 80, TERM="dumb")
    assert "\x1b[" not in on_terminal([*args, "--color", "never"], 80)
    assert "\x1b[3" in on_terminal([*args, "--color", "always"], 80, NO_COLOR="1")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", ["sessions list", "doctor --timeout 500ms", "keys list", "flows list"])
def test_a_terminal_without_utf_8_gets_its_table_in_its_own_characters(
    site: DemoSite, command: str, encoding: str
) -> None:
    environ = site.environ | {"LC_ALL": "C", "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LANG": "C"}
    line = [sys.executable, "-m", "rtcrelay", *command.split(), "-o", "table"]
    done = subprocess.run(line, capture_output=True, env=environ)
    assert done.returncode in (0, 1)
    text = done.stdout.decode("ascii")
    assert "\\u" not in text
    assert len(text.splitlines()) > 2


def test_help_and_errors_survive_a_locale_without_their_characters(site: DemoSite) -> None:
    environ = site.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for args, status in ((["--help"], 0), (["config", "init"], 0), (["status", "-A", "/tmp/käse.sock"], 69)):
        done = subprocess.run([sys.executable, "-m", "rtcrelay", *args], capture_output=True, env=environ)
        assert done.returncode == status, done.stderr
        (done.stdout + done.stderr).decode("ascii")


def test_a_terminal_that_goes_away_ends_the_live_view(site: DemoSite) -> None:
    leader, follower = os.openpty()
    environ = site.environ | {"TERM": "xterm"}
    command = [sys.executable, "-m", "rtcrelay", "flows", "top", "-i", "100ms"]
    with subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=environ, start_new_session=True
    ) as process:
        os.close(follower)
        assert os.read(leader, 10)
        os.close(leader)
        assert process.wait(20) is not None
