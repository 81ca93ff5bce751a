"""The Unix socket on which a service can be asked and steered."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from rtcrelay.errors import BackendError

SOCKET_MODE = 0o660
"""Owner and group may steer the service; nobody else may even look."""


class AdminSocket:
    """A listening Unix socket as a context manager; None for no path. Raises BackendError on entering.

    With ``replaces`` it lies beside its path until `take_place`: a predecessor listens there and will end.
    """

    def __init__(self, path: Path | None, *, replaces: bool = False) -> None:
        self._place = path
        self._path = path.with_name(f"{path.name}.{os.getpid()}") if path is not None and replaces else path
        self._socket: socket.socket | None = None
        self._inode = 0

    def __enter__(self) -> socket.socket | None:
        if self._path is None:
            return None
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _remove_stale(self._path)
            self._socket = _listen(self._path)
            self._inode = self._path.stat().st_ino
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BackendError(
                f"cannot make admin socket {self._path}: {reason}", hint="--admin SOCKET names another place"
            ) from error
        return self._socket

    def take_place(self) -> None:
        """Puts the socket at its path, in the place of a predecessor's. Raises OSError."""
        if self._socket is not None and self._path is not None and self._place is not None:
            os.rename(self._path, self._place)
            self._path = self._place

    def leave(self) -> None:
        """Leaves the path to a successor: it is not removed at the end."""
        self._path = None

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._socket is None or self._path is None:
            return
        try:
            # Not the socket of somebody who took the place meanwhile.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            pass


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        # Connecting needs write permission, which the usual umask gives to the owner alone until the chmod.
        mask = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(mask)
        os.chmod(path, SOCKET_MODE)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on. Raises BackendError if somebody does, or it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BackendError(f"cannot make admin socket {path}: the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(1)
        try:
            client.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except TimeoutError:
            pass  # a full backlog: somebody is alive
    raise BackendError(
        f"cannot make admin socket {path}: another process listens there",
        hint=f"ss -xlp src {path}; --admin SOCKET names another place",
    )
