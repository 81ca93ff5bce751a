"""A transceiver of several processes behind a relay, as an operator runs it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports, is_free
from rtcrelay.client.demo.site import Site, SiteOptions, Transceiver
from rtcrelay.rtc.certificate import Certificate
from rtcrelay.rtc.offer_answer import IceCredentials, write_offer

from .waiting import until

OFFER = write_offer(IceCredentials("caller", "callerpassword0123456789"), Certificate.generate().fingerprint, ssrc=1)
SDP = {"Content-Type": "application/sdp"}


class Workers:
    """A running service of some workers, and its relay."""

    def __init__(self, site: Site, count: int, metrics: int) -> None:
        self.site = site
        self.node: Transceiver = site.transceivers[0]
        self.admins = [Admin(site.directory / f"transceiver-a-w{number}.sock") for number in range(count)]
        self.health = f"http://127.0.0.1:{metrics}"
        """Where metrics and health are."""

    @property
    def daemon(self) -> Daemon:
        """The parent."""
        return self.node.daemon

    async def pids(self) -> list[int]:
        """Of the workers."""
        return [(await admin.stats()).pid for admin in self.admins]

    async def counts(self) -> list[int]:
        """Sessions of each worker."""
        return [len(await admin.sessions()) for admin in self.admins]

    def signal(self, number: signal.Signals) -> None:
        """To the parent."""
        assert self.daemon.pid is not None
        os.kill(self.daemon.pid, number)

    async def post(self, http: aiohttp.ClientSession, offer: str = OFFER) -> tuple[int, str]:
        """(status, who answered) of an offer."""
        async with http.post(self.node.url, data=offer, headers=SDP) as response:
            await response.read()
            return response.status, response.headers.get("X-Rtcrelay-Node", "")

    async def get(self, path: str) -> tuple[int, str]:
        """A page of metrics or health."""
        async with aiohttp.ClientSession() as http, http.get(self.health + path) as response:
            return response.status, await response.text()

    def words(self) -> str:
        """Its log."""
        return self.daemon.log.read_text()

    async def until_said(self, words: str, seconds: float = 15.0) -> None:
        """Waits for words in the log."""

        async def read() -> str:
            return self.words()

        await until(read, lambda log: words in log, f"{words!r} in the log", seconds)


def ports_in_a_row(count: int) -> list[int]:
    """Free ones at this moment."""
    for first in free_ports(50):
        row = list(range(first, first + count))
        if all(is_free(port) for port in row):
            return row
    raise AssertionError(f"there are no {count} free ports in a row")


@asynccontextmanager
async def workers(directory: Path, count: int, *arguments: str) -> AsyncIterator[Workers]:
    """A relay and a transceiver of so many workers, ready."""
    media = ports_in_a_row(count)
    public, internal, http, metrics = [port for port in free_ports(20) if port not in media][:4]
    options = SiteOptions(
        nodes=("a",),
        relay_transceivers=f"127.0.0.1/32:{media[0]}-{media[-1]}",
        extra_transceiver=("--workers", str(count), "--metrics", f"127.0.0.1:{metrics}", *arguments),
        ports=(public, internal, media[0], http),
    )
    site = Site(directory, options)
    try:
        await site.start()
        yield Workers(site, count, metrics)
    finally:
        await site.stop()


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until_gone(pids: Sequence[int], seconds: float = 15.0) -> None:
    """Waits until none of the processes runs."""

    async def read() -> list[int]:
        return [pid for pid in pids if is_alive(pid)]

    await until(read, lambda left: not left, "no process", seconds)


async def ended(daemon: Daemon, seconds: float = 20.0) -> int:
    """The exit status, once it has ended."""
    return await asyncio.wait_for(daemon.wait(), seconds)
