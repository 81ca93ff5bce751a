"""The running relay waits for a successor (`takeover`), hands over to it and ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rtcrelay.relay import takeover

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, Relay

log = logging.getLogger("rtcrelay.relay")

_PAUSE_SECONDS = 5.0
"""After an error of the listening socket."""


class Succession:
    """Listens for successors from entering the context to leaving it, and serves one at a time."""

    def __init__(
        self,
        path: Path,
        relay: Relay,
        listeners: Sequence[tuple[Address, Address]],
        on_handed_over: Callable[[], None],
    ) -> None:
        """``listeners`` as configured: a successor must have the same."""
        self.is_handing_over = False
        """Whether the data plane may be paused for a successor right now."""
        self.handed_over = False
        """Whether a successor serves: then this process ends, and leaves the sockets' paths alone."""
        self.failed = 0
        """Successors that asked and do not serve."""
        self._path, self._relay, self._listeners = path, relay, listeners
        self._on_handed_over = on_handed_over
        self._listener: socket.socket | None = None
        self._inode = 0
        self._accepting: asyncio.Task[None] | None = None
        self._handing: asyncio.Future[bool] | None = None

    async def __aenter__(self) -> Succession:
        try:
            self._listener = takeover.listen(self._path)
            self._inode = self._path.stat().st_ino
        except OSError as error:
            log.warning("no successor can take over at %s: %s", self._path, (error.strerror or str(error)).lower())
            return self
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._handing is not None:  # it is too late to say no, or the successor gives up in a moment
            self.handed_over = await self._handing or self.handed_over
        if self._listener is not None:
            self._listener.close()
            with suppress(OSError):
                if not self.handed_over and self._path.stat().st_ino == self._inode:
                    self._path.unlink()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # no descriptor is free, for example
                log.warning("no successor can take over: %s", (error.strerror or str(error)).lower())
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._handing = asyncio.ensure_future(asyncio.to_thread(self._hand_over, connection))
            self.is_handing_over = True
            self.handed_over = await asyncio.shield(self._handing)
            self._handing, self.is_handing_over = None, False
            if self.handed_over:
                self._on_handed_over()
                return
            self.failed += 1

    def _hand_over(self, connection: socket.socket) -> bool:
        with connection:
            return takeover.hand_over(connection, self._relay, self._listeners)
