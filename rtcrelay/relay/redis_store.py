"""Where do routes live outside the relay? The only importer of redis.

A store writes and reads small texts with an expiry, in batches. It knows nothing of routes, never retries by itself
and never takes longer than its time-outs: redis-py's defaults spend 3.6 s on a dead server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

from redis import asyncio as redis
from redis.asyncio.cluster import ClusterNode
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from rtcrelay.config.text import REDIS_SCHEMES, printable_url
from rtcrelay.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from redis.asyncio.retry import Retry

CONNECT_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 0.25
"""A question is worth 20 ms to the packet that waits, and a little more to those that follow it."""
SCHEMES: Final = REDIS_SCHEMES
"""What a URL may begin with."""


class RouteStore:
    """One Redis, Sentinel group or cluster. Every method raises BackendError and nothing else."""

    def __init__(self, url: str, password: str | None = None) -> None:
        """Takes one of `SCHEMES`; a Sentinel URL lists its sentinels and names the group:
        ``redis+sentinel://a:26379,b:26379/mymaster/0``. Connects at the first use. Raises ConfigError."""
        self.name = printable_url(url)
        self._is_cluster = "+cluster" in urlsplit(url).scheme
        self._client = _client(url, password)
        self._has_msetex = not self._is_cluster  # a cluster wants one slot per command
        """False once the server said it does not know the command."""

    async def write(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        """Sets each key to its text for ``expire_seconds``."""
        if not entries:
            return
        try:
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
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(self.name, error) from error

    async def read(self, keys: Sequence[str]) -> list[str | None]:
        """The text of each key, None where there is none or it is not UTF-8."""
        if not keys:
            return []
        try:
            if self._is_cluster:
                values = await self._client.mget_nonatomic(list(keys))
            else:
                values = await self._client.mget(list(keys))
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(self.name, error) from error
        return [_text(value) for value in values]

    async def run(self, *commands: tuple[str | bytes | int | float, ...]) -> list[object]:
        """Runs commands in order and returns their answers, as redis-py reads them."""
        try:
            return [await self._client.execute_command(*command) for command in commands]
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(self.name, error) from error

    async def ping(self) -> None:
        """Returns if the server answers."""
        try:
            await self._client.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(self.name, error) from error

    async def close(self) -> None:
        """Closes the connections."""
        pool = getattr(self._client, "connection_pool", None)
        sentinels = getattr(pool, "sentinel_manager", None)  # the master's client leaves its sentinels' open
        await self._client.aclose()
        if sentinels is not None:
            await sentinels.aclose()

    async def _write_at_once(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        # MSETEX (Valkey 9.1, Redis 8.4): six times a pipeline's rate, for redis-py encodes one command only.
        flat = [part for entry in entries for part in entry]
        await self._client.execute_command("MSETEX", len(entries), *flat, "EX", expire_seconds)

    async def _write_one_by_one(self, entries: Sequence[tuple[str, str]], expire_seconds: int) -> None:
        pipeline = self._client.pipeline() if self._is_cluster else self._client.pipeline(transaction=False)
        for key, value in entries:
            pipeline.set(key, value, ex=expire_seconds)
        await pipeline.execute()


def _client(url: str, password: str | None) -> Any:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"the Redis URL {printable_url(url)!r} begins with none of {', '.join(SCHEMES)}")
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "retry": _once(),
    }
    if password is not None:
        options["password"] = password
    try:
        if parts.scheme.endswith("+sentinel"):
            return _sentinel(parts, options)
        if parts.scheme.endswith("+cluster"):
            return _cluster(parts, options)
        return redis.from_url(url, **options)
    except (ValueError, RedisError) as error:
        raise ConfigError(f"the Redis URL {printable_url(url)!r} is wrong: {error}") from error


def _sentinel(parts: SplitResult, options: dict[str, Any]) -> Any:
    group, _, database = parts.path.strip("/").partition("/")
    if not group:
        raise ValueError("it names no group, as in redis+sentinel://a:26379,b:26379/mymaster")
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    sentinels = redis.Sentinel(  # type: ignore[no-untyped-call]  # redis-py has not typed it
        _hosts(parts, 26379), sentinel_kwargs=dict(options), **options
    )
    return sentinels.master_for(group, db=int(database or 0))


def _cluster(parts: SplitResult, options: dict[str, Any]) -> Any:
    nodes = [ClusterNode(host, port) for host, port in _hosts(parts, 6379)]
    return redis.RedisCluster(startup_nodes=nodes, ssl=parts.scheme.startswith("rediss"), **options)


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        host = urlsplit(f"//{text}")
        if not host.hostname:
            raise ValueError("it names no host")
        hosts.append((host.hostname, host.port or default_port))
    return hosts


def _once() -> Retry:
    from redis.asyncio.retry import Retry

    return Retry(NoBackoff(), 0)


def _text(value: object) -> str | None:
    if not isinstance(value, bytes):
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _unavailable(name: str, error: Exception) -> BackendError:
    reason = str(error) or type(error).__name__
    return BackendError(f"{name} does not serve: {reason}")
