"""``rtcrelay demo --serve`` with a real call on each transceiver, for commands that ask running services."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtcrelay.client.caller import Caller, calling


@dataclass
class DemoSite:
    """What runs, and how a shell beside it is set up."""

    facts: dict[str, Any]
    """As ``demo --serve --json`` prints them."""
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where a person would stand."""
        return Path(self.facts["directory"])

    def url(self, number: int = 0) -> str:
        """A transceiver's WHIP address."""
        return str(self.facts["transceivers"][number]["whip_url"])

    def admin(self, number: int = 0) -> str:
        """A transceiver's admin socket."""
        return str(self.facts["transceivers"][number]["admin"])

    def here(self, line: str) -> str:
        """A line with this site's addresses in the place of the usual ones, which may have been taken."""
        nodes = self.facts["transceivers"]
        usual = {"127.0.0.1:3478": self.facts["vip"]}
        for number, node in enumerate(nodes):
            usual[f"127.0.0.1:{7000 + number}"] = node["media"]
            usual[f"http://127.0.0.1:{8080 + number}/whip"] = node["whip_url"]
        for common, actual in usual.items():
            line = line.replace(common, actual)
        return line

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command in another terminal."""
        command = [sys.executable, "-m", "rtcrelay", *args]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, cwd=self.directory, env=self.environ, timeout=30
        )

    def shell(self, line: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """A pasted line."""
        script = f". ./env\nset -o pipefail\n{line}"
        return subprocess.run(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.directory,
            env=self.environ,
            timeout=seconds,
        )


@contextmanager
def demo_site() -> Iterator[DemoSite]:
    """The demo's processes for the length of the block."""
    # An echo: the calls sound in both directions all the time, which is what the commands look at.
    command = [sys.executable, "-m", "rtcrelay", "demo", "--serve", "--backend", "echo", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            site = DemoSite(facts)
            bin_directory = str(Path(sys.executable).parent)
            site.environ = {
                **{name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ},
                "PATH": f"{bin_directory}:{os.environ['PATH']}",
                "RUNTIME_DIRECTORY": str(site.directory),
                "RTCRELAY_CONFIG": str(site.directory / "relay.toml"),
            }
            yield site
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@contextmanager
def talking(url: str) -> Iterator[Caller]:
    """A call with sound and a data channel, from a thread of its own."""
    loop = asyncio.new_event_loop()
    ended: asyncio.Event = asyncio.Event()
    ready: list[Caller] = []
    began = threading.Event()

    async def call() -> None:
        try:
            async with calling(url, channel="words") as caller:
                await caller.until_talking()
                ready.append(caller)
                began.set()
                await ended.wait()
        finally:
            began.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(call())
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert began.wait(30)
        assert ready, "the call was not set up"
        yield ready[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ended.set)
        thread.join(30)
