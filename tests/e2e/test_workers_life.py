"""The parent of several transceiver processes: what it reports, what it starts again, and with what it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.errors import BackendError
from rtcrelay.keys import generate, write_key_file

from .waiting import until
from .workers import ended, is_alive, ports_in_a_row, until_gone, workers


def arguments(directory: Path, *more: str, count: int = 2) -> list[str]:
    media = ports_in_a_row(count)
    (http,) = [port for port in free_ports(10) if port not in media][:1]
    keys = directory / "keys.toml"
    write_key_file(keys, generate(1), force=True)
    return [
        *("transceiver", "--workers", str(count), "--key-file", str(keys), "--http", f"127.0.0.1:{http}"),
        *("--media", f"127.0.0.1:{media[0]}", "--node", "a", "--admin", str(directory / "a.sock"), *more),
    ]


async def run(directory: Path, *words: str) -> tuple[int, str]:
    """(exit status, stderr) of `rtcrelay serve` that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rtcrelay", "serve", *words, stderr=asyncio.subprocess.PIPE, cwd=directory
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, errors.decode()


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (("--backend", "parrots"), 78, "there is no backend 'parrots'"),
        (("--backend", "python:nothing:Nobody"), 78, "nothing"),
    ],
)
async def test_what_is_wrong_is_said_once_and_as_by_one_process(
    tmp_path: Path, more: tuple[str, ...], status: int, message: str
) -> None:
    words = arguments(tmp_path, *more)
    found, errors = await run(tmp_path, *words)
    assert found == status
    said = [line for line in errors.splitlines() if line.startswith("rtcrelay: error:")]
    assert len(said) == 1
    assert message in said[0]
    words[words.index("--workers") + 1] = "1"
    alone, other_errors = await run(tmp_path, *words)
    assert alone == status
    assert said == [line for line in other_errors.splitlines() if line.startswith("rtcrelay: error:")]


async def test_a_media_port_that_is_taken_ends_the_service_and_names_the_port(tmp_path: Path) -> None:
    words = arguments(tmp_path)
    second = int(words[words.index("--media") + 1].partition(":")[2]) + 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", second))
        status, errors = await run(tmp_path, *words)
    assert status == 71
    assert errors.count("rtcrelay: error:") == 1
    assert f"cannot bind 127.0.0.1:{second}: address already in use" in errors


async def test_workers_that_die_at_once_end_the_service_with_70(tmp_path: Path) -> None:
    (tmp_path / "crash.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    os_path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{tmp_path}:{os_path}" if os_path else str(tmp_path)
    try:
        status, errors = await run(tmp_path, *arguments(tmp_path, "--backend", "python:crash:Nobody"))
    finally:
        os.environ["PYTHONPATH"] = os_path
    assert status == 70
    assert "died at once 5 times in a row: the service ends" in errors
    assert "Traceback" not in errors


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "manager"))
        notices.setblocking(False)
        yield notices


async def test_the_service_manager_hears_of_the_whole(tmp_path: Path, manager: socket.socket) -> None:
    heard: list[str] = []

    async def listen() -> list[str]:
        while True:
            try:
                heard.append(manager.recv(4096).decode())
            except BlockingIOError:
                return heard

    def said(words: str) -> int:
        return sum(words in notice.split("\n") for notice in heard)

    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RTCRELAY_")},
        "NOTIFY_SOCKET": str(tmp_path / "manager"),
        "WATCHDOG_USEC": "400000",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rtcrelay",
        "serve",
        *arguments(tmp_path),
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(listen, lambda _: said("READY=1") == 1, "ready")
        await until(listen, lambda _: said("STATUS=2 of 2 workers run") == 1, "its status")
        await until(listen, lambda _: said("WATCHDOG=1") >= 3, "a sign of life")
        process.send_signal(signal.SIGHUP)
        await until(listen, lambda _: said("RELOADING=1") == 1 and said("READY=1") == 2, "a reload")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        await listen()
        assert said("STOPPING=1") == 1, "of the service, not of each worker"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_worker_that_an_operator_ends_is_started_again(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as service:
        first, other = await service.pids()
        os.kill(first, signal.SIGTERM)
        await until_gone([first])

        async def text() -> str:
            return (await service.get("/metrics"))[1]

        await until(text, lambda page: 'worker_starts_total{worker="0"} 2.0' in page, "another start")
        await until(text, lambda page: 'worker_up{worker="0"} 1.0' in page, "another process")
        assert (await service.pids())[1] == other
        service.signal(signal.SIGTERM)
        assert await ended(service.daemon) == 0
        assert not is_alive(other)


async def test_a_worker_says_who_it_is_in_its_log_lines(tmp_path: Path) -> None:
    daemon = Daemon("node", arguments(tmp_path, "--log-format", "text"), tmp_path)
    try:
        await daemon.start()
        log = daemon.log.read_text()
        for number in range(2):
            assert f"rtcrelay.transceiver worker={number}: media on" in log
        assert "rtcrelay.workers: all 2 workers are ready" in log
        assert log.count("signaling on http://") == 1
    finally:
        await daemon.stop()


async def test_an_address_of_all_that_is_taken_stops_the_start(tmp_path: Path) -> None:
    words = arguments(tmp_path)
    port = int(words[words.index("--http") + 1].partition(":")[2])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(BackendError, match="ended with status 71"):
        await Daemon("node", words, tmp_path).start()
