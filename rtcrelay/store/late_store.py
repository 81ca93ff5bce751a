"""A store whose library is still being imported: redis takes 0.2 s, and routes are established meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rtcrelay.config.redis_url import printable_url
from rtcrelay.errors import BackendError, ExitStatus

if TYPE_CHECKING:
    from rtcrelay.store.redis_command import Command
    from rtcrelay.store.redis_store import RedisStore


class LateStore:
    """A `RedisStore` that is made at its first use, in a thread, so that the event loop goes on."""

    def __init__(self, name: str, make: Callable[[], RedisStore]) -> None:
        """``name`` is the URL without its password."""
        self.name = name
        self._make = make
        self._store: asyncio.Future[RedisStore] | None = None

    async def write(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        """See `RedisStore.write`."""
        await (await self._made()).write(entries, expire_seconds)

    async def read(self, keys: Sequence[str]) -> list[str | None]:
        """See `RedisStore.read`."""
        return await (await self._made()).read(keys)

    async def run(self, *commands: Command) -> list[object]:
        """See `RedisStore.run`."""
        return await (await self._made()).run(*commands)

    async def ping(self) -> None:
        """See `RedisStore.ping`."""
        await (await self._made()).ping()

    async def close(self) -> None:
        """Closes the connections, if there are any."""
        if self._store is not None and self._store.done() and self._store.exception() is None:
            await self._store.result().close()

    async def _made(self) -> RedisStore:
        if self._store is None:
            self._store = asyncio.ensure_future(self._import())
        try:
            return await asyncio.shield(self._store)
        except Exception as error:  # a library that is broken or missing, a URL that only redis-py finds wrong
            reason = f"{type(error).__name__}: {error}"
            raise BackendError(f"{self.name} cannot be used: {reason}", status=ExitStatus.UNAVAILABLE) from error

    async def _import(self) -> RedisStore:
        await asyncio.to_thread(__import__, "rtcrelay.store.redis_store")
        return self._make()


def late_store(url: str, password: str | None) -> LateStore:
    """A store for a service."""

    def make() -> RedisStore:
        from rtcrelay.store.redis_store import RedisStore

        return RedisStore(url, password)

    return LateStore(printable_url(url), make)
