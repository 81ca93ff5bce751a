"""The examples at the end of a command's help work when they are pasted beside ``rtcrelay demo --serve``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rtcrelay.cli.probe_replay import EXAMPLES as REPLAY
from rtcrelay.cli.probe_route import EXAMPLES as ROUTE
from rtcrelay.cli.probe_session import EXAMPLES as SESSION
from rtcrelay.cli.probe_stun import EXAMPLES as STUN

CAPTURE = Path(__file__).parents[1] / "vectors" / "captures" / "chromium.pcap"
ELSEWHERE = re.compile(r"203\.0\.113\.|198\.51\.100\.|example\.com")
"""Documentation's addresses: an example with one is of somebody's own deployment."""


@asynccontextmanager
async def demo(directory: Path) -> AsyncIterator[dict[str, Any]]:
    """``rtcrelay demo --serve``, and where it is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rtcrelay", "demo", "--serve", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(directory)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    try:
        yield json.loads(await asyncio.wait_for(process.stdout.readline(), 50))
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


def lines(examples: str) -> list[str]:
    return [line.strip() for line in examples.replace("\\\n", " ").splitlines() if line.strip()]


def as_served(line: str, site: dict[str, Any]) -> str:
    """The line with the demo's addresses of this moment: its own ports may be taken here."""
    first, second = site["transceivers"]
    line = re.sub(r"(?<=[ ])127\.0\.0\.1(?![\d.:])", site["vip"], line)
    for old, new in (
        ("127.0.0.1:7000", first["media"]),
        ("127.0.0.1:7001", second["media"]),
        ("http://127.0.0.1:8080/whip", first["whip_url"]),
        ("http://127.0.0.1:8081/whip", second["whip_url"]),
    ):
        line = line.replace(old, f"<{new}>")
    return line.replace("<", "").replace(">", "")


async def test_every_example_of_probe_works_when_pasted(tmp_path: Path) -> None:
    shutil.copy(CAPTURE, tmp_path / "call.pcap")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RTCRELAY_")}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    (tmp_path / "demo").mkdir()

    async def paste(examples: str, site: dict[str, Any]) -> int:
        mine = [line for line in lines(examples) if not ELSEWHERE.search(line)]
        for line in mine:
            shell = await asyncio.create_subprocess_shell(
                as_served(line, site),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=tmp_path,
                env=environ,
            )
            out, err = await shell.communicate()
            assert shell.returncode == 0, f"{line}\n{err.decode()}"
            assert out, line
        return len(mine)

    async with demo(tmp_path / "demo") as site:
        pasted = await asyncio.gather(*(paste(examples, site) for examples in (STUN, ROUTE, SESSION, REPLAY)))
    assert sum(pasted) >= 8


@pytest.mark.parametrize("examples", [STUN, ROUTE, SESSION, REPLAY])
def test_help_ends_with_two_examples_for_the_demo_or_more(examples: str) -> None:
    assert sum(not ELSEWHERE.search(line) for line in lines(examples)) >= 2
