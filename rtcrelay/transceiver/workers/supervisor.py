"""How do several transceiver processes run as one service? A parent starts them, starts them again, and ends with them.

Laws: the parent has no session and touches no packet. It runs no event loop and no thread, so that it can fork at any
time: what is imported is shared, and a worker is up again within milliseconds. A worker that dies takes only its own
sessions with it. None outlives the parent: the kernel tells them (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from rtcrelay.daemon import (
    HANDLED_SIGNALS,
    die_with_parent,
    mark_logs,
    notify_supervisor,
    sd_notify,
    watchdog_seconds,
)
from rtcrelay.errors import ExitStatus, RtcrelayError

if TYPE_CHECKING:
    from rtcrelay.transceiver.workers.board import Board

log = logging.getLogger("rtcrelay.workers")

QUICK_SECONDS: Final = 10.0
"""A worker that lives less long died at once. Chosen: longer than a start takes, shorter than an operator's look."""
MOST_QUICK_DEATHS: Final = 5
"""After so many in a row the service ends: what is wrong will not mend itself, and who started it is to know."""
_FIRST_PAUSE_SECONDS: Final = 0.25
_MAX_PAUSE_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 1.0
_STUCK_LOOKS: Final = 10
"""A worker that has not moved in so many looks, a second apart each, is stuck. Looks, not seconds: when the whole
machine stood still, nobody looked either."""
_RELOAD_SECONDS: Final = 5.0
"""After this time the service manager hears that the reload is over, whatever a worker does."""
_MARGIN_SECONDS: Final = 5.0
"""What workers have beyond the drain time, and after the second signal; then they are killed."""
_MAX_WORDS: Final = 4096
_SIGNALS: Final = (*HANDLED_SIGNALS, signal.SIGCHLD)

END_NOW: Final = signal.SIGINT
"""What has a worker end at once, see `rtcrelay.transceiver.control`."""


class Work(Protocol):
    """What the supervisor runs."""

    def run(self, worker: int) -> None:
        """Is the worker until its end; in a process of its own. Raises RtcrelayError if it cannot start."""

    def reload(self) -> None:
        """Makes sure that workers can reload, and starts others by the new settings. Raises RtcrelayError."""

    @property
    def drain_seconds(self) -> float:
        """How long sessions may go on when the service ends."""


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int = 0
    words: int = -1
    """Descriptor of a pipe on which it says why it cannot start."""
    started_at: float = 0.0
    starts_at: float | None = None
    """When it is to be started again."""
    quick_deaths: int = 0
    tick_ns: int = 0
    still_looks: int = 0


