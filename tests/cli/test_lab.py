"""The laboratory, built for real: network namespaces, links, services; and nothing left of it, whatever was killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtcrelay.cli.app import run as run_command
from rtcrelay.errors import ExitStatus
from rtcrelay.lab import network
from rtcrelay.lab.lab import ROOT
from rtcrelay.lab.processes import find_in

from .schemas import validate
from .test_examples import EXAMPLES

NAMESPACES = Path("/run/netns")
PYTHON = (sys.executable, "-P", "-m", "rtcrelay")
SECONDS = 50
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: run the tests as root")
pytestmark = [
    pytest.mark.timeout(240),  # a dozen services start at once
    pytest.mark.requires(command="ip", install="apt-get install iproute2"),
    pytest.mark.requires(command="nsenter", install="apt-get install util-linux"),
    pytest.mark.requires(file="/dev/net/tun", install="modprobe tun"),
]

WORLD = """\
seed = 1

[[regions]]
name = "near"
latitude = -33.87
longitude = 151.21
ingress = true
signaling = true

[[regions]]
name = "far"
latitude = 38.95
longitude = -77.45
cluster = 1
relays = 1
transceivers = 1

[links]
public = [{ from = "near", to = "near", delay_ms = 10 }]
backbone = [{ from = "near", to = "far", delay_ms = 40 }]
"""


class Bench:
    """A laboratory's name, and the command line on it."""

    def __init__(self, name: str, world: Path) -> None:
        self.name, self.world = name, world

    def lab(self, verb: str, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = [*PYTHON, "lab", verb, "--name", self.name, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert expect is None or done.returncode == expect, f"{words}: {done.stdout}{done.stderr}"
        return done

    def rows(self, verb: str, *words: str) -> list[dict[str, Any]]:
        done = self.lab(verb, "-o", "jsonl", *words, expect=None)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def up(self) -> None:
        self.lab("up", "--world", str(self.world))

    @property
    def namespaces(self) -> list[str]:
        present = NAMESPACES.iterdir() if NAMESPACES.exists() else []
        return [path.name for path in present if path.name.startswith(f"rrlab-{self.name}-")]

    @property
    def is_gone(self) -> bool:
        """Nothing of it is there: no namespace, no process, no file."""
        mark = f"{ROOT}/{self.name}/".encode()
        left = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and mark in (entry / "cmdline").read_bytes() + b"/":
                    left.append(entry.name)
        return not left and not self.namespaces and not (ROOT / self.name).exists()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab") / "world.toml"
    path.write_text(WORLD)
    return path


@pytest.fixture(scope="module")
def standing(world: Path) -> Iterator[Bench]:
    """One that is up, for tests that leave it as it was."""
    bench = Bench(f"s{os.getpid()}", world)
    try:
        bench.up()
        yield bench
    finally:
        bench.lab("down", expect=None)


@pytest.fixture
def bench(world: Path) -> Iterator[Bench]:
    bench = Bench(f"t{os.getpid()}", world)
    try:
        yield bench
    finally:
        bench.lab("down", expect=None)


@needs_root
def test_every_host_runs_and_rows_are_what_their_schemas_say(standing: Bench) -> None:
    hosts = standing.rows("status")
    assert {validate(row) for row in hosts} == {"lab_host"}
    assert {row["name"]: row["state"] for row in hosts} == {
        **dict.fromkeys(("near", "near-router", "far", "far-router")),
        **dict.fromkeys(("near-ingress", "near-signaling", "far-relay-1", "far-transceiver-1"), "running"),
    }
    links = standing.rows("links")
    assert {validate(row) for row in links} == {"lab_link"}
    assert [(row["link"], row["way"]) for row in links] == [
        ("public:near-near", "there"),
        ("public:near-near", "back"),
        ("backbone:near-far", "there"),
        ("backbone:near-far", "back"),
    ]


@needs_root
def test_a_call_goes_by_the_near_ingress_and_the_backbone_to_the_far_cluster(standing: Bench) -> None:
    probe = 'probe session "$LAB_URL" --token-file "$LAB_TOKEN_FILE" --seconds 1 --json'
    done = standing.lab("run", "--at", "near", "--", "sh", "-c", f"{' '.join(PYTHON)} {probe}")
    report = json.loads(done.stdout)
    assert report["passed"]
    assert report["node"] == "far-transceiver-1"
    (ingress,) = (row["public"] for row in standing.rows("status") if row["role"] == "ingress")
    assert report["selected"] == f"{ingress}:3478"
    (check,) = (step for step in report["steps"] if step["name"] == "ice")
    # 10 ms there and back to the ingress, 40 to the cluster; a busy machine adds to it, but nothing takes from it.
    assert check["took_ms"] >= 100
    sent = {(row["link"], row["way"]): row["sent"] for row in standing.rows("links")}
    assert all(packets > 50 for packets in sent.values())


@needs_root
def test_a_command_on_a_host_has_its_network_its_services_and_its_exit_status(standing: Bench) -> None:
    assert "10.2.0.10" in standing.lab("run", "--at", "far-relay-1", "--", "ip", "address").stdout
    status = standing.lab("run", "--at", "far-relay-1", "--", *PYTHON, "status", "--json")
    assert [row["role"] for row in json.loads(status.stdout)] == ["relay"]
    assert standing.lab("run", "--", "sh", "-c", "exit 7", expect=7).stderr == ""
    wrong = standing.lab("run", "--at", "nowhere", "--", "true", expect=2)
    assert "there is no host nowhere in the laboratory\nhint: there are near, near-router, " in wrong.stderr


@needs_root
def test_a_link_is_changed_and_says_what_is_wrong_with_a_change(standing: Bench) -> None:
    rows = standing.rows("set", "backbone:near-far", "loss_percent=5", "rate_mbit=100")
    assert [(row["loss_percent"], row["rate_mbit"], row["delay_ms"]) for row in rows] == [(5, 100, 40)] * 2
    for words, message in (
        (("backbone:near-far", "loss_percent=101"), "link backbone:near-far: loss_percent: expected `float` <= 100.0"),
        (("backbone:near-far", "los=1"), "link backbone:near-far: object contains unknown field `los`"),
        (("backbone:a-b", "loss_percent=1"), "there is no link backbone:a-b"),
        (("backbone:near-far", "loss_percent=x"), "KEY=VALUE: 'loss_percent=x' has no number after the ="),
    ):
        assert message in standing.lab("set", *words, expect=2).stderr
    (row, _) = standing.rows("set", "backbone:near-far", "loss_percent=0", "rate_mbit=0")
    assert (row["loss_percent"], row["rate_mbit"]) == (0, 0)


@needs_root
def test_a_service_is_killed_seen_as_dead_and_started_again(standing: Bench) -> None:
    standing.lab("kill", "near-ingress")
    deadline = time.monotonic() + SECONDS
    while standing.lab("status", expect=None).returncode == 0:
        assert time.monotonic() < deadline
    assert [row["name"] for row in standing.rows("status") if row["state"] == "dead"] == ["near-ingress"]
    assert "nothing runs on near-ingress" in standing.lab("kill", "near-ingress", expect=1).stderr
    standing.lab("start", "near-ingress")
    assert standing.lab("status").returncode == 0
    assert "near is a client" in standing.lab("start", "near", expect=2).stderr


@needs_root
def test_it_is_built_once_and_removed_without_a_trace_and_twice_is_once(bench: Bench) -> None:
    done = bench.lab("up", "--world", str(bench.world), "--json")
    row = json.loads(done.stdout)
    assert validate(row) == "lab"
    assert row["calls"]["near"].startswith("http://203.0.113.")
    again = bench.lab("up", "--world", str(bench.world), expect=1)
    assert f"the laboratory {bench.name} is there already\nhint: 'rtcrelay lab down --name" in again.stderr
    # What a user runs there, and what outlives it, goes too.
    bench.lab("run", "--", "sh", "-c", "sleep 1000 > /dev/null 2>&1 &")
    bench.lab("down")
    assert bench.is_gone
    assert bench.lab("down").stderr == f"there is no laboratory {bench.name}\n"
    assert "is not up\nhint: 'rtcrelay lab up --name" in bench.lab("status", expect=69).stderr


@needs_root
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_what_a_killed_up_left_is_removed(bench: Bench, share: float) -> None:
    """Killed when so much of it is there, counted in namespaces and noted processes."""
    whole = 8 + 5
    with subprocess.Popen([*PYTHON, "lab", "up", "--name", bench.name, "--world", str(bench.world)]) as building:
        state = ROOT / bench.name / "state.json"
        while building.poll() is None:
            noted = json.loads(state.read_text())["processes"] if state.exists() else ()
            if len(bench.namespaces) + len(noted) > share * whole:
                break
        building.send_signal(signal.SIGKILL)
    assert building.returncode == -signal.SIGKILL
    assert not bench.is_gone
    assert "is not built to the end" in bench.lab("status", expect=69).stderr
    bench.lab("down")
    assert bench.is_gone


@needs_root
def test_an_up_that_fails_leaves_nothing_and_touches_nothing_of_others(bench: Bench) -> None:
    foreign = f"rrlab-{bench.name}-near"
    subprocess.run(["ip", "netns", "add", foreign], check=True)
    try:
        theirs = subprocess.Popen(["nsenter", f"--net={NAMESPACES / foreign}", "sleep", "1000"])
        try:
            done = bench.lab("up", "--world", str(bench.world), expect=71)
            assert f"there is a network namespace {foreign}, which is not this laboratory's" in done.stderr
            bench.lab("down")
            assert bench.namespaces == [foreign]
            assert theirs.poll() is None
            assert [process.pid for process in find_in([foreign])] == [theirs.pid]
        finally:
            theirs.kill()
            theirs.wait()
    finally:
        subprocess.run(["ip", "netns", "delete", foreign], check=True)
    assert bench.is_gone


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run_command(["lab", "up"]) == ExitStatus.PERMISSION
    assert "which only root may\nhint: run it by sudo" in capfd.readouterr().err


@needs_root
def test_a_kernel_without_tun_devices_is_told_of(
    world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(network, "TUN", Path("/nowhere/tun"))
    assert run_command(["lab", "up", "--name", "tunless", "--world", str(world)]) == ExitStatus.OS
    assert "/nowhere/tun cannot be opened: no such file or directory\nhint: modprobe tun" in capfd.readouterr().err
    assert not (ROOT / "tunless").exists()


@needs_root
@pytest.mark.requires(command="turnserver", install="apt-get install coturn")
@pytest.mark.requires(command="redis-server", install="apt-get install redis-server")
def test_every_example_of_its_help_works_when_it_is_pasted(tmp_path: Path) -> None:
    name = f"e{os.getpid()}"
    order = ("world", "up", "status", "links", "set", "run", "kill", "start", "down")
    examples = [line for verb in order for owner, line in EXAMPLES if owner == f"lab {verb}"]
    assert len(examples) == sum(owner.startswith("lab ") for owner, _ in EXAMPLES)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    try:
        for line in examples:
            if "--name mine" in line:
                continue  # a second one, with the same words
            there = re.sub(r"^rtcrelay lab (?!world)(\w+)", rf"rtcrelay lab \1 --name {name}", line)
            there = there.replace(f"{ROOT}/lab/sites.toml", f"{ROOT}/{name}/sites.toml --count 2")
            there = there.replace('"$LAB_TOKEN_FILE"', '"$LAB_TOKEN_FILE" --seconds 1')
            done = subprocess.run(
                there, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS
            )
            # Pings may be lost there: that is what it is for.
            assert done.returncode == 0 or "probe ingress" in line, f"{there}\n{done.stdout}{done.stderr}"
    finally:
        subprocess.run([*PYTHON, "lab", "down", "--name", name], check=True, capture_output=True)
