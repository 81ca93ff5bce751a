"""Processes in namespaces that outlive the command which started them, and are known again by id and start time."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rtcrelay.errors import BackendError
from rtcrelay.lab.kernel import NAMESPACES

READY_SECONDS: Final = 60.0
"""For all services together; a dozen start at once on a busy machine."""
END_SECONDS: Final = 10.0
"""From SIGKILL until the kernel has taken a process away."""


@dataclass(frozen=True, slots=True)
class Process:
    """One that runs or ran."""

    pid: int
    started: int
    """Clock ticks after boot, proc(5): another process that got the id later has another."""

    @property
    def is_running(self) -> bool:
        """Whether it is that process, and no zombie."""
        return _stat(self.pid) == ("running", self.started)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal, if it still runs. By a descriptor, so that nobody else can get it."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.is_running:
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def nsenter(namespace: str, command: Sequence[str]) -> list[str]:
    """The command in a namespace. Not ``ip netns exec``, which hides /sys and cgroups behind mounts of its own."""
    return ["nsenter", f"--net={NAMESPACES / namespace}", "--", *command]


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    """Starts a process with a session of its own, whose output is appended to ``log``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RTCRELAY_", "NOTIFY_SOCKET"))}
    kept.pop("RUNTIME_DIRECTORY", None)
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603  # its commands are ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=kept | dict(environment),
            start_new_session=True,
            cwd="/",
        )
    # Whoever starts it does not wait for its end: it is the lab's.
    child.returncode = 0
    state = _stat(child.pid)
    return Process(child.pid, state[1] if state else 0)


def find_in(namespaces: Iterable[str]) -> list[Process]:
    """Every process that lives in one of these namespaces."""
    inodes = {(NAMESPACES / name).stat().st_ino for name in namespaces if (NAMESPACES / name).exists()}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                inside = (entry / "ns/net").stat().st_ino in inodes
            except OSError:
                continue  # it has ended
            state = _stat(int(entry.name)) if inside else None
            if state is not None:
                found.append(Process(int(entry.name), state[1]))
    return found


def end_all(processes: Iterable[Process]) -> list[Process]:
    """Kills them and waits; returns those that would not go."""
    left = list(processes)
    for process in left:
        process.kill()
    deadline = time.monotonic() + END_SECONDS
    while (left := [process for process in left if process.is_running]) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.01)
    _reap()
    return left


class Readiness:
    """Waits for READY=1 (sd_notify(3)) of several processes, whose logs are in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._notices: dict[str, socket.socket] = {}
        self._processes: dict[str, Process] = {}

    def expect(self, name: str) -> dict[str, str]:
        """The environment for a process that will say it; `started` must follow."""
        path = self._directory / f"{name}.notify"
        path.unlink(missing_ok=True)
        notices = self._notices[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notices.bind(str(path))
        notices.setblocking(False)
        return {"NOTIFY_SOCKET": str(path)}

    def started(self, name: str, process: Process) -> None:
        """It was started."""
        self._processes[name] = process

    def wait(self, seconds: float = READY_SECONDS) -> None:
        """Until all have said it. BackendError with the end of a log if one ended or is late."""
        deadline = time.monotonic() + seconds
        try:
            while self._notices:
                ready, _, _ = select.select(self._notices.values(), [], [], 0.1)
                for name, notices in list(self._notices.items()):
                    if notices in ready and b"READY=1" in notices.recv(4096).split(b"\n"):
                        self._forget(name)
                    elif not self._processes[name].is_running:
                        raise BackendError(f"{name} ended", hint=self._last_words(name))
                    elif time.monotonic() > deadline:
                        raise BackendError(f"{name} was not ready in {seconds:g} s", hint=self._last_words(name))
        finally:
            for name in list(self._notices):
                self._forget(name)

    def _last_words(self, name: str) -> str | None:
        return last_words(self._directory / f"{name}.log")

    def _forget(self, name: str) -> None:
        self._notices.pop(name).close()
        (self._directory / f"{name}.notify").unlink(missing_ok=True)


def last_words(log: Path, lines: int = 5) -> str | None:
    """The end of a log, if it says anything."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) or None
    except OSError:
        return None


def _stat(pid: int) -> tuple[str, int] | None:
    """(running or ended, start time)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in "ZX" else "running", int(fields[19])


def _reap() -> None:
    """Takes leave of children that have ended, so that they are no zombies."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
