"""What a kubelet does to a pod, done to a process: readiness asked over HTTP, the hook, SIGTERM, patience, SIGKILL."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

_MANIFESTS: Final = Path(__file__).parents[2] / "deploy" / "golden" / "one-cluster.yaml"
_PATH: Final = "/readyz"


def pod_of(role: str) -> dict[str, Any]:
    """The specification of a role's pod in the chart's example."""
    for each in yaml.safe_load_all(_MANIFESTS.read_text()):
        if each["kind"] == "Deployment" and each["metadata"]["name"].endswith(f"-{role}"):
            pod: dict[str, Any] = each["spec"]["template"]["spec"]
            return pod
    raise LookupError(role)


def hook_of(role: str, drain_seconds: int) -> str:
    """The chart's preStop hook, with another time to drain and without its pause for other nodes to hear of it."""
    words: list[str] = pod_of(role)["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    command, count = re.subn(r"--timeout \d+s", f"--timeout {drain_seconds}s", words[-1])
    assert count == 1
    return command.replace("sleep 5; ", "")


def probe() -> dict[str, Any]:
    """The chart's readiness probe."""
    asked: dict[str, Any] = pod_of("relay")["containers"][0]["readinessProbe"]
    return asked


def is_ready(metrics: tuple[str, int]) -> bool:
    """What that probe would say."""
    try:
        with urllib.request.urlopen(f"http://{metrics[0]}:{metrics[1]}{_PATH}", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Readiness:
    """Asks again and again, in a thread of its own, so that nobody who sends packets waits for it."""

    def __init__(self, metrics: tuple[str, int], period_seconds: float = 0.1) -> None:
        self.is_ready = False
        """The last answer."""
        self.misses = 0
        """Answers in a row that were no."""
        self._metrics, self._period, self._stop = metrics, period_seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Readiness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            self.is_ready = is_ready(self._metrics)
            self.misses = 0 if self.is_ready else self.misses + 1


def terminate(
    pid: int, directory: Path, hook: str, grace_seconds: float, meanwhile: Callable[[], object]
) -> tuple[float, bool]:
    """Ends a pod's process as a kubelet does: (seconds it took, whether SIGKILL was needed).

    ``directory`` is where its admin socket is. ``meanwhile`` is called over and over, and takes a moment.
    """
    begun = time.monotonic()
    descriptor = os.pidfd_open(pid)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {"PATH": path, "RUNTIME_DIRECTORY": str(directory)}
    stopping = subprocess.Popen(
        ["/bin/sh", "-c", hook], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while stopping.poll() is None and time.monotonic() < begun + grace_seconds:
        meanwhile()
    if stopping.poll() is None:
        stopping.kill()
        stopping.wait()
    os.kill(pid, signal.SIGTERM)
    while not _has_ended(descriptor) and time.monotonic() < begun + grace_seconds:
        meanwhile()
    killed = not _has_ended(descriptor)
    if killed:
        os.kill(pid, signal.SIGKILL)
    os.close(descriptor)
    return time.monotonic() - begun, killed


def _has_ended(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])
