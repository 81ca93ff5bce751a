"""Relays as processes: started, killed, and asked from outside when they forward."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rtcrelay.client.demo.processes import free_ports
from rtcrelay.keys import generate, load_key_file, write_key_file

READY_SECONDS: Final = 20.0
_PROBE: Final = bytes.fromhex("000100002112a442")
_PROBE_EVERY: Final = 0.0005
_PROBERS: Final = 250


@dataclass
class RelayProcess:
    """``rtcrelay serve relay`` at fixed addresses of loopback, in a directory of its own."""

    directory: Path
    transceiver: tuple[str, int]
    ports: tuple[int, int]
    """Public and internal."""
    host: str = "127.0.0.1"
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    _notify: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.directory / "notify"))
        self._notify.settimeout(READY_SECONDS)

    @property
    def public(self) -> tuple[str, int]:
        """Where clients send to."""
        return self.host, self.ports[0]

    @property
    def internal(self) -> tuple[str, int]:
        """Its return address."""
        return self.host, self.ports[1]

    @property
    def admin(self) -> Path:
        """Its admin socket."""
        return self.directory / "relay.sock"

    def spawn(self, *more: str) -> subprocess.Popen[bytes]:
        """Starts it, or a successor of it; returns at once."""
        self._notify.setblocking(False)
        with suppress(BlockingIOError):  # notices that nobody read would make the next one wait
            while self._notify.recv(4096):
                pass
        self._notify.settimeout(READY_SECONDS)
        arguments = ["-l", f"{self.host}:{self.ports[0]}", "--internal", f"{self.host}:{self.ports[1]}"]
        arguments += ["--transceivers", f"{self.transceiver[0]}:{self.transceiver[1]}", "--admin", str(self.admin)]
        arguments += ["--key-file", str(key_file(self.directory.parent)), *self.options, *more]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RTCRELAY_")}
        environment["NOTIFY_SOCKET"] = str(self.directory / "notify")
        environment["RTCRELAY_PARENT_PID"] = str(os.getpid())
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rtcrelay", "serve", "relay", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        return self.process

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.spawn()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Waits for READY=1 (sd_notify(3)); TimeoutError with the log's end if it never comes."""
        try:
            while b"READY=1" not in self._notify.recv(4096).split(b"\n"):
                pass
        except TimeoutError as error:
            raise TimeoutError(f"the relay was not ready: {self.log()[-800:]}") from error

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def log(self) -> str:
        """What it said."""
        return (self.directory / "log").read_text(errors="replace")

    def close(self) -> None:
        """Ends it."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._notify.close()


def key_file(directory: Path) -> Path:
    """The key ring of a directory, made at its first use."""
    path = directory / "keys.toml"
    if not path.exists():
        write_key_file(path, generate())
    load_key_file(path)
    return path


class Prober:
    """Asks an address twice a millisecond whether a relay forwards there, by checks without USERNAME."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.answered_at: float | None = None
        self._target, self._asked_at, self._number = target, 0.0, secrets.randbelow(_PROBERS)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # A /24 of its own, for relays limit their answers to each.
        self._sock.bind((f"127.{200 + secrets.randbelow(50)}.{self._number}.1", 0))
        self._sock.connect(target)
        self._sock.setblocking(False)

    def tick(self, now: float) -> None:
        """Asks again unless there was an answer."""
        if self.answered_at is not None:
            return
        try:
            if self._sock.recv(64):
                self.answered_at = now
                return
        except (BlockingIOError, ConnectionRefusedError):
            pass
        if now - self._asked_at >= _PROBE_EVERY:
            self._asked_at = now
            with suppress(ConnectionRefusedError):
                self._sock.send(_PROBE + secrets.token_bytes(12))

    def close(self) -> None:
        """Ends the socket."""
        self._sock.close()


@contextmanager
def relays(
    directory: Path, transceiver: tuple[str, int], count: int = 1, options: tuple[str, ...] = ()
) -> Iterator[list[RelayProcess]]:
    """Relays that serve one VIP: the same ports at different addresses. All are ready."""
    public, internal = free_ports(2)
    made = [
        RelayProcess(directory / f"relay-{at}", transceiver, (public, internal), f"127.0.0.{1 + at}", options)
        for at in range(count)
    ]
    try:
        for relay in made:
            relay.start()
        yield made
    finally:
        for relay in made:
            relay.close()


def until(condition: object, what: str, seconds: float = 10.0) -> None:
    """Polls a callable until it is true; TimeoutError names what never happened."""
    end = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)
