"""What a long-running process owes its surroundings: readiness, logs, its admin socket, an end with its parent."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rtcrelay.errors import BackendError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

SOCKET_MODE = 0o660
"""Owner and group may steer the relay; nobody else may even look."""

log = logging.getLogger("rtcrelay")
"""The logger above all of the package's."""


def sd_notify(state: str) -> None:
    """Tells the service manager, as sd_notify(3): ``READY=1``, ``STATUS=…``. Without one it does nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.sendto(state.encode(), address)
    except OSError as error:
        log.warning("cannot notify the service manager at %s: %s", address.replace("\0", "@"), error.strerror)


def runtime_directory(environ: Mapping[str, str]) -> Path:
    """Where sockets go: systemd's ``$RUNTIME_DIRECTORY``, else /run/rtcrelay, else ``$XDG_RUNTIME_DIR/rtcrelay``.

    /run/rtcrelay is taken if this user can write or create it, or has no other place.
    """
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"].partition(":")[0])
    system = Path("/run/rtcrelay")
    writable = os.access(system, os.W_OK) if system.exists() else os.access(system.parent, os.W_OK)
    if not writable and environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"], "rtcrelay")
    return system


def die_with_parent(parent: int, signum: int = signal.SIGTERM) -> None:
    """Has the kernel send ``signum`` to this process when its parent ends (the thread of it that started us).

    ``parent`` is the parent's process id as the parent told it: if the parent ended before this call, the kernel
    will send nothing, so the signal is sent here.
    """
    import ctypes  # 2 ms that only a child needs

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)


def follow_parent(environ: Mapping[str, str]) -> None:
    """Calls `die_with_parent` if the starter asked for it: ``RTCRELAY_PARENT_PID`` is then its process id."""
    parent = environ.get("RTCRELAY_PARENT_PID", "")
    if parent.isdecimal():
        die_with_parent(int(parent))


def set_up_logging(form: str, *, verbosity: int = 0) -> None:
    """Sends log records to stderr. ``form``: ``text``, ``json``, or ``auto`` for text on a terminal and else JSON.

    ``verbosity``: -1 warnings only, 0 information, 1 and above debugging.
    """
    if form == "auto":
        form = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(logging.WARNING if verbosity < 0 else logging.INFO if verbosity == 0 else logging.DEBUG)


class AdminSocket:
    """A listening Unix socket as a context manager; None for no path. Raises BackendError on entering."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
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

    def __exit__(self, *_: object) -> None:
        if self._socket is None or self._path is None:
            return
        self._socket.close()
        try:
            # Not the socket of somebody who took the place meanwhile.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            pass


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        self.converter = time.gmtime
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        # One record is one line, whatever a peer managed to get into it.
        return super().format(record).replace("\r", "\\r").replace("\n", "\n  ")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


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
