"""The relay's control plane looks at its data plane every two seconds: do the workers live, and what went wrong?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from rtcrelay.relay.digest import Digest

log = logging.getLogger("rtcrelay.relay")

INTERVAL_SECONDS: Final = 2.0
"""Between two looks, if the service manager's watchdog does not want more."""


class Watch:
    """Looks, tells what an operator should hear, and pats the watchdog while there is reason to."""

    def __init__(
        self,
        workers: Callable[[], str | None],
        counts: Callable[[], Mapping[str, int]],
        notify: Callable[[str], None],
        watchdog_seconds: float | None,
    ) -> None:
        """``workers`` says why the relay must be restarted, or None; ``counts`` gives every count since start."""
        self._workers, self._counts, self._notify = workers, counts, notify
        self._has_watchdog = watchdog_seconds is not None
        # Half the time, as sd_watchdog_enabled(3) advises.
        self.interval = INTERVAL_SECONDS if watchdog_seconds is None else min(INTERVAL_SECONDS, watchdog_seconds / 2)
        """Seconds between two looks."""
        self._digest = Digest()

    def look(self, now: float) -> str | None:
        """One look at ``now``; returns why the relay must be restarted, or None."""
        failure = self._workers()
        for line in self._digest.handle_snapshot(self._counts(), now):
            log.log(line.level, "%s", line.message)
        if failure is None and self._has_watchdog:
            self._notify("WATCHDOG=1")
        return failure

    async def until_failure(self) -> str:
        """Looks again and again until the relay must be restarted; returns why."""
        clock = asyncio.get_running_loop().time
        while True:
            failure = self.look(clock())
            if failure is not None:
                return failure
            await asyncio.sleep(self.interval)
