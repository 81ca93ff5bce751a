"""What goes wrong again and again is logged at most once a minute, with the number of times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

EVERY_SECONDS: Final = 60.0


class Complaints:
    """One kind of trouble."""

    def __init__(self, log: logging.Logger, form: str, clock: Callable[[], float] = time.monotonic) -> None:
        """``form`` takes the number of times and the last reason."""
        self._log, self._form, self._clock = log, form, clock
        self._told_at, self._untold = float("-inf"), 0

    def tell(self, reason: object, *, traceback: bool = False) -> None:
        """Says that it happened, unless that was said within the minute."""
        self._untold += 1
        if self._clock() - self._told_at >= EVERY_SECONDS:
            self._log.warning(self._form, self._untold, reason, exc_info=traceback)
            self._told_at, self._untold = self._clock(), 0
