"""Runs the demo, or keeps its processes for a browser, and tells what happens through a `Teller`."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rtcrelay.client.demo.site import DEFAULT_PORTS, Site, SiteOptions
from rtcrelay.client.demo.steps import Step
from rtcrelay.client.demo.story import STEPS, telling
from rtcrelay.errors import BackendError

_SOCKET_PATH_BYTES = 107
"""Linux's sockaddr_un, less the final zero."""
_LONGEST_NAME = "/transceiver-a.notify"


class Teller(Protocol):
    """Who shows the demo to a person or a program."""

    def on_site(self, site: Site) -> None:
        """The addresses are known; nothing runs yet."""

    def on_begin(self, title: str) -> None:
        """A step begins."""

    def on_step(self, step: Step) -> None:
        """A step is done."""

    def on_serving(self, site: Site) -> None:
        """Every process is ready, and stays."""


def run_demo(teller: Teller, *, seconds: float, options: SiteOptions | None = None) -> bool:
    """Runs every step; True if all passed. Every process is gone on return, also after Ctrl-C."""
    return asyncio.run(_until_told_to_end(_demo(teller, seconds, options or SiteOptions())))


def serve_demo(teller: Teller, options: SiteOptions | None = None) -> None:
    """Starts the processes and keeps them until Ctrl-C. BackendError if one ends by itself."""
    asyncio.run(_until_told_to_end(_serve(teller, options or SiteOptions(ports=DEFAULT_PORTS))))


async def _demo(teller: Teller, seconds: float, options: SiteOptions) -> bool:
    with _directory() as directory:
        site = Site(directory, options)
        teller.on_site(site)
        done: list[Step] = []
        async with telling(site, seconds=seconds) as steps:
            teller.on_begin(STEPS[0][1])
            async for step in steps:
                done.append(step)
                teller.on_step(step)
                if step.passed and len(done) < len(STEPS):
                    teller.on_begin(STEPS[len(done)][1])
        return len(done) == len(STEPS) and all(step.passed for step in done)


async def _serve(teller: Teller, options: SiteOptions) -> None:
    with _directory() as directory:
        site = Site(directory, options)
        try:
            await site.start()
            teller.on_serving(site)
            waits = {asyncio.ensure_future(daemon.wait()): daemon for daemon in site.daemons}
            ended, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            daemon = waits[next(iter(ended))]
            raise BackendError(f"the {daemon.name} ended by itself", hint=daemon.last_words() or None)
        finally:
            await site.stop()


async def _until_told_to_end(work: Coroutine[Any, Any, bool | None]) -> bool:
    """Lets SIGTERM and SIGHUP end the work as Ctrl-C does, so that no file and no process stays behind."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        return bool(await work)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


@contextmanager
def _directory() -> Iterator[Path]:
    """A private directory for keys, logs and sockets, whose path is short enough for sockets."""
    short = len(tempfile.gettempdir()) + len("/rtcrelay-demo-12345678" + _LONGEST_NAME) <= _SOCKET_PATH_BYTES
    with tempfile.TemporaryDirectory(prefix="rtcrelay-demo-", dir=None if short else "/tmp") as name:  # noqa: S108  # made private by tempfile
        yield Path(name)
