"""The parent of workers, with workers that do next to nothing, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

SERVICE = """
import os, signal, sys, time
from rtcrelay.transceiver.workers import supervisor
from rtcrelay.transceiver.workers.board import Board
import logging; logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)

supervisor._LOOK_SECONDS, supervisor._STUCK_LOOKS = 0.1, 5
board = Board(2)

class Work:
    drain_seconds = 0.0
    def reload(self): pass
    def run(self, worker):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        board.say_ready(worker)
        starts = board.row(worker).starts
        while True:
            board.write(worker, 3, is_serving=True, has_room=True)
            time.sleep(0.01)
            if worker == 1 and starts == 2:
                os.kill(os.getppid(), signal.SIGTERM)
            if worker == 1 and starts == 1:
                signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
                time.sleep(3600)

print("status", int(supervisor.Supervisor(Work(), board).run()))
"""


def test_a_worker_that_is_stuck_is_killed_and_started_again_and_the_others_go_on() -> None:
    done = subprocess.run(  # our own words
        [sys.executable, "-c", SERVICE], capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert sum("is stuck, it is killed" in line for line in lines) == 1, done.stdout + done.stderr
    assert sum("worker 1 (process" in line and "with 3 sessions: killed by SIGKILL" in line for line in lines) == 1
    assert not any("worker 0 (process" in line for line in lines)
    assert lines[-1] == "status 0"
