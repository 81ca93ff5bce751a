"""The demo proves the whole path, fails at the right step when a part is broken, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cli.schemas import validate

from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.client.demo.steps import Step
from rtcrelay.client.demo.story import STEPS, telling
from rtcrelay.client.demo.world import World

from .waiting import until

OTHER_SECRET = bytes(range(16))


StartDemo = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start_demo(tmp_path: Path) -> AsyncIterator[StartDemo]:
    """Starts `rtcrelay demo ...` with its temporary files in the test's directory; ended with the test."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RTCRELAY_")}
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rtcrelay", "demo", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment | {"TMPDIR": str(tmp_path)},
            # A shell's background job ignores Ctrl-C, and so would what the tests start from it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def children(pid: int) -> dict[int, str]:
    """The child processes that live, and their command lines."""
    found = {}
    for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            found[int(name)] = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except FileNotFoundError:
            continue
    return found


def lives(pid: int) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def children_of(process: asyncio.subprocess.Process, count: int) -> dict[int, str]:
    """Its children, once it has so many."""

    async def read() -> dict[int, str]:
        return children(process.pid)

    return await until(read, lambda seen: len(seen) == count, f"{count} processes")


async def until_gone(pids: list[int]) -> None:
    async def read() -> list[int]:
        return [pid for pid in pids if lives(pid)]

    await until(read, lambda seen: not seen, "the end of every process")


async def test_every_step_passes_and_json_has_the_figures(start_demo: StartDemo, tmp_path: Path) -> None:
    process = await start_demo("--json", "--seconds", "2")
    output, errors = await process.communicate()
    assert errors == b""
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(output)
    assert (validate(result), result["v"], result["passed"]) == ("demo", 1, True)
    steps = {step["name"]: step for step in result["steps"]}
    assert list(steps) == [name for name, _, _ in STEPS]
    for step in steps.values():
        assert step["passed"]
        assert step["problem"] is None
        assert step["checks"]
        assert all(check["passed"] for check in step["checks"])
    for call in steps["conversation"]["calls"]:
        assert call["lost_to_server_packets"] == call["lost_to_client_packets"] == 0
        assert call["packets_to_server"] >= 40
    for call in steps["recovery"]["calls"]:
        assert 0 < call["gap_ms"] < 5000
    assert os.listdir(tmp_path) == []


async def test_the_table_for_people_fits_eighty_columns(start_demo: StartDemo, tmp_path: Path) -> None:
    process = await start_demo("--seconds", "2")
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    lines = output.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in output.decode()
    assert lines[-1].startswith(f"All {len(STEPS)} steps passed in ")


async def told(directory: Path, options: SiteOptions) -> list[Step]:
    """The steps of a demo on a site of its own."""
    async with telling(World(Site(directory, options), 0.5)) as steps:
        return [step async for step in steps]


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        (SiteOptions(relay_transceivers="127.0.0.2/32:7000"), "first_stun", "no answer to a STUN check"),
        (SiteOptions(relay_secret=OTHER_SECRET), "first_stun", "no answer to a STUN check"),
        (SiteOptions(transceiver_secret=OTHER_SECRET), "first_stun", "no answer to a STUN check"),
        (SiteOptions(transceiver_relays="127.0.0.2/32"), "first_stun", "no answer to a STUN check"),
        (SiteOptions(extra_relay=("--no-such-option",)), "start", "no such option"),
    ],
    ids=[
        "transceivers not allowed",
        "relay's key differs",
        "transceivers' key differs",
        "relay not allowed",
        "no relay",
    ],
)
async def test_a_broken_part_fails_the_step_that_needs_it(
    options: SiteOptions, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcrelay.client.demo.world.SETUP_SECONDS", 1.0)
    steps = await told(tmp_path, options)
    assert [step.name for step in steps if not step.passed] == [name]
    assert steps[-1].name == name
    assert steps[-1].problem is not None
    assert words in steps[-1].problem


@pytest.mark.parametrize(("part", "parts"), [("transceiver-b", "serve transceiver"), ("relay", "serve relay")])
async def test_a_process_that_dies_during_the_demo_makes_it_fail(part: str, parts: str, start_demo: StartDemo) -> None:
    process = await start_demo("--json", "--seconds", "8")
    running = await children_of(process, 3)
    await asyncio.sleep(1.0)  # well into the conversation
    victim = max(pid for pid, command in running.items() if parts in command)
    os.kill(victim, signal.SIGKILL)
    output, errors = await process.communicate()
    assert process.returncode == 1
    assert errors == b""
    result = json.loads(output)
    assert result["passed"] is False
    assert result["steps"][-1]["passed"] is False
    assert result["steps"][-1]["problem"]
    await until_gone(list(running))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGKILL, -9)]
)
async def test_whatever_ends_the_demo_ends_its_processes(
    number: int, status: int, start_demo: StartDemo, tmp_path: Path
) -> None:
    process = await start_demo("--seconds", "60")
    running = await children_of(process, 3)
    await asyncio.sleep(0.5)
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == status
    await until_gone(list(running))
    if number != signal.SIGKILL:
        assert os.listdir(tmp_path) == []


async def test_serving_says_where_to_call_and_stays(start_demo: StartDemo, tmp_path: Path) -> None:
    process = await start_demo("--serve", "--json")
    assert process.stdout is not None
    site = json.loads(await process.stdout.readline())
    assert site["kind"] == "demo_site"
    assert [node["node"] for node in site["transceivers"]] == ["a", "b"]
    assert validate(site) == "demo_site"
    running = children(process.pid)
    assert len(running) == 3
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130
    await until_gone(list(running))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--backend", "echo"), 2, b"--backend is for callers from outside, expected --serve with it"),
        (("--serve", "--backend", "nobody"), 78, b"there is no backend 'nobody'"),
    ],
)
async def test_a_backend_that_cannot_be_is_refused_before_anything_starts(
    arguments: tuple[str, ...], status: int, words: bytes, start_demo: StartDemo, tmp_path: Path
) -> None:
    process = await start_demo(*arguments)
    output, errors = await process.communicate()
    assert (process.returncode, output) == (status, b"")
    assert words in errors
    assert os.listdir(tmp_path) == []


async def test_a_person_is_told_where_to_call_and_who_answers(start_demo: StartDemo) -> None:
    process = await start_demo("--serve")
    assert process.stdout is not None
    told = await process.stdout.readuntil(b"Ctrl-C ends everything.\n")
    assert b"open http://127.0.0.1:" in told
    assert b"A parrot answers: say something, and it says it back when you have finished" in told
    assert max(map(len, told.decode().splitlines())) <= 110
    process.send_signal(signal.SIGINT)
    await process.communicate()
