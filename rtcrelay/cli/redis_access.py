"""What commands that look into Redis share: where it is, how it is asked, and which nodes are there."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rtcrelay import config
from rtcrelay.cli.options import Flags
from rtcrelay.config.options import REDIS, REDIS_PASSWORD_FILE

if TYPE_CHECKING:
    from rtcrelay.store.redis_store import RedisStore

T = TypeVar("T")

SETTINGS = (REDIS, REDIS_PASSWORD_FILE)
"""The options of such commands."""
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""A server that does not answer within this time is as good as gone."""
_TAB_SECONDS = 0.5


def with_store(
    flags: Flags,
    file: Path | None,
    work: Callable[[RedisStore], Awaitable[T]],
    *,
    connect_seconds: float = CONNECT_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
) -> T:
    """Does ``work`` with the Redis that the options name. Raises ConfigError and BackendError."""
    import asyncio

    from rtcrelay.store.redis_password import read_redis_password
    from rtcrelay.store.redis_store import RedisStore

    url, password_file = config.find_redis(flags, file)
    password = read_redis_password(password_file)

    async def run() -> T:
        store = RedisStore(url, password, connect_seconds=connect_seconds, answer_seconds=answer_seconds)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def node_names(incomplete: str) -> list[str]:
    """Nodes that are alive, for the shell: of the Redis that the environment or a file names, if it answers soon."""
    from rtcrelay.store.directory import read_nodes

    try:
        nodes = with_store({}, None, read_nodes, connect_seconds=_TAB_SECONDS, answer_seconds=_TAB_SECONDS)
    except Exception:  # a Tab says nothing
        return []
    return [node.node for node in nodes.found if node.node.startswith(incomplete)]


def who() -> str:
    """The operator, for logs: ``user@host``, printable, in one word."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return re.sub(r"[^!-~]", "?", f"{user}@{os.uname().nodename}")[:100]
