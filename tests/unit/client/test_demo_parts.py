"""The demo's parts can fail: a check that is wrong, a process that does not start, a socket that says nonsense."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports, is_free
from rtcrelay.client.demo.site import DEFAULT_PORTS, Site, SiteOptions
from rtcrelay.client.demo.steps import Row, Step
from rtcrelay.errors import BackendError, ExitStatus, PeerError


def test_a_step_without_checks_has_passed() -> None:
    step = Step("name", "title")
    assert step.passed
    assert step.problem is None


def test_the_first_wrong_check_is_the_problem() -> None:
    step = Step("name", "title")
    step.equal("relay: a", 1, 1)
    step.at_least("relay: b", 5, 4)
    step.equal("relay: c", "x", "y")
    assert not step.passed
    assert step.problem == "relay: b: expected at least 5, saw 4"


@pytest.mark.parametrize(("least", "seen", "passed"), [(1, 0, False), (1, 1, True), (1, 2, True)])
def test_at_least_includes_its_border(least: int, seen: int, passed: bool) -> None:
    step = Step("name", "title")
    step.at_least("x", least, seen)
    assert step.passed is passed


@pytest.mark.parametrize(("most", "seen", "passed"), [(1.0, 1.1, False), (1.0, 1.0, True), (1.0, 0.0, True)])
def test_at_most_includes_its_border(most: float, seen: float, passed: bool) -> None:
    step = Step("name", "title")
    step.at_most("x", most, seen)
    assert step.passed is passed


def test_an_error_fails_a_step_whose_checks_hold() -> None:
    step = Step("name", "title", error="it broke")
    step.equal("x", 1, 1)
    assert (step.passed, step.problem) == (False, "it broke")


def test_a_step_for_programs_has_figures_and_checks_and_no_table() -> None:
    step = Step("name", "title", rows=[Row("for people", ("1 ms",), "")], figures={"ready_ms": 1.5})
    step.calls.append({"node": "a", "gap_ms": 2.0})
    step.equal("x", 1, 1)
    assert json.loads(json.dumps(step.as_dict())) == {
        "name": "name",
        "title": "title",
        "passed": True,
        "problem": None,
        "ready_ms": 1.5,
        "calls": [{"node": "a", "gap_ms": 2.0}],
        "checks": [{"what": "x", "expected": "1", "seen": "1", "passed": True}],
    }


def test_free_ports_are_different_and_below_the_range_for_outgoing_sockets() -> None:
    ports = free_ports(6)
    assert len(set(ports)) == 6
    assert all(20_000 <= port < 32_000 and is_free(port) for port in ports)


def test_a_site_takes_the_wanted_ports_only_if_all_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = SiteOptions(ports=DEFAULT_PORTS)
    for taken, expected in ((None, True), (8081, False)):
        monkeypatch.setattr("rtcrelay.client.demo.site.is_free", lambda port, host, taken=taken: port != taken)
        directory = tmp_path / str(taken)
        directory.mkdir()
        site = Site(directory, options)
        assert (site.relay.vip[1] == 3478) is expected
        assert (site.transceivers[1].url == "http://127.0.0.1:8081/whip") is expected


def test_key_files_of_a_site_are_for_their_owner_alone(tmp_path: Path) -> None:
    Site(tmp_path, SiteOptions(transceiver_secret=bytes(16)))
    files = list(tmp_path.glob("*.keys.toml"))
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


async def test_a_process_that_ends_before_it_is_ready_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    daemon = Daemon("relay", ["relay", "--no-such-option"], tmp_path)
    with pytest.raises(BackendError, match="the relay ended with status 2") as caught:
        await daemon.start()
    assert "no such option --no-such-option" in str(caught.value.hint)
    assert daemon.pid is None


async def test_a_process_that_is_never_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcrelay.client.demo.processes.READY_SECONDS", 0.0)
    daemon = Daemon("relay", ["relay"], tmp_path)
    with pytest.raises(BackendError, match=r"was not ready in 0 s"):
        await daemon.start()
    assert daemon.pid is not None
    assert await daemon.stop() is not None
    assert daemon.pid is None


async def test_stopping_what_never_ran_does_nothing(tmp_path: Path) -> None:
    assert await Daemon("relay", ["relay"], tmp_path).stop() is None


@asynccontextmanager
async def admin(directory: Path, answers: dict[str, web.Response]) -> AsyncIterator[Admin]:
    """An admin socket with answers of ours."""

    async def handler(request: web.Request) -> web.Response:
        return answers[request.path]

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(directory / "x.sock")).start()
    try:
        yield Admin(directory / "x.sock")
    finally:
        await runner.cleanup()


async def test_a_counter_of_an_unknown_name_is_an_error_and_not_zero(tmp_path: Path) -> None:
    stats = web.json_response({"pid": 1, "counters": {"rtp_in": 3}, "drops": {}})
    async with admin(tmp_path, {"/v1/stats": stats}) as reader:
        read = await reader.stats()
    assert read.count("rtp_in") == 3
    with pytest.raises(PeerError, match="counts no 'rtp_im'"):
        read.count("rtp_im")


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (web.json_response([1]), "answered 200"),
        (web.Response(text="not json"), "answered 200"),
        (web.Response(status=500), "answered 500"),
        (web.json_response({"pid": 1}), "without 'counters'"),
        (web.json_response({"pid": None, "counters": {}, "drops": {}}), "without"),
    ],
)
async def test_stats_that_cannot_be_read_are_the_processs_fault(
    response: web.Response, words: str, tmp_path: Path
) -> None:
    async with admin(tmp_path, {"/v1/stats": response}) as reader:
        with pytest.raises(PeerError, match=words):
            await reader.stats()


async def test_nobody_at_the_socket_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot reach the admin socket") as caught:
        await Admin(tmp_path / "nobody.sock").stats()
    assert caught.value.status == ExitStatus.UNAVAILABLE


async def test_a_client_without_a_flow_has_none(tmp_path: Path) -> None:
    flows = web.json_response({"flows": [{"client": "127.0.0.1:1"}]})
    async with admin(tmp_path, {"/v1/flows": flows}) as reader:
        assert await reader.flow("127.0.0.1:2") is None
