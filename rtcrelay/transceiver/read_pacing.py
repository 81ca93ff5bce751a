"""When is a busy socket looked at? At once while little comes, every 2 ms while much does.

A wake-up costs several times what a packet does (measured on a 2-core virtual machine: 100 sessions' packets, woken
for each, 0.30 % of a core per session; looked at every 2 ms, 0.14 %), as with a network card's interrupts, and the
cure is the same. The price is at most 2 ms of delay, of the 20 that a frame lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

POLL_SECONDS: Final = 0.002
"""Chosen: a tenth of a frame, and twice the resolution of uvloop's timers."""
BUSY_TURNS: Final = 50
"""Wake-ups within `BUSY_SECONDS` after which the socket is polled: 1000 a second."""
BUSY_SECONDS: Final = 0.05
QUIET_POLLS: Final = 25
"""Polls in a row with at most one datagram each after which the kernel wakes us again."""


class PacedReader:
    """Has a socket read until closed. `drain` reads a bounded number of datagrams.

    ``drain`` returns how many it read, and True if more may be waiting.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fileno: int,
        drain: Callable[[], tuple[int, bool]],
        clock: Callable[[], float],
    ) -> None:
        """Starts to read. ``clock`` in seconds."""
        self._loop, self._fileno, self._drain, self._clock = loop, fileno, drain, clock
        self._turns = self._quiet = 0
        self._window_at = clock()
        self._handle: asyncio.Handle | None = None
        self._closed = False
        loop.add_reader(fileno, self._on_readable)

    @property
    def is_polling(self) -> bool:
        """Whether the socket is so busy that it is looked at by the clock."""
        return self._handle is not None

    def close(self) -> None:
        """Reads no more; call it before the socket is closed."""
        if self._closed:
            return
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
        else:
            self._loop.remove_reader(self._fileno)

    def _on_readable(self) -> None:
        self._drain()
        self._turns += 1
        if self._closed or self._turns < BUSY_TURNS:
            return
        now = self._clock()
        is_busy = now - self._window_at <= BUSY_SECONDS
        self._turns, self._window_at = 0, now
        if is_busy:
            self._loop.remove_reader(self._fileno)
            self._quiet = 0
            self._handle = self._loop.call_later(POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        count, has_more = self._drain()
        if self._closed:
            return
        self._quiet = 0 if count > 1 else self._quiet + 1
        if has_more:
            self._handle = self._loop.call_soon(self._poll)
        elif self._quiet < QUIET_POLLS:
            self._handle = self._loop.call_later(POLL_SECONDS, self._poll)
        else:
            self._handle, self._turns, self._window_at = None, 0, self._clock()
            self._loop.add_reader(self._fileno, self._on_readable)
