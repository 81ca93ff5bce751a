"""What every call meets: three ingresses, of which one may die."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from e2e.tiers import Plan, Tiers, tiers

INGRESSES = 3
SETTLE_SECONDS = 4.0
WATCH_SECONDS = 12.0


@asynccontextmanager
async def world() -> AsyncIterator[Tiers]:
    """Three ingresses of three VIPs, a cluster and a transceiver."""
    with tempfile.TemporaryDirectory() as directory:
        async with tiers(Path(directory), Plan(vips=INGRESSES)) as started:
            try:
                yield started
            finally:
                for daemon in started.daemons:  # those that were stopped could not end
                    if daemon.pid is not None:
                        os.kill(daemon.pid, signal.SIGCONT)


def strike(started: Tiers, which: int, how: str) -> None:
    """An ingress dies: ``kill``, then its machine says so (ICMP); or ``stop``, then nothing is heard of it."""
    pid = started.ingresses[which].daemon.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)


async def checks(started: Tiers, *, but: set[int]) -> list[int | None]:
    """Binding requests that each ingress has routed."""
    return [
        None if number in but else (await ingress.admin.stats()).count("routed_by_ufrag")
        for number, ingress in enumerate(started.ingresses)
    ]


def number_of(started: Tiers, port: int | None) -> int | None:
    """Which ingress has a port, from 1 on."""
    ports = [ingress.public[1] for ingress in started.ingresses]
    return ports.index(port) + 1 if port in ports else None
