"""What a long-running process owes its surroundings."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtcrelay import daemon


@pytest.fixture
def _loggers() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, daemon.log.level)
    yield
    root.handlers[:], root.level, daemon.log.level = before


def test_readiness_reaches_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        daemon.sd_notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_readiness_reaches_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"rtcrelay-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        daemon.sd_notify("STATUS=x")
        assert manager.recv(100) == b"STATUS=x"


def test_a_service_manager_that_is_gone_is_only_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    daemon.sd_notify("READY=1")
    assert "cannot notify the service manager at" in caplog.text
    monkeypatch.delenv("NOTIFY_SOCKET")
    daemon.sd_notify("READY=1")
    assert len(caplog.records) == 1


def test_the_runtime_directory_is_systemds_first() -> None:
    assert daemon.runtime_directory({"RUNTIME_DIRECTORY": "/run/x:/run/y"}) == Path("/run/x")


def test_users_who_cannot_write_to_run_have_their_own_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert daemon.runtime_directory({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/rtcrelay")
    assert daemon.runtime_directory({}) == Path("/run/rtcrelay")
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert daemon.runtime_directory({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/rtcrelay")


@pytest.mark.usefixtures("_loggers")
def test_a_json_log_line_is_one_object_whatever_the_message_holds(capsys: pytest.CaptureFixture[str]) -> None:
    daemon.set_up_logging("json")
    daemon.log.info('a "quoted"\nmessage from %s', "é")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["level"], line["logger"], line["message"]) == ("info", "rtcrelay", 'a "quoted"\nmessage from é')
    assert line["time"].endswith("Z")


@pytest.mark.usefixtures("_loggers")
def test_a_text_log_message_cannot_forge_another_line(capsys: pytest.CaptureFixture[str]) -> None:
    daemon.set_up_logging("text")
    daemon.log.warning("one\r\n2026-01-01T00:00:00.000Z ERROR rtcrelay: two")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("Z WARNING rtcrelay: one\\r")
    assert lines[1].startswith("  ")


@pytest.mark.usefixtures("_loggers")
def test_json_is_the_form_of_logs_that_no_terminal_reads(capsys: pytest.CaptureFixture[str]) -> None:
    daemon.set_up_logging("auto", verbosity=-1)
    daemon.log.info("not this")
    daemon.log.warning("this")
    assert json.loads(capsys.readouterr().err)["message"] == "this"


def test_a_child_ends_with_its_parent() -> None:
    # A parent that starts a child which follows it, tells the child's id, and is then killed.
    child = (
        "import os, sys, time; from rtcrelay import daemon;"
        "daemon.follow_parent(os.environ); print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys, time; env = os.environ | {'RTCRELAY_PARENT_PID': str(os.getpid())};"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], env=env);"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        process.kill()
        process.wait()
        # The child holds the pipe's other end: its end is the pipe's.
        assert process.stdout.read() == ""
    deadline = time.monotonic() + 10
    while _is_running(pid) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        # A zombie that nobody has waited for yet is not running.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_child_whose_parent_has_gone_already_ends_at_once() -> None:
    code = "from rtcrelay import daemon; daemon.die_with_parent(1 << 22); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == ""


def test_the_watchdogs_time_is_the_service_managers_and_only_for_this_process() -> None:
    assert daemon.watchdog_seconds({"WATCHDOG_USEC": "2500000"}) == 2.5
    assert daemon.watchdog_seconds({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}) == 2.5
    assert daemon.watchdog_seconds({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}) is None
    for nothing in ("", "0", "-5", "soon"):
        assert daemon.watchdog_seconds({"WATCHDOG_USEC": nothing}) is None
    assert daemon.watchdog_seconds({}) is None


def test_sockets_are_looked_for_where_any_user_may_have_made_them() -> None:
    assert daemon.runtime_directories({"RUNTIME_DIRECTORY": "/run/x:/run/y", "XDG_RUNTIME_DIR": "/u"}) == [
        Path("/run/x")
    ]
    assert daemon.runtime_directories({"XDG_RUNTIME_DIR": "/u"}) == [Path("/run/rtcrelay"), Path("/u/rtcrelay")]
    assert daemon.runtime_directories({}) == [Path("/run/rtcrelay")]


END_TWICE = """
import asyncio, os, signal
from rtcrelay import daemon

async def main():
    told = asyncio.Event()
    daemon.handle_end_signals(asyncio.get_running_loop(), told.set)
    os.kill(os.getpid(), signal.{first})
    await told.wait()
    print("asked to end", flush=True)
    os.kill(os.getpid(), signal.{second})
    await asyncio.sleep(60)

{run}(main())
"""


@pytest.mark.parametrize("run", ["asyncio.run", "__import__('uvloop').run"])
@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT")])
def test_the_first_signal_asks_for_the_end_and_the_second_is_the_end(first: str, second: str, run: str) -> None:
    code = END_TWICE.format(first=first, second=second, run=run)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("asked to end\n", -signal.Signals[second])
