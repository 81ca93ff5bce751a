"""A URL into redis-py's client: of a server, a Sentinel group or a cluster. It connects at its first use.

No client retries: redis-py's defaults spend 3.6 s on a dead server.
"""

from __future__ import annotations

from typing import Any

from redis import asyncio as redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from rtcrelay.config.redis_url import RedisUrl, printable_url, read_redis_url
from rtcrelay.errors import ConfigError


def open_client(url: str, password: str | None, connect_seconds: float, answer_seconds: float) -> Any:
    """A client. ``password`` is for a URL that has none. Raises ConfigError."""
    try:
        where = read_redis_url(url)
        options: dict[str, Any] = {
            "username": where.username,
            "password": password if where.password is None else where.password,
            "socket_connect_timeout": connect_seconds,
            "socket_timeout": answer_seconds,
            "retry": Retry(NoBackoff(), 0),
        }
        if where.tls:
            options |= {"ssl": True, **where.tls_options}
        return _open(where, options)
    except (ValueError, TypeError, RedisError) as error:
        raise ConfigError(f"the Redis URL {printable_url(url)!r} {error}") from error


def _open(where: RedisUrl, options: dict[str, Any]) -> Any:
    if where.form == "socket":
        return redis.Redis(unix_socket_path=where.socket, db=where.database, **options)
    if where.form == "sentinel":
        return _sentinel(where, options)
    if where.form == "cluster":
        nodes = [ClusterNode(host, port) for host, port in where.hosts]
        return redis.RedisCluster(startup_nodes=nodes, **options)
    ((host, port),) = where.hosts
    return redis.Redis(host=host, port=port, db=where.database, **options)


def _sentinel(where: RedisUrl, options: dict[str, Any]) -> Any:
    group = redis.Sentinel(where.hosts, sentinel_kwargs=dict(options), **options)  # type: ignore[no-untyped-call]  # redis-py has not typed it
    if options["password"] is not None:
        # Sentinels may want the servers' password or none. They are asked in turn, and who refuses one is passed over.
        bare = options | {"username": None, "password": None}
        group.sentinels += [redis.Redis(host=host, port=port, **bare) for host, port in where.hosts]
    return group.master_for(where.group, db=where.database)
