"""The address of metrics, when a predecessor that is about to end still has it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import AsyncExitStack
from typing import Final

from rtcrelay.config.text import Address
from rtcrelay.errors import BackendError
from rtcrelay.metrics.listener import MetricsListener

log = logging.getLogger("rtcrelay.metrics")

LATE_SECONDS: Final = 3.0
"""How long a predecessor may take to end."""


async def bind_late(address: Address, stack: AsyncExitStack) -> socket.socket | None:
    """A listening socket at an address that another process is about to give up, until ``stack`` is left.

    None, and an error in the log, if it did not within `LATE_SECONDS`.
    """
    deadline = time.monotonic() + LATE_SECONDS
    while True:
        try:
            return stack.enter_context(MetricsListener(address))
        except BackendError as error:
            if time.monotonic() >= deadline:
                log.error("no metrics: %s", error)
                return None
        await asyncio.sleep(0.02)
