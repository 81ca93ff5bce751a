"""Every exit status of the table in rtcrelay(1), reached by a command line as users type it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtcrelay.errors import ExitStatus

from .conftest import Cli, Outcome
from .relay_process import RelayProcess

BOUND = "127.0.0.1:{port}"

# The status, the command line ({name}: see `places`), and how its error begins.
REACHED: tuple[tuple[ExitStatus, str, str], ...] = (
    (ExitStatus.OK, "version", ""),
    (ExitStatus.OK, "config check relay --config {config}", ""),
    (ExitStatus.OK, "status -A {relay}", ""),
    (ExitStatus.OK, "flows list -A {relay} --json", ""),
    (ExitStatus.PROBLEM, "flows get 198.51.100.7 -A {relay}", ""),
    (ExitStatus.PROBLEM, "ufrag decode aaaaaaaaaaaaaaaaaaaaaaaaaaa --key-file {keys}", "rtcrelay: error: "),
    (ExitStatus.PROBLEM, "keys generate -o {keys}", "rtcrelay: error: key file {keys} exists already"),
    (ExitStatus.PROBLEM, "keys revoke 3 --key-file {keys}", "rtcrelay: error: key 3 is the active one"),
    (ExitStatus.PROBLEM, "probe stun 127.0.0.1:{closed} -c 1 -W 100ms", ""),
    (ExitStatus.USAGE, "flows lst", "rtcrelay: error: no such command 'lst'"),
    (ExitStatus.USAGE, "flows list --stat x", "rtcrelay: error: no such option --stat"),
    (ExitStatus.USAGE, "flows list --state storng", "rtcrelay: error: --state: 'storng' is not one of"),
    (ExitStatus.USAGE, "sessions close --all -A {relay} --state new", "rtcrelay: error: --all does not go with"),
    (ExitStatus.DATA, "ufrag decode short --key-file {keys}", "rtcrelay: error: 'short'"),
    (ExitStatus.DATA, "stun decode 00zz", "rtcrelay: error: "),
    (ExitStatus.DATA, "explain -r {keys} --key-file {keys}", "rtcrelay: error: "),
    (ExitStatus.NO_INPUT, "stun decode -r {nothing}", "rtcrelay: error: cannot read {nothing}: no such file"),
    (ExitStatus.NO_INPUT, "sdp inspect {nothing}", "rtcrelay: error: cannot read {nothing}: no such file"),
    (ExitStatus.UNAVAILABLE, "status -A {nothing}", "rtcrelay: error: cannot reach the admin socket {nothing}"),
    (ExitStatus.UNAVAILABLE, "sessions list", "rtcrelay: error: no transceiver runs here"),
    (ExitStatus.UNAVAILABLE, "flows list", "rtcrelay: error: no relay runs here"),
    (ExitStatus.OS, "serve relay -q --key-file {keys} --admin none -l {taken} --internal 127.0.0.1:0",
     "rtcrelay: error: cannot bind {taken}: address already in use\nhint: ss -ulpn sport = :"),
    (ExitStatus.IO, "keys generate -o {nothing}/keys.toml", "rtcrelay: error: cannot write key file"),
    (ExitStatus.IO, "config init --out {nothing}/c.toml", "rtcrelay: error: cannot write {nothing}/c.toml"),
    (ExitStatus.TEMPORARY, "keys rotate --key-file {ring} -A {relay} --wait --timeout 1ms",
     "next: bring the file to every server"),
    (ExitStatus.CONFIG, "keys list --key-file {nothing}", "rtcrelay: error: cannot read key file {nothing}"),
    (ExitStatus.CONFIG, "config check --config {nothing}", "rtcrelay: error: cannot read configuration file"),
    (ExitStatus.CONFIG, "serve relay --check --workers 99", "rtcrelay: error: --workers: '99' is not a whole number"),
)  # fmt: skip
ELSEWHERE = {
    ExitStatus.SOFTWARE: "no command line does it; test_a_defect_is_70 plays one",
    ExitStatus.PERMISSION: "as root everything is allowed; test_a_missing_privilege_is_77 takes it away",
    ExitStatus.INTERRUPTED: "test_control_c_is_130 and the end signals below",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the table's names stand for."""
    from rtcrelay import keys

    directory = tmp_path_factory.mktemp("statuses")
    names = {name: str(directory / f"{name}.toml") for name in ("keys", "ring", "config")}
    for name in ("keys", "ring"):
        keys.write_key_file(Path(names[name]), keys.generate(3))
    Path(names["config"]).write_text(f'key_file = "{names["keys"]}"\n')
    with (
        RelayProcess(directory, names["keys"]) as relay,
        socket.socket(type=socket.SOCK_DGRAM) as taken,
        socket.socket(type=socket.SOCK_DGRAM) as closed,
    ):
        taken.bind(("127.0.0.1", 0))
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        closed.close()
        yield {
            **names,
            "relay": str(relay.admin),
            "nothing": str(directory / "nothing"),
            "taken": f"127.0.0.1:{taken.getsockname()[1]}",
            "closed": str(port),
        }


@pytest.fixture(autouse=True)
def _nobody_runs_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))


@pytest.mark.parametrize(("status", "line", "error"), REACHED, ids=[f"{s.value} {line[:50]}" for s, line, _ in REACHED])
def test_a_command_line_ends_with_its_status(
    cli: Cli, places: dict[str, str], status: ExitStatus, line: str, error: str
) -> None:
    done = cli(*line.format(**places).split())
    assert done.status == status, done.err
    assert done.err.startswith(error.format(**places))
    if status in (ExitStatus.USAGE, ExitStatus.CONFIG, ExitStatus.OS, ExitStatus.IO, ExitStatus.NO_INPUT):
        assert done.out == "", "an error is nothing for a program to read"


def test_every_status_of_the_table_is_reached() -> None:
    assert {status for status, _, _ in REACHED} | set(ELSEWHERE) == set(ExitStatus)


def test_a_defect_is_70(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcrelay.keys.generate", lambda key_id: 1 // 0)
    assert cli("keys", "generate").status == ExitStatus.SOFTWARE


@pytest.mark.requires(command="setpriv", install="apt-get install util-linux")
def test_a_missing_privilege_is_77(process: Cli, key_file: str, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        before: tuple[str, ...] = ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service")
    else:
        before = ()
    line = ("serve", "relay", "-q", "--key-file", key_file, "--admin", "none", "-l", "127.0.0.1:53")
    done = process(*line, "--internal", "127.0.0.1:0", before=before)
    assert done.status == ExitStatus.PERMISSION, done.err
    assert "hint: ports below 1024 need CAP_NET_BIND_SERVICE" in done.err


def ended_by(signum: int, places: dict[str, str], *args: str) -> Outcome:
    """What a command did that got a signal once it had begun."""
    command = [sys.executable, "-m", "rtcrelay", *args, "-A", places["relay"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(1.0)
        process.send_signal(signum)
        out, err = process.communicate(timeout=20)
    return Outcome(process.returncode, out, err)


def test_control_c_in_a_command_that_waits_is_130_and_in_one_that_follows_0(places: dict[str, str]) -> None:
    assert ended_by(signal.SIGINT, places, "flows", "stats", "-i", "1m").status == ExitStatus.INTERRUPTED
    done = ended_by(signal.SIGINT, places, "flows", "tail")
    assert (done.status, done.err) == (ExitStatus.OK, "")


def test_sigterm_ends_a_command_by_the_signal(places: dict[str, str]) -> None:
    assert ended_by(signal.SIGTERM, places, "flows", "tail").status == -signal.SIGTERM
