"""How does a service that is all asyncio run? On uvloop, and no signal ends it before it handles signals, or kills it
when all is done."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine

import uvloop

from rtcrelay.daemon import END_SIGNALS, HANDLED_SIGNALS
from rtcrelay.errors import ExitStatus


def run_to_the_end(serve: Coroutine[object, object, None]) -> None:
    """Runs a service. `HANDLED_SIGNALS` wait until it unblocks them: a reload that comes early must not end it.

    When it returns, this process has nothing more to do: what still asks it to end ends it at once, with status 0.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve)
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
            _handle_late_signals(runner.get_loop())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)


def _handle_late_signals(loop: asyncio.AbstractEventLoop) -> None:
    for number in HANDLED_SIGNALS:
        loop.remove_signal_handler(number)  # or the loop would put the kernel's default back when it is closed
        signal.signal(number, signal.SIG_IGN)
    for number in END_SIGNALS:
        signal.signal(number, lambda *_: os._exit(ExitStatus.OK))
