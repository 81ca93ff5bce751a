"""A relay as operators run it: a process of its own, asked over its admin socket."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

STUN_COOKIE = 0x2112A442


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("admin", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


class RelayProcess:
    """``rtcrelay serve relay`` on loopback, with free ports and in a directory of its own."""

    def __init__(
        self,
        directory: Path,
        key_file: str,
        *args: str,
        before: Sequence[str] = (),
        notify: str = "notify",
        **environ: str,
    ) -> None:
        self.admin = directory / "relay.sock"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / notify))
        self._notify.settimeout(30)
        command = [*before, sys.executable, "-m", "rtcrelay", "serve", "relay", "--key-file", key_file]
        defaults = ["-l", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--log-format", "json"]
        self.process = subprocess.Popen(
            [*command, *(defaults if "-l" not in args else []), "--admin", str(self.admin), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"NOTIFY_SOCKET": str(directory / notify)} | environ,
        )

    def __enter__(self) -> RelayProcess:
        self.wait_for("READY=1")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._notify.close()

    def wait_for(self, state: str) -> list[str]:
        """Everything that was reported to the service manager until ``state``."""
        seen: list[str] = []
        while state not in seen:
            seen += self._notify.recv(4096).decode().split("\n")
        return seen

    def ask(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """(status, body) of a request to the admin socket; the body is parsed if it is JSON."""
        connection = UnixConnection(self.admin)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        return answer.status, json.loads(body) if is_json else body

    def public(self) -> tuple[str, int]:
        """The public address that was bound."""
        host, _, port = self.ask("/v1/stats")[1]["listeners"][0]["public"].rpartition(":")
        return host, int(port)

    def end(self, signum: int = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """(exit status, log records) after a signal."""
        self.process.send_signal(signum)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, [json.loads(line) for line in err.splitlines()]


def binding_request(username: str) -> bytes:
    """A STUN binding request with a USERNAME and nothing else (RFC 8489)."""
    value = username.encode()
    attribute = (6).to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
    head = (1).to_bytes(2, "big") + len(attribute).to_bytes(2, "big") + STUN_COOKIE.to_bytes(4, "big")
    return head + secrets.token_bytes(12) + attribute
