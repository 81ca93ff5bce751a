"""Asking a service over its admin socket, from a one-shot command."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
        status, body = self._exchange(path, method)
        return status, body.decode("utf-8", "replace")

    def _exchange(self, path: str, method: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = _UnixConnection(self.socket, self.timeout)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            raise self._unreachable(error) from error
        except http.client.HTTPException as error:
            raise PeerError(f"{self.socket} does not speak HTTP: {type(error).__name__}") from error
        finally:
            connection.close()

    def fetch(self, path: str) -> bytes:
        """The body of an answer that must be 200, unread: for large ones. Raises as `read`."""
        status, body = self._exchange(path, "GET")
        if status != 200:
            raise self._unexpected(path, "GET", status, body.decode("utf-8", "replace"))
        return body

    def stream(self, path: str) -> Iterator[bytes]:
        """The lines of an answer as they come, without end. Ends when the service does. Raises as `open`."""
        with self.open(path) as answer:
            while line := answer.readline():
                yield line

    @contextmanager
    def open(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """An answer to read as it comes. Raises as `read`, also when the service says nothing for ``timeout``
        seconds."""
        connection = _UnixConnection(self.socket, self.timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != 200:
                raise self._unexpected(path, "GET", answer.status, answer.read().decode("utf-8", "replace"))
            yield answer
        except OSError as error:
            raise self._unreachable(error) from error
        except http.client.HTTPException as error:
            raise PeerError(f"{self.socket} does not speak HTTP: {type(error).__name__}") from error
        finally:
            connection.close()

    def read(self, path: str, method: str = "GET", content: Any = None) -> Mapping[str, Any]:
        """The JSON object of an answer; ``content`` is sent as JSON. Raises as `ask`, and PeerError if the answer is
        another one."""
        status, body = self._exchange(path, method, None if content is None else json.dumps(content).encode())
        return self._object(path, method, status, body.decode("utf-8", "replace"))

    def find(self, path: str, method: str = "GET") -> Mapping[str, Any] | None:
        """As `read`, but None if the service has nothing of that name (404)."""
        status, body = self.ask(path, method)
        return None if status == 404 else self._object(path, method, status, body)

    def _object(self, path: str, method: str, status: int, body: str) -> Mapping[str, Any]:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status != 200 or not isinstance(answer, dict):
            raise self._unexpected(path, method, status, body)
        return answer

    def _unreachable(self, error: OSError) -> BackendError:
        reason = "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
        return BackendError(f"cannot reach the admin socket {self.socket}: {reason}", status=ExitStatus.UNAVAILABLE)

    def _unexpected(self, path: str, method: str, status: int, body: str) -> PeerError:
        return PeerError(f"{self.socket} answered {status} to {method} {path}: {' '.join(body.split())[:200]}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("admin", timeout=timeout)
        self._path, self._seconds = path, timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self._seconds)
        self.sock.connect(str(self._path))
