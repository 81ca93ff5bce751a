"""Waiting for something another process does: polled, with a limit, and with words when it never happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(read: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], what: str, seconds: float = 25.0) -> T:
    """Reads until what was read is wanted; AssertionError shows the last reading."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        seen = await read()
        if wanted(seen):
            return seen
        assert asyncio.get_running_loop().time() < end, f"{what}: not within {seconds:g} s, last seen: {seen!r}"
        await asyncio.sleep(0.02)
