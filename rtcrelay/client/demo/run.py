"""Runs the demo, or keeps its processes for a browser, and tells what happens through a `Teller`."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from rtcrelay.client.demo.scene import Observer, Scene
from rtcrelay.client.demo.shell import write_shell
from rtcrelay.client.demo.site import DEFAULT_PORTS, Site, SiteOptions
from rtcrelay.client.demo.steps import Step
from rtcrelay.client.demo.story import STEPS, telling
from rtcrelay.client.demo.world import World
from rtcrelay.errors import BackendError

_SOCKET_PATH_BYTES = 107
"""Linux's sockaddr_un, less the final zero."""
_LONGEST_NAME = "/transceiver-a.notify"


SCENE_SECONDS = 0.1
"""Between two scenes."""
PAUSES = MappingProxyType({"start": 2.0})
"""Seconds of rest after a step for those who watch, where nothing is measured."""


class Teller(Protocol):
    """Who shows the demo to a person or a program."""

    wants_scenes: bool
    """Whether `on_scene` is called, about ten times a second."""

    def on_scene(self, scene: Scene) -> None:
        """What is to be seen now."""

    def on_site(self, site: Site) -> None:
        """The addresses are known; nothing runs yet."""

    def on_begin(self, name: str, title: str) -> None:
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
        world = World(site, seconds / 2)
        done: list[Step] = []
        async with telling(world) as steps, _scenes(world, teller):
            teller.on_begin(*STEPS[0][:2])
            async for step in steps:
                done.append(step)
                teller.on_step(step)
                if step.passed and len(done) < len(STEPS):
                    if teller.wants_scenes:
                        await asyncio.sleep(PAUSES.get(step.name, 0.0))
                    teller.on_begin(*STEPS[len(done)][:2])
        return len(done) == len(STEPS) and all(step.passed for step in done)


@asynccontextmanager
async def _scenes(world: World, teller: Teller) -> AsyncIterator[None]:
    """Shows scenes for the length of the block, if they are wanted."""
    if not teller.wants_scenes:
        yield
        return
    observer = Observer(world)

    async def show() -> None:
        while True:
            teller.on_scene(observer.scene())
            await asyncio.sleep(SCENE_SECONDS)

    tasks = [asyncio.ensure_future(show()), asyncio.ensure_future(observer.watch())]
    try:
        yield
        teller.on_scene(observer.scene())
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):  # a defect of ours: not to be lost with the picture
                raise result


async def _serve(teller: Teller, options: SiteOptions) -> None:
    with _directory() as directory:
        site = Site(directory, options)
        try:
            await site.start()
            write_shell(site)
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
