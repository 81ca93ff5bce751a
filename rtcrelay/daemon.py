"""What a long-running process owes its surroundings: readiness, logs, a clean end, and one with its parent."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rtcrelay.errors import ExitStatus, RtcrelayError
from rtcrelay.log_events import values_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What asks a service to end."""
HANDLED_SIGNALS = (*END_SIGNALS, signal.SIGHUP)
"""What a service that can reload handles."""

log = logging.getLogger("rtcrelay")
"""The logger above all of the package's."""


_supervisor: Callable[[str], None] | None = None


def notify_supervisor(take: Callable[[str], None]) -> None:
    """Has ``take`` hear what `sd_notify` says: this process is a part of a service, and the parent speaks for it."""
    global _supervisor
    _supervisor = take


def sd_notify(state: str) -> None:
    """Tells the service manager, as sd_notify(3): ``READY=1``, ``STATUS=…``. Without one it does nothing."""
    if _supervisor is not None:
        _supervisor(state)
        return
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


def watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Within which time the service manager wants to hear ``WATCHDOG=1``, as sd_watchdog_enabled(3); None: never."""
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (limit.isascii() and limit.isdecimal()) or int(limit) == 0:
        return None
    return int(limit) / 1e6 if pid in ("", str(os.getpid())) else None


def handle_end_signals(loop: AbstractEventLoop, end: Callable[[], None]) -> None:
    """Has the first SIGTERM or SIGINT call ``end``, and the next one end the process at once.

    Then it ends by that signal, as if it had never been handled: whoever sent two does not want to wait.
    """

    def first() -> None:
        for signum in END_SIGNALS:
            loop.remove_signal_handler(signum)
            signal.signal(signum, signal.SIG_DFL)
        end()

    for signum in END_SIGNALS:
        loop.add_signal_handler(signum, first)


def reload_on_hangup(reload: Callable[[], None], service: logging.Logger) -> None:
    """What SIGHUP asks for, told to the service manager as systemd's ``Type=notify-reload`` wants it. ``reload`` that
    raises an RtcrelayError has changed nothing; ``service`` is the logger that says so."""
    sd_notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        reload()
    except RtcrelayError as error:
        service.error("not reloaded, everything stays as it was: %s", error)
    sd_notify("READY=1")


class Watchdog:
    """Tells the service manager, twice as often as it wants to hear it, that the event loop turns."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Begins, if the service manager asked for it."""
        limit = None if _supervisor is not None else watchdog_seconds(os.environ)
        if limit is not None:
            sd_notify("WATCHDOG=1")
            self._timer = self._loop.call_later(limit / 2, self.start)

    def cancel(self) -> None:
        """Ends; harmless if it never began."""
        if self._timer is not None:
            self._timer.cancel()


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


def runtime_directories(environ: Mapping[str, str]) -> list[Path]:
    """Where sockets of running services may be: theirs may be another user's, so all places but systemd's are asked."""
    if environ.get("RUNTIME_DIRECTORY"):
        return [runtime_directory(environ)]
    own = [Path(environ["XDG_RUNTIME_DIR"], "rtcrelay")] if environ.get("XDG_RUNTIME_DIR") else []
    return [Path("/run/rtcrelay"), *own]


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


def in_background(work: Callable[[Callable[[], None]], ExitStatus]) -> ExitStatus:
    """Runs ``work`` in a process of its own, and returns when ``work`` has called what it is given, or has ended.

    That process has no parent but the one of orphans (a service manager, which hears of its end), already when
    ``work`` begins. In the calling process the result is OK, or the status with which ``work`` ended too early; in
    the other one it is what ``work`` returns. To be called before there are threads.
    """
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        between = os.getpid()
        if os.fork() != 0:
            os._exit(0)
        os.close(reader)
        while os.getppid() == between:
            time.sleep(0.001)
        return _report_to(writer, work)
    os.close(writer)
    os.waitpid(between, 0)
    with open(reader, "rb") as report:
        said = report.read(1)
    return ExitStatus(said[0]) if said else ExitStatus.SOFTWARE


def _report_to(writer: int, work: Callable[[Callable[[], None]], ExitStatus]) -> ExitStatus:
    with open(writer, "wb", buffering=0) as report:

        def say(status: ExitStatus) -> None:
            with suppress(ValueError, BrokenPipeError):  # it was said; or nobody listens
                report.write(bytes([status]))
                report.close()

        try:
            status = work(lambda: say(ExitStatus.OK))
        except RtcrelayError as error:
            say(error.status)
            raise
        say(status)
        return status


Address = TypeVar("Address")
_addresses_are_shown = True


def shown_client(address: Address) -> Address | None:
    """A client's address for the log, or None: whose calls are whose is told only if the operator asked for it."""
    return address if _addresses_are_shown else None


def set_up_logging(form: str, *, verbosity: int = 0, addresses: bool = False) -> None:
    """Sends log records to stderr. ``form``: ``text``, ``json``, or ``auto`` for text on a terminal and else JSON.

    ``verbosity``: -1 warnings only, 0 information, 1 and above debugging. ``addresses``: whether lines name clients'
    addresses; when debugging they do.
    """
    global _addresses_are_shown
    _addresses_are_shown = addresses or verbosity > 0
    if form == "auto":
        form = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(logging.WARNING if verbosity < 0 else logging.INFO if verbosity == 0 else logging.DEBUG)


def mark_logs(worker: int) -> None:
    """Says in every record from now on which worker speaks."""
    _marks["worker"] = worker


_marks: dict[str, int] = {}


def log_stray_failures() -> None:
    """Has warnings of Python and failures of threads logged, a line each, instead of printed."""
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_failure


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        log.error("a thread ended", exc_info=failure.exc_value)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        self.converter = time.gmtime
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s%(marks)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.marks = "".join(f" {name}={value}" for name, value in _marks.items())
        # One record is one line, whatever a peer managed to get into it.
        return super().format(record).replace("\r", "\\r").replace("\n", "\n  ")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            **_marks,
            "message": record.getMessage(),
            **values_of(record.msg, record.args),
        }
        line.update(getattr(record, "fields", {}))  # of records that a program wants to read
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
