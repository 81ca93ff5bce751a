"""What may be asked of Redis here? Small texts with an expiry, in batches; a listing; and raw commands.

A store knows nothing of what the texts mean, never retries by itself and never takes longer than its time-outs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from redis.exceptions import RedisError, ResponseError

from rtcrelay.config.redis_url import printable_url, read_redis_url
from rtcrelay.errors import BackendError, ExitStatus
from rtcrelay.store.redis_client import open_client
from rtcrelay.store.redis_command import Command

CONNECT_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 0.25
"""A question is worth 20 ms to the packet that waits, and a little more to those that follow it."""
_SUBSCRIBE_SECONDS: Final = 5.0
SCAN_COUNT: Final = 1000
"""Keys that the server looks at for one page: 1 ms of its time, in which it answers nobody else."""


class RedisStore:
    """One Redis, Sentinel group or cluster. Every method raises BackendError and nothing else."""

    def __init__(
        self,
        url: str,
        password: str | None = None,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Takes a URL as `read_redis_url` does, and the password if it is not in there. Connects at the first use.
        Raises ConfigError."""
        self.name = printable_url(url)
        self._client = open_client(url, password, connect_seconds, answer_seconds)
        self.is_cluster = read_redis_url(url).form == "cluster"
        """Whether keys lie on several servers."""
        self._has_msetex = not self.is_cluster  # a cluster wants one slot per command
        """False once the server said it does not know the command."""

    async def write(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        """Sets each key to its text for ``expire_seconds``."""
        if not entries:
            return
        with self._asking():
            if self._has_msetex:
                try:
                    await self._write_at_once(entries, expire_seconds)
                except ResponseError as error:
                    if "unknown command" not in str(error).lower():
                        raise
                    self._has_msetex = False
                else:
                    return
            await self._write_one_by_one(entries, expire_seconds)

    async def read(self, keys: Sequence[str]) -> list[str | None]:
        """The text of each key, None where there is none or it is not UTF-8."""
        return [_text(value) for value in await self.read_bytes(keys)]

    async def read_bytes(self, keys: Sequence[str | bytes]) -> list[bytes | None]:
        """What each key holds, None where that is nothing or no string."""
        if not keys:
            return []
        with self._asking():
            ask = self._client.mget_nonatomic if self.is_cluster else self._client.mget
            return _values(await ask(list(keys)), len(keys))

    async def scan(self, pattern: str) -> AsyncGenerator[list[bytes]]:
        """Keys of a glob-style pattern, page by page. A key may come twice; one that comes or goes meanwhile may not
        come."""
        with self._asking():
            for node in self._client.get_primaries() if await self._know_nodes() else (None,):
                target = {} if node is None else {"target_nodes": node}
                cursor, more = 0, True
                while more:
                    reply = await self._client.scan(cursor, match=pattern, count=SCAN_COUNT, **target)
                    found, keys = reply
                    cursor = found[node.name] if isinstance(found, dict) and node is not None else found
                    more = cursor != 0
                    if keys:
                        yield keys

    async def entries(self, pattern: str) -> AsyncGenerator[list[tuple[bytes, bytes | None]]]:
        """As `scan`, with what each key holds (None: no string, or nothing any more). Each key comes once. While one
        page is worked on, the server makes the next."""
        seen: set[bytes] = set()
        pages = self._cluster_entries(pattern) if self.is_cluster else self._server_entries(pattern)
        ahead = asyncio.ensure_future(anext(pages, None))
        try:
            while (page := await ahead) is not None:
                ahead = asyncio.ensure_future(anext(pages, None))
                await asyncio.sleep(0)  # the next question leaves before this page is worked on
                fresh = [entry for entry in page if entry[0] not in seen]
                seen.update(key for key, _ in fresh)
                if fresh:
                    yield fresh
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
            await pages.aclose()

    async def _server_entries(self, pattern: str) -> AsyncGenerator[list[tuple[bytes, bytes | None]]]:
        cursor, keys, more = 0, list[bytes](), True
        while more or keys:
            # The values of one page and the keys of the next in one round trip.
            asked: list[Command] = [("MGET", *keys)] if keys else []
            asked += [("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)] if more else []
            replies = await self.run(*asked)
            with self._asking():
                values = _values(replies[0], len(keys)) if keys else []
                page = list(zip(keys, values, strict=True))
                cursor, keys = _page(replies[-1]) if more else (0, [])
                more = more and cursor != 0
            if page:
                yield page

    async def _cluster_entries(self, pattern: str) -> AsyncGenerator[list[tuple[bytes, bytes | None]]]:
        async for keys in self.scan(pattern):
            yield list(zip(keys, await self.read_bytes(keys), strict=True))

    async def remove(self, keys: Sequence[str | bytes]) -> int:
        """Removes keys; returns how many were there."""
        if not keys:
            return 0
        with self._asking():
            return int(await self._client.unlink(*keys))

    async def run(self, *commands: Command) -> list[object]:
        """The replies to commands that go in one round trip; a command that was refused has a BackendError as its
        reply. In a cluster, each command must be about one key."""
        with self._asking():
            pipeline = self._client.pipeline() if self.is_cluster else self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            replies = await pipeline.execute(raise_on_error=False)
        return [self._refused(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def notification_classes(self) -> str:
        """The server's ``notify-keyspace-events``: which changes of keys it tells of."""
        with self._asking():
            found = await self._client.config_get("notify-keyspace-events")
            (classes,) = found.values()
            return classes.decode() if isinstance(classes, bytes) else str(classes)

    async def set_notification_classes(self, classes: str) -> None:
        """Changes it."""
        with self._asking():
            await self._client.config_set("notify-keyspace-events", classes)

    @asynccontextmanager
    async def notifications(self, pattern: str) -> AsyncIterator[Callable[[float], Awaitable[bytes | None]]]:
        """Gives a function that waits so many seconds for the next key that changed, None if none did. What happens
        from entering the context on is told. Not for a cluster."""
        with self._asking():
            prefix = f"__keyspace@{self._client.get_connection_kwargs().get('db') or 0}__:"
            pubsub = self._client.pubsub()
        try:
            with self._asking():
                await pubsub.psubscribe(prefix + pattern)
                await pubsub.get_message(timeout=_SUBSCRIBE_SECONDS)  # that it has begun

            async def next_key(seconds: float) -> bytes | None:
                with self._asking():
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=seconds)
                    return None if message is None else message["channel"][len(prefix) :]

            yield next_key
        finally:
            await pubsub.aclose()

    async def ping(self) -> None:
        """Returns if the server answers."""
        with self._asking():
            await self._client.ping()

    async def close(self) -> None:
        """Closes the connections."""
        pool = getattr(self._client, "connection_pool", None)
        sentinels = getattr(pool, "sentinel_manager", None)  # the master's client leaves its sentinels' open
        await self._client.aclose()
        if sentinels is not None:
            await sentinels.aclose()

    async def _know_nodes(self) -> bool:
        if self.is_cluster:
            await self._client.initialize()
        return self.is_cluster

    async def _write_at_once(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        # MSETEX (Valkey 9.1, Redis 8.4): six times a pipeline's rate, for redis-py encodes one command only.
        flat = [part for entry in entries for part in entry]
        await self._client.execute_command("MSETEX", len(entries), *flat, "EX", expire_seconds)

    async def _write_one_by_one(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        pipeline = self._client.pipeline() if self.is_cluster else self._client.pipeline(transaction=False)
        for key, value in entries:
            pipeline.set(key, value, ex=expire_seconds)
        await pipeline.execute()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        try:
            yield
            if task is not None and task.cancelling() > cancelled:
                raise asyncio.CancelledError  # redis-py 8.1 may answer as if nothing had happened
        except BackendError:
            raise
        except Exception as error:  # where no Redis answers, redis-py raises whatever it stumbles over
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> BackendError:
        reason = str(error) if isinstance(error, RedisError | OSError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:300] or type(error).__name__
        return BackendError(f"{self.name} does not serve: {reason}", status=ExitStatus.UNAVAILABLE)


def _values(reply: object, count: int) -> list[bytes | None]:
    """What a server answers to MGET; TypeError if it does not."""
    if isinstance(reply, Exception):
        raise reply
    if not isinstance(reply, list) or len(reply) != count:
        raise TypeError(f"no list of {count} values")
    if not all(value is None or isinstance(value, bytes) for value in reply):
        raise TypeError("values that are none")
    return reply


def _page(reply: object) -> tuple[int, list[bytes]]:
    """What a server answers to SCAN, as redis-py gives it; TypeError or ValueError if it does not."""
    if isinstance(reply, Exception):
        raise reply
    if not (isinstance(reply, list | tuple) and len(reply) == 2):
        raise TypeError("no cursor and keys")
    cursor, keys = reply
    if not (isinstance(cursor, int) and isinstance(keys, list) and all(isinstance(key, bytes) for key in keys)):
        raise TypeError("no cursor and list of keys")
    return cursor, keys


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
