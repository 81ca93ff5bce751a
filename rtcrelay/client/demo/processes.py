"""Relays and transceivers as child processes: started, watched until ready, ended by their own id.

Each child gets its own session, so that Ctrl-C in the terminal reaches the parent alone and the parent
ends the children in order; a parent that is killed takes them with it (they ask the kernel for that).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rtcrelay.errors import BackendError

READY_SECONDS = 15.0
"""Longest wait for READY=1. Starting takes 0.3 to 1 s; a loaded CI machine needs more."""
DRAIN_SECONDS = 0.5
"""After the first SIGTERM, which lets calls go on; the second ends them."""
STOP_SECONDS = 5.0
"""After the second SIGTERM; then SIGKILL."""


class Daemon:
    """One `rtcrelay serve ...` process."""

    def __init__(self, name: str, arguments: Sequence[str], directory: Path) -> None:
        self.name = name
        self.program: tuple[str, ...] = ("-P", "-m", "rtcrelay")
        """What Python runs; a bench may wrap it. ``-P``: the package that is installed, as this process has it, and
        not a directory of its name where somebody happens to stand, for example the source."""
        self.arguments = tuple(arguments)
        self.log = directory / f"{name}.log"
        self._notify = directory / f"{name}.notify"
        self._process: asyncio.subprocess.Process | None = None

    async def wait(self) -> int:
        """Waits for its end and returns the exit status."""
        assert self._process is not None, "waited for before it was started"
        return await self._process.wait()

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> float:
        """Starts the process and returns the milliseconds until it said READY=1 (sd_notify(3)).

        BackendError with the end of its log if it ends before or takes too long.
        """
        began = time.monotonic()
        self._notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.setblocking(False)
            notices.bind(str(self._notify))
            await self._spawn()
            await self._until_ready(notices)
        return (time.monotonic() - began) * 1000

    async def kill(self) -> int:
        """SIGKILL, as a crash would end it; returns the exit status (-9)."""
        return await self._end(signal.SIGKILL)

    async def stop(self) -> int | None:
        """SIGTERM twice, then SIGKILL, with time between; returns the exit status, None if it never ran."""
        if self._process is None:
            return None
        if self._process.returncode is not None:
            return self._process.returncode
        for seconds in (DRAIN_SECONDS, STOP_SECONDS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self._end(signal.SIGTERM)
        return await self._end(signal.SIGKILL)

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    async def _spawn(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RTCRELAY_")}
        environment["NOTIFY_SOCKET"] = str(self._notify)
        environment["RTCRELAY_PARENT_PID"] = str(os.getpid())
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.program,
                "serve",
                *self.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    async def _until_ready(self, notices: socket.socket) -> None:
        assert self._process is not None
        ended = asyncio.ensure_future(self._process.wait())
        ready = asyncio.ensure_future(_receive_ready(notices))
        try:
            await asyncio.wait({ended, ready}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and not ready.exception():
                return
            what = f"ended with status {ended.result()}" if ended.done() else f"was not ready in {READY_SECONDS:g} s"
            raise BackendError(f"the {self.name} {what}", hint=self.last_words() or None)
        finally:
            for task in (ended, ready):
                task.cancel()
            await asyncio.gather(ended, ready, return_exceptions=True)

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None, "ended before it was started"
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
        return await self._process.wait()


async def stop_all(daemons: Sequence[Daemon]) -> None:
    """Ends every process, whatever the state it is in."""
    await asyncio.gather(*(daemon.stop() for daemon in daemons), return_exceptions=True)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that are free for UDP and for TCP at this moment; nothing keeps them so.

    Below the kernel's range for outgoing sockets (from 32768), so that no client takes a relay's port
    while the relay is down.
    """
    candidates = random.sample(range(20_000, 32_000), 2_000)
    return list(itertools.islice((port for port in candidates if is_free(port, host)), count))


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a port can be bound for UDP and for TCP at this moment."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
    ):
        try:
            datagrams.bind((host, port))
            stream.bind((host, port))
        except OSError:
            return False
    return True


async def _receive_ready(notices: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while b"READY=1" not in (await loop.sock_recv(notices, 4096)).split(b"\n"):
        pass
