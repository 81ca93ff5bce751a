"""Asking a service over its admin socket, from a one-shot command."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rtcrelay.errors import BackendError, ExitStatus, PeerError

ANSWER_SECONDS: Final = 5.0
"""A service that does not answer within this time is as good as gone."""


@dataclass(frozen=True, slots=True)
class AdminClient:
    """One service's admin socket. Every question is a connection of its own: the service may have been restarted."""

    socket: Path
    timeout: float = ANSWER_SECONDS
    """In seconds."""

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        """(status, body). Raises BackendError if nobody listens or answers, PeerError if the answer is no HTTP."""
        connection = _UnixConnection(self.socket, self.timeout)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except OSError as error:
            reason = "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
            raise BackendError(
                f"cannot reach the admin socket {self.socket}: {reason}", status=ExitStatus.UNAVAILABLE
            ) from error
        except http.client.HTTPException as error:
            raise PeerError(f"{self.socket} does not speak HTTP: {type(error).__name__}") from error
        finally:
            connection.close()

    def read(self, path: str, method: str = "GET") -> Mapping[str, Any]:
        """The JSON object of an answer. Raises as `ask`, and PeerError if the answer is another one."""
        status, body = self.ask(path, method)
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        if status != 200 or not isinstance(content, dict):
            raise PeerError(f"{self.socket} answered {status} to {method} {path}: {' '.join(body.split())[:200]}")
        return content


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("admin", timeout=timeout)
        self._path, self._seconds = path, timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self._seconds)
        self.sock.connect(str(self._path))
