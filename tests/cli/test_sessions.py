"""``rtcrelay sessions`` against transceivers that have calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import CallState

from .conftest import Cli
from .demo_site import DemoSite, demo_site, talking


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    with demo_site() as site:
        yield site


@pytest.fixture(scope="module")
def caller(site: DemoSite) -> Iterator[Caller]:
    """A call to the first transceiver that nobody closes."""
    with talking(site.url(0)) as caller:
        yield caller


def rows(site: DemoSite, *args: str) -> list[dict[str, Any]]:
    done = site.run("sessions", "list", "--json", *args)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def test_a_call_is_listed_with_everything_an_operator_looks_for(site: DemoSite, caller: Caller) -> None:
    (row,) = rows(site, "--node", "a")
    assert caller.local is not None
    assert (row["kind"], row["node"], row["state"], row["dtls"]) == ("session", "a", "connected", "connected")
    assert row["client"] == f"127.0.0.1:{caller.local[1]}"
    assert row["socket"] == site.admin(0)
    done = site.run("sessions", "list")
    header, line = done.stdout.splitlines()
    assert header.split() == ["SID", "STATE", "ICE", "DTLS", "SRC", "UFRAG", "RTT", "LOSS%", "JITTER", "AGE"]
    assert line.split()[:6] == [row["id"], "connected", "validated", "connected", row["client"], row["ufrag"]]
    assert done.stderr == "1 sessions\n"


@pytest.mark.parametrize(
    ("args", "count"),
    [
        (["--state", "connected"], 1),
        (["--state", "new"], 0),
        (["--state", "new", "--state", "connected"], 1),
        (["--src", "127.0.0.0/8"], 1),
        (["--src", "10.0.0.0/8"], 0),
        (["--idle-above", "1h"], 0),
        (["--node", "b"], 0),
        (["--node", "a", "--src", "127.0.0.1"], 1),
    ],
)
def test_filters_are_or_within_one_and_and_across_them(
    site: DemoSite, caller: Caller, args: list[str], count: int
) -> None:
    assert len(rows(site, *args)) == count


def test_get_takes_an_id_its_beginning_a_ufrag_a_username_and_an_address(site: DemoSite, caller: Caller) -> None:
    (row,) = rows(site, "--node", "a")
    for name in (row["id"], row["id"][:6], row["ufrag"], f"{row['ufrag']}:abcd", row["client"]):
        done = site.run("sessions", "get", name, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["id"] == row["id"]


def test_get_shows_paths_reports_channels_and_backend_and_no_secret(site: DemoSite, caller: Caller) -> None:
    (row,) = rows(site, "--node", "a")
    done = site.run("sessions", "get", row["id"], "--json")
    full = json.loads(done.stdout)
    assert [path["client"] for path in full["all_paths"]] == [row["client"]]
    assert full["all_paths"][0]["selected"]
    assert full["channel_labels"] == ["words"]
    assert full["backend"] == "echo"
    assert full["sources"][0]["packets"] > 0
    assert 0 < full["ends_in_s"] <= 7200
    text = site.run("sessions", "get", row["id"]).stdout
    assert f"client                {row['client']}" in text
    for section in ("PATH", "SSRC"):
        assert any(line.split()[:1] == [section] or section in line.split() for line in text.splitlines())
    assert caller.answer is not None
    password = caller.answer.sdp.partition("a=ice-pwd:")[2].split()[0]
    assert caller.answer.session_url is not None
    secret = caller.answer.session_url.rpartition(".")[2]
    assert len(password) >= 22
    for shown in (done.stdout, text, site.run("sessions", "list", "-w").stdout):
        assert password not in shown
        assert secret not in shown


def test_an_unknown_session_is_1_and_a_short_name_is_2(site: DemoSite, caller: Caller) -> None:
    done = site.run("sessions", "get", "ffffffffffff")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no session is called ffffffffffff\n")
    done = site.run("sessions", "get", "abc")
    assert done.returncode == 2
    assert done.stderr == "rtcrelay: error: 'abc' is too short, expected at least 4 characters of an id\n"


def test_close_ends_the_call_and_tells_the_client(site: DemoSite, caller: Caller) -> None:
    with talking(site.url(1)) as other:
        (row,) = rows(site, "--node", "b")
        done = site.run("sessions", "close", row["id"], "--dry-run")
        assert (done.returncode, done.stderr) == (0, "1 sessions would be closed\n")
        assert other.call.state is not CallState.ENDED
        done = site.run("sessions", "close", row["id"], "--yes", "--json")
        assert done.returncode == 0, done.stderr
        assert [closed["id"] for closed in json.loads(done.stdout)] == [row["id"]]
        until(lambda: other.call.state is CallState.ENDED)
    assert rows(site, "--node", "b") == []
    assert len(rows(site, "--node", "a")) == 1, "nobody else's"
    again = site.run("sessions", "close", row["id"], "-y")
    assert (again.returncode, again.stderr) == (1, "0 sessions closed\n")


def test_close_asks_a_person_and_refuses_where_nobody_is(site: DemoSite, caller: Caller) -> None:
    (row,) = rows(site, "--node", "a")
    done = site.run("sessions", "close", row["id"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "rtcrelay: error: there is no terminal to ask on\nhint: --yes does it, --dry-run shows what would be done\n"
    )
    leader, terminal = os.openpty()
    os.write(leader, b"n\n")
    command = [sys.executable, "-m", "rtcrelay", "sessions", "close", row["id"]]
    asked = subprocess.run(command, stdin=terminal, capture_output=True, text=True, env=site.environ)
    os.close(leader)
    os.close(terminal)
    assert (asked.returncode, asked.stderr) == (1, f"Close session {row['id']}? [y/N] ")
    assert len(rows(site, "--node", "a")) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["close"], "expected sessions, or filters, or --all for every session"),
        (["close", "--all", "abcdef"], "--all does not go with sessions or filters"),
        (["list", "--state", "old"], "--state: 'old' is not one of new, checked, connected"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_2(cli: Cli, args: list[str], message: str) -> None:
    done = cli("sessions", *args)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"rtcrelay: error: {message}")


def test_one_transceiver_that_is_gone_does_not_hide_the_others(site: DemoSite, caller: Caller) -> None:
    done = site.run("sessions", "list", "-H", "-A", site.admin(0), "-A", "/nonexistent/transceiver-x.sock")
    assert done.returncode == 69
    assert len(done.stdout.splitlines()) == 1
    assert "cannot reach the admin socket /nonexistent/transceiver-x.sock" in done.stderr
