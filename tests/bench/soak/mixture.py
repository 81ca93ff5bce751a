"""Backends of every kind in one process: ``--backend python:tests.bench.soak.mixture:make_backend``.

Most sessions are passed through; the others hear and say samples, in this process or over a WebSocket to a parrot at
the address that an environment variable names. Who gets which is a matter of order, so that a soak has the shares
that it says.
"""

from __future__ import annotations

import itertools
import os
from functools import cache

from rtcrelay.transceiver.backends import Backend, BackendFactory, Call, find_backend

VARIABLE = "SOAK_PARROT"
SHARES = {
    "echo": 15,
    "pcm-echo": 1,
    "parrot": 2,
    "ws://{}/v1/realtime": 1,
    "ws+pcm://{}/pcm": 1,
}
"""Sessions of each kind among twenty. Chosen: 70 of 200 with samples are about as many as a core takes that also sets
three sessions a second up."""

_order = itertools.count()


@cache
def _factories() -> tuple[BackendFactory, ...]:
    """One for each of the twenty, mixed."""
    where = os.environ[VARIABLE]
    kinds = [find_backend(name.format(where)) for name, share in SHARES.items() for _ in range(share)]
    return tuple(kinds[7 * place % len(kinds)] for place in range(len(kinds)))


def make_backend(call: Call) -> Backend:
    """The next one."""
    factories = _factories()
    return factories[next(_order) % len(factories)](call)
