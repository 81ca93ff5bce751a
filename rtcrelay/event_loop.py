"""How does a service that is all asyncio run? On uvloop, and no signal ends it before it handles signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine

import uvloop

from rtcrelay.daemon import HANDLED_SIGNALS


def run_to_the_end(serve: Coroutine[object, object, None]) -> None:
    """Runs a service. `HANDLED_SIGNALS` wait until it unblocks them: a reload that comes early must not end it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
