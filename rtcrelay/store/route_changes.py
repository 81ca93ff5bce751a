"""What happens to routes in Redis? NEW, UPDATE, EXPIRE and DELETE, from notifications or from two listings.

Notifications tell at once, if the server sends them (``notify-keyspace-events``); they name keys only, so what a key
holds is asked for in batches. Without them, all routes are read again and again and compared with those before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from rtcrelay.errors import BackendError
from rtcrelay.store.directory import now_ms
from rtcrelay.store.route_rows import RouteReader, RouteRow

if TYPE_CHECKING:
    from rtcrelay.store.redis_store import RedisStore

Event: TypeAlias = Literal["new", "update", "expire", "delete"]
EVENTS: Final[tuple[Event, ...]] = ("new", "update", "expire", "delete")
NEEDED: Final = "K$gx"
"""Classes of notifications: by key; strings are set; generic, such as deletions; expiry."""
GATHER_SECONDS: Final = 0.02
"""How long a notification waits for others."""
_BEAT_SECONDS: Final = 1.0
_BATCH: Final = 1000
_LATE_MS: Final = 1500
"""A route that went so long before its end or later has expired: servers' clocks differ from ours."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one route."""

    event: Event
    row: RouteRow
    """The route as it is; of one that went, as it was."""
    before: str | None = None
    """Its next hop before, if that is another one (update)."""


class Known:
    """The routes as they were when they were last seen."""

    def __init__(self, reader: RouteReader) -> None:
        self._reader = reader
        self._rows: dict[bytes, RouteRow] = {}

    def start(self, page: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Takes what is there before the watch begins."""
        for key, value in page:
            self._learn(key, value)

    def changes(self, page: Iterable[tuple[bytes, bytes | None]]) -> list[Change]:
        """What happened to keys, by what they hold now."""
        self._reader.now_ms = now_ms()
        found = [self._compare(key, value, self._reader.now_ms) for key, value in page]
        return [change for change in found if change is not None]

    def _compare(self, key: bytes, value: bytes | None, now_ms: int) -> Change | None:
        before, row = self._rows.get(key), self._learn(key, value)
        if row is None:
            if before is None:
                return None
            before.age_s, before.ttl_s = (now_ms - before.created_ms) / 1000, (before.expires_ms - now_ms) / 1000
            return Change("expire" if before.expires_ms - now_ms < _LATE_MS else "delete", before)
        if before is None:
            return Change("new", row)
        if (before.next_hop, before.expires_ms, before.relay) == (row.next_hop, row.expires_ms, row.relay):
            return None
        return Change("update", row, before.next_hop if before.next_hop != row.next_hop else None)

    def missing(self, seen: set[bytes]) -> list[bytes]:
        """Keys that were there and are not among those just seen."""
        return [key for key in self._rows if key not in seen]

    def _learn(self, key: bytes, value: bytes | None) -> RouteRow | None:
        rows = self._reader.read([(key, value)])
        if rows:
            self._rows[key] = rows[0]
            return rows[0]
        self._rows.pop(key, None)
        return None


def has_needed(classes: str) -> bool:
    """Whether a server's ``notify-keyspace-events`` has all of `NEEDED`; A stands for most classes."""
    return all(letter in classes or (letter != "K" and "A" in classes) for letter in NEEDED)


async def can_notify(store: RedisStore) -> bool:
    """Whether the server sends what a watch needs. The servers of a cluster tell of their own keys only: no."""
    try:
        return not store.is_cluster and has_needed(await store.notification_classes())
    except BackendError:  # it may not be asked
        return False


async def follow_notifications(store: RedisStore, pattern: str, known: Known) -> AsyncGenerator[list[Change]]:
    """Changes as the server tells of them, first an empty list. Raises BackendError when the server is gone."""
    async with store.notifications(pattern) as next_key:
        # The subscription has begun: what happens during the listing is told after it.
        async for page in store.entries(pattern):
            known.start(page)
        yield []
        while True:
            key = await next_key(_BEAT_SECONDS)
            if key is None:
                continue
            await asyncio.sleep(GATHER_SECONDS)
            keys = {key: None}
            while len(keys) < _BATCH and (key := await next_key(0.0)) is not None:
                keys[key] = None
            values = await store.read_bytes(list(keys))
            yield known.changes(zip(keys, values, strict=True))


async def follow_listings(
    store: RedisStore, pattern: str, known: Known, interval_seconds: float
) -> AsyncGenerator[list[Change]]:
    """Changes between one listing and the next, first an empty list. Raises BackendError when the server is gone."""
    async for page in store.entries(pattern):
        known.start(page)
    yield []
    while True:
        await asyncio.sleep(interval_seconds)
        seen: set[bytes] = set()
        async for page in store.entries(pattern):
            seen.update(key for key, value in page if value is not None)
            yield known.changes(page)
        yield known.changes((key, None) for key in known.missing(seen))


@asynccontextmanager
async def notifications_enabled(store: RedisStore) -> AsyncIterator[None]:
    """Has the server send what a watch needs for as long as the context is open. Raises BackendError."""
    before = await store.notification_classes()
    if has_needed(before):
        yield
        return
    wanted = "".join(dict.fromkeys(before + NEEDED))
    await store.set_notification_classes(wanted)
    set_to = await store.notification_classes()  # the server writes the letters in an order of its own
    try:
        yield
    finally:
        if await store.notification_classes() == set_to:  # else somebody else wants something by now
            await store.set_notification_classes(before)