class Supervisor:
    """The parent of some workers. To be made in a process without threads."""

    def __init__(self, work: Work, board: Board) -> None:
        self._work, self._board = work, board
        self._workers = [_Worker(number) for number in range(board.workers)]
        self._status = ExitStatus.OK
        self._was_ready = self._is_ending = False
        self._deadline: float | None = None
        """When what still runs is killed."""
        self._reloading: tuple[float, dict[int, int]] | None = None
        """Until when, and how often each worker had said that it is ready."""
        self._look_at = self._watchdog_at = 0.0
        self._watchdog = watchdog_seconds(os.environ)
        self._told = ""

    def run(self) -> ExitStatus:
        """Runs the service until SIGTERM or SIGINT. Raises RtcrelayError if the first start of a worker fails."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, children would end without a trace
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for worker in self._workers:
                self._start(worker)
            while not self._is_over():
                self._handle_signal(signal.sigtimedwait(_SIGNALS, self._pause()))
                self._reap()
                self._handle_time(time.monotonic())
            return self._status
        finally:
            self._kill_all()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    # -- signals

    def _handle_signal(self, found: signal.struct_siginfo | None) -> None:
        if found is None or found.si_signo == signal.SIGCHLD:
            return
        if found.si_signo == signal.SIGHUP:
            self._reload()
        else:
            self._end()

    def _reload(self) -> None:
        if self._is_ending:
            return
        sd_notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self._work.reload()
        except RtcrelayError as error:
            log.error("not reloaded, everything stays as it was: %s", error)
            self._say_ready()
            return
        running = [worker for worker in self._workers if worker.pid]
        before = {worker.number: self._board.row(worker.number).readies for worker in running}
        for worker in running:
            os.kill(worker.pid, signal.SIGHUP)
        self._reloading = time.monotonic() + _RELOAD_SECONDS, before

    def _end(self) -> None:
        """Begins to end: workers drain; at the second call, at once."""
        seconds = self._work.drain_seconds if not self._is_ending else 0.0
        if not self._is_ending:
            extension = int((seconds + 2 * _MARGIN_SECONDS) * 1e6)
            sd_notify(f"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={extension}")
        self._deadline = time.monotonic() + seconds + _MARGIN_SECONDS
        for worker in self._workers:
            worker.starts_at = None
            if worker.pid:
                is_serving = self._board.row(worker.number).readies > 0  # else it has no sessions, and may take long
                number = END_NOW if self._is_ending else signal.SIGTERM
                os.kill(worker.pid, number if is_serving else signal.SIGKILL)
        self._is_ending = True

    # -- time

    def _pause(self) -> float:
        """Until when nothing but a signal matters, in seconds from now."""
        if self._reloading or not (self._was_ready or self._is_ending):
            return 0.05
        now = time.monotonic()
        due = [worker.starts_at for worker in self._workers if worker.starts_at is not None]
        due += [self._look_at, *([self._deadline] if self._deadline is not None else [])]
        due += [self._watchdog_at] if self._watchdog is not None else []
        return max(0.001, min(due) - now)

    def _handle_time(self, now: float) -> None:
        for worker in self._workers:
            if worker.starts_at is not None and worker.starts_at <= now:
                self._start(worker)
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._kill_all()
        if self._watchdog is not None and now >= self._watchdog_at:
            self._watchdog_at = now + self._watchdog / 2
            sd_notify("WATCHDOG=1")
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look_for_stuck()
        self._tell_manager(now)

    def _look_for_stuck(self) -> None:
        for worker in self._workers:
            row = self._board.row(worker.number)
            has_moved = row.tick_ns != worker.tick_ns or not row.readies
            worker.still_looks = 0 if has_moved else worker.still_looks + 1
            worker.tick_ns = row.tick_ns
            if worker.pid and worker.still_looks >= _STUCK_LOOKS:
                worker.still_looks = 0
                log.error("worker %d (process %d) is stuck, it is killed", worker.number, worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    def _tell_manager(self, now: float) -> None:
        rows = self._board.rows()
        ready = sum(row.readies > 0 for row in rows)
        if not self._was_ready and ready == len(rows) and not self._is_ending:
            self._was_ready = True
            log.info("all %d workers are ready", ready)
            self._say_ready()
        if self._reloading is not None:
            until, before = self._reloading
            if now >= until or all(row.readies > before.get(row.worker, -1) for row in rows if row.pid):
                self._reloading = None
                self._say_ready()
        text = f"STATUS={ready} of {len(rows)} workers run"
        if self._was_ready and not self._is_ending and text != self._told:
            self._told = text
            sd_notify(text)

    def _say_ready(self) -> None:
        if self._was_ready:
            sd_notify("READY=1")

    # -- processes

    def _start(self, worker: _Worker) -> None:
        worker.starts_at, worker.started_at = None, time.monotonic()
        worker.tick_ns = worker.still_looks = 0
        self._board.begin(worker.number)
        words, mouth = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            for other in self._workers:
                if other.pid:
                    os.close(other.words)
            self._become(worker.number, parent, mouth)
        os.close(mouth)
        worker.pid, worker.words = pid, words
        self._board.set_pid(worker.number, pid)

    def _become(self, number: int, parent: int, mouth: int) -> NoReturn:
        """The worker's process, from its first to its last moment."""
        status = ExitStatus.SOFTWARE
        try:
            os.setsid()  # Ctrl-C in a terminal reaches the parent alone, which ends the workers in order
            die_with_parent(parent)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))  # the others wait until they are handled
            os.environ.pop("NOTIFY_SOCKET", None)
            mark_logs(number)
            notify_supervisor(lambda state: self._board.say_ready(number) if "READY=1" in state.split("\n") else None)
            self._work.run(number)
            status = ExitStatus.OK
        except RtcrelayError as error:
            status = error.status
            _say(mouth, error)
        except BaseException:
            log.exception("a defect of rtcrelay ended this worker")
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        """Takes note of every worker that has ended. As process 1 it buries others' children, too."""
        while True:
            try:
                pid, how = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = next((worker for worker in self._workers if worker.pid == pid), None)
            if worker is not None:
                self._handle_death(worker, os.waitstatus_to_exitcode(how))

    def _handle_death(self, worker: _Worker, code: int) -> None:
        row, error = self._board.row(worker.number), _hear(worker.words)
        pid, worker.pid = worker.pid, 0
        self._board.clear(worker.number)
        if self._reloading is not None:
            self._reloading[1].pop(worker.number, None)  # the next process reads everything anyway
        if self._is_ending:
            return
        if error is not None and not self._was_ready:
            raise error
        now = time.monotonic()
        is_quick = not row.readies or (code != 0 and now - worker.started_at < QUICK_SECONDS)
        worker.quick_deaths = worker.quick_deaths + 1 if is_quick else 0
        pause = min(_MAX_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (worker.quick_deaths - 1)) if is_quick else 0.0
        why = str(error) if error is not None else _end_of(code)
        lost = f" with {row.sessions} sessions" if row.sessions else ""
        fields = {"event": "worker_ended", "worker": worker.number, "pid": pid, "reason": why, "sessions": row.sessions}
        level = logging.ERROR if code else logging.INFO
        log.log(level, "worker %d (process %d) ended%s: %s", worker.number, pid, lost, why, extra={"fields": fields})
        if worker.quick_deaths >= MOST_QUICK_DEATHS:
            self._give_up(worker, error.status if error is not None else _status_of(code))
        else:
            worker.starts_at = now + pause

    def _give_up(self, worker: _Worker, status: ExitStatus) -> None:
        log.error("worker %d died at once %d times in a row: the service ends", worker.number, worker.quick_deaths)
        self._status = status
        self._end()

    def _is_over(self) -> bool:
        return self._is_ending and not any(worker.pid for worker in self._workers)

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker.pid:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)


def _end_of(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _status_of(code: int) -> ExitStatus:
    try:
        return ExitStatus(code)
    except ValueError:
        return ExitStatus.SOFTWARE


def _say(mouth: int, error: RtcrelayError) -> None:
    words = json.dumps({"message": str(error)[: _MAX_WORDS // 8], "hint": error.hint, "status": error.status})
    with suppress(OSError):
        os.write(mouth, words.encode())


def _hear(words: int) -> RtcrelayError | None:
    """Why a worker that has ended could not start; None if it did not say so."""
    try:
        told = json.loads(os.read(words, _MAX_WORDS) or b"null")
    except (OSError, ValueError):
        told = None
    finally:
        os.close(words)
    if told is None:
        return None
    return RtcrelayError(told["message"], hint=told["hint"], status=ExitStatus(told["status"]))
