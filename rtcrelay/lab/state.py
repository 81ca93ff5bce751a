"""What a laboratory made, as written down in its directory, and the lock on it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from rtcrelay.errors import BackendError, ExitStatus
from rtcrelay.lab.processes import Process

_FILE: Final = "state.json"


class State(msgspec.Struct):
    """Written before anything of it is made."""

    namespaces: list[str]
    processes: dict[str, tuple[int, int]] = {}
    """(id, start time) of the newest, by host."""
    ready: bool = False
    """Whether it was built to the end."""

    def process(self, name: str) -> Process | None:
        """The newest of a host."""
        noted = self.processes.get(name)
        return Process(*noted) if noted else None


def read_state(directory: Path) -> State | None:
    """None: nothing was made."""
    try:
        return msgspec.json.decode((directory / _FILE).read_bytes(), type=State)
    except FileNotFoundError:
        return None


def write_state(directory: Path, state: State) -> None:
    """Whole or not at all, whenever the process is killed."""
    new = directory / f"{_FILE}.new"
    new.write_bytes(msgspec.json.encode(state))
    new.replace(directory / _FILE)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One command changes a laboratory at a time. Raises BackendError if another does."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise BackendError(
            f"another command is building or removing the laboratory {directory.name}", status=ExitStatus.TEMPORARY
        ) from error
    finally:
        os.close(lock)
