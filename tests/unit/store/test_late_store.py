"""A store that is made late, and one that cannot be made."""

from __future__ import annotations

import pytest

from rtcrelay.errors import BackendError
from rtcrelay.store.late_store import LateStore, late_store
from rtcrelay.store.redis_store import RedisStore


async def test_a_library_that_is_broken_is_an_error_of_the_store_and_no_more() -> None:
    def make() -> RedisStore:
        raise ImportError("no module named hiredis")

    store = LateStore("redis://played", make)
    for _ in range(2):
        with pytest.raises(BackendError, match="redis://played cannot be used: ImportError: no module named hiredis"):
            await store.ping()
    await store.close()


async def test_a_url_is_looked_at_when_it_is_used() -> None:
    store = late_store("redis://[::1", None)
    with pytest.raises(BackendError, match=r"\(not a URL\) cannot be used: ConfigError"):
        await store.run(("PING",))
    await store.close()
