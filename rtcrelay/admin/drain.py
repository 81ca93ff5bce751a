"""Having services drain, and waiting until nothing is left on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rtcrelay.admin.client import AdminClient
from rtcrelay.admin.status import Row, load_of, status_of
from rtcrelay.config.text import format_duration
from rtcrelay.errors import BackendError, ExitStatus, RtcrelayError

POLL_SECONDS: Final = 1.0
"""Between two looks at what is left."""


def drain(services: Iterable[AdminClient], *, cancel: bool = False) -> tuple[list[Row], list[RtcrelayError]]:
    """Has each service drain, or take calls again; returns (their rows, what went wrong with the others)."""
    rows: list[Row] = []
    errors: list[RtcrelayError] = []
    for admin in services:
        try:
            admin.read("/v1/drain", "DELETE" if cancel else "POST")
            rows.append(status_of(admin))
        except RtcrelayError as error:
            errors.append(error)
    return rows, errors


def wait_until_empty(
    services: Sequence[AdminClient],
    tell: Callable[[int], None],
    *,
    timeout: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns once no service has flows or sessions left; one that cannot be reached any more has none.

    ``tell`` hears how many are left, first and whenever that changes. Raises BackendError (`ExitStatus.TEMPORARY`)
    after ``timeout`` seconds.
    """
    deadline = None if timeout is None else clock() + timeout
    told = None
    while True:
        left = sum(map(_left, services))
        if left == 0:
            return
        if deadline is not None and clock() >= deadline:
            raise BackendError(
                f"{left} flows or sessions are left after {format_duration(timeout or 0)}", status=ExitStatus.TEMPORARY
            )
        if left != told:
            tell(left)
            told = left
        sleep(POLL_SECONDS if deadline is None else min(POLL_SECONDS, max(0.0, deadline - clock())))


def _left(admin: AdminClient) -> int:
    try:
        return load_of(status_of(admin))
    except BackendError:
        return 0
