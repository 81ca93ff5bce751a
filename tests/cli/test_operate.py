"""``rtcrelay status`` and ``drain`` against a relay that runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rtcrelay import keys
from rtcrelay._dataplane import Route, mint_ufrag

from .conftest import Cli
from .relay_process import RelayProcess, binding_request


def test_the_sockets_in_the_runtime_directory_are_found(tmp_path: Path, key_file: str, process: Cli) -> None:
    with RelayProcess(tmp_path, key_file, "--cluster", "7") as relay:
        done = process("status", RUNTIME_DIRECTORY=str(tmp_path))
        assert (done.status, done.err) == (0, "")
        header, row = done.out.splitlines()
        assert header.split() == ["ROLE", "NODE", "STATE", "FLOWS", "SESSIONS", "DROPPED", "UPTIME", "PID", "SOCKET"]
        assert row.split()[:6] == ["relay", "-", "ready", "0", "-", "0"]
        assert row.split()[7:] == [str(relay.process.pid), str(relay.admin)]
        (found,) = json.loads(process("status", "-o", "json", RUNTIME_DIRECTORY=str(tmp_path)).out)
        assert (found["kind"], found["v"], found["role"], found["cluster"]) == ("status", 1, "relay", 7)


def test_a_drain_is_seen_by_load_balancers_and_in_the_status(tmp_path: Path, key_file: str, process: Cli) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        done = process("drain", "-A", str(relay.admin), "--wait", "--json")
        assert (done.status, done.err) == (0, "")
        assert [row["state"] for row in json.loads(done.out)] == ["draining"]
        assert relay.ask("/readyz") == (503, "draining\n")
        assert process("status", "-A", str(relay.admin)).status == 0, "as it should be"
        done = process("drain", "-A", str(relay.admin), "--cancel", "-H")
        assert done.out.split()[:3] == ["relay", "-", "ready"]
        assert relay.ask("/readyz")[0] == 200


def test_waiting_for_a_relay_with_flows_ends_with_75_at_its_limit(tmp_path: Path, key_file: str, process: Cli) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as transceiver, socket.socket(type=socket.SOCK_DGRAM) as client:
        transceiver.bind(("127.0.0.1", 0))
        transceiver.settimeout(10)
        port = transceiver.getsockname()[1]
        ring = keys.load_key_file(Path(key_file)).ring
        ufrag = mint_ufrag(ring, Route("endpoint", 0, ip="127.0.0.1", port=port, nonce=1, key_id=3))
        with RelayProcess(tmp_path, key_file, "--transceivers", f"127.0.0.1:{port}") as relay:
            client.sendto(binding_request(f"{ufrag}:abcd"), relay.public())
            transceiver.recv(2048)
            done = process("drain", "-A", str(relay.admin), "--wait", "--timeout", "50ms")
            assert (done.status, done.out) == (75, "")
            assert done.err == (
                "1 flows or sessions are left\nrtcrelay: error: 1 flows or sessions are left after 50ms\n"
            )


def test_nobody_there_is_69(tmp_path: Path, process: Cli) -> None:
    for command in ("status", "drain"):
        done = process(command, RUNTIME_DIRECTORY=str(tmp_path))
        assert (done.status, done.out) == (69, "")
        assert done.err == (
            "rtcrelay: error: no service runs here: there is no admin socket where they are usually made\n"
            "hint: --admin SOCKET names one\n"
        )
        done = process(command, "-A", "/nonexistent/relay.sock")
        assert done.status == 69
        assert done.err == (
            "rtcrelay: error: cannot reach the admin socket /nonexistent/relay.sock: no such file or directory\n"
        )


def test_one_that_was_killed_is_69_and_the_others_are_shown(tmp_path: Path, key_file: str, process: Cli) -> None:
    (tmp_path / "a").mkdir()
    with RelayProcess(tmp_path / "a", key_file) as dead:
        dead.process.kill()
        dead.process.wait()
    with RelayProcess(tmp_path, key_file) as relay:
        done = process("status", "-A", str(dead.admin), "-A", str(relay.admin))
        assert done.status == 69
        assert str(relay.process.pid) in done.out
        assert done.err == f"rtcrelay: error: cannot reach the admin socket {dead.admin}: connection refused\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["drain", "--cancel", "--wait"], "--cancel and --wait exclude each other"),
        (["drain", "--timeout", "5s"], "--timeout needs --wait"),
        (["drain", "--wait", "--timeout", "5"], "--timeout: '5' is not a duration, expected for example 250ms, 60s or"),
    ],
)
def test_options_that_make_no_sense_are_2(cli: Cli, args: list[str], message: str) -> None:
    done = cli(*args)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"rtcrelay: error: {message}")


@pytest.mark.parametrize(("answer", "status", "state"), [("n", 1, 200), ("y", 0, 503)])
def test_a_person_is_asked_before_a_drain(tmp_path: Path, key_file: str, answer: str, status: int, state: int) -> None:
    with RelayProcess(tmp_path, key_file) as relay:
        master, terminal = os.openpty()
        os.write(master, f"{answer}\n".encode())
        done = subprocess.run(
            [sys.executable, "-m", "rtcrelay", "drain", "-A", str(relay.admin)],
            stdin=terminal,
            capture_output=True,
            text=True,
        )
        os.close(master)
        os.close(terminal)
        assert done.stderr == f"Drain {relay.admin}? [y/N] "
        assert done.returncode == status
        assert relay.ask("/readyz")[0] == state
