"""The ends of a service's life: signals that come before it handles them, and after it has nothing more to do."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

EARLY = """
import asyncio, os, signal
from rtcrelay.daemon import HANDLED_SIGNALS, handle_end_signals
from rtcrelay.event_loop import run_to_the_end

async def serve():
    os.kill(os.getpid(), signal.{name})
    ended = asyncio.Event()
    handle_end_signals(asyncio.get_running_loop(), ended.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, ended.set)
    print("starting", flush=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
    await ended.wait()

run_to_the_end(serve())
print("the end")
"""

LATE = """
import atexit, os, signal, threading, time
from rtcrelay.event_loop import run_to_the_end

async def serve():
    pass

run_to_the_end(serve())
threading.Thread(target=time.sleep, args=(60,)).start()  # of a backend, say: Python waits for it
os.kill(os.getpid(), signal.SIGHUP)
print("the end", flush=True)
{when}
"""
AT_ONCE = "os.kill(os.getpid(), signal.{name})"
AT_EXIT = "threading._register_atexit(lambda: os.kill(os.getpid(), signal.{name}))"


def run(code: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_before_the_service_handles_it_waits(name: str) -> None:
    assert run(EARLY.format(name=name)) == (0, "starting\nthe end\n")


@pytest.mark.parametrize("when", [AT_ONCE, AT_EXIT], ids=["at once", "while Python ends"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_when_all_is_done_ends_the_process_with_0(name: str, when: str) -> None:
    assert run(LATE.format(when=when.format(name=name))) == (0, "the end\n")


def test_a_service_that_fails_leaves_signals_as_they_were() -> None:
    code = """
import os, signal
from rtcrelay.event_loop import run_to_the_end

async def serve():
    raise OSError("no")

try:
    run_to_the_end(serve())
except OSError:
    os.kill(os.getpid(), signal.SIGTERM)
"""
    assert run(code) == (-signal.SIGTERM, "")
