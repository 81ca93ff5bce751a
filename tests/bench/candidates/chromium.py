"""The rows of Chromium: one call each, on processes of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from e2e.browser import CHROMIUM, FLAGS
from e2e.tiers import Tiers

from .page import CALL, DIARY, END, PAIRS, Diary
from .scene import SETTLE_SECONDS, WATCH_SECONDS, checks, number_of, strike, world


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """One Chromium for all calls."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield running
        finally:
            await running.close()


async def call(running: Any, *, equal: bool, dead_first: str | None, dies: str | None) -> dict[str, Any]:
    """One call: ``dead_first`` is how the first ingress died before, ``dies`` how the selected one does in mid-call."""
    async with world() as started:
        gone: set[int] = set()
        if dead_first is not None:
            strike(started, 0, dead_first)
            gone.add(0)
        context = await running.new_context()
        try:
            page = await context.new_page()
            await page.goto(f"http://127.0.0.1:{started.http}/")
            await page.evaluate(CALL, {"url": started.url, "equal": equal})
            return await _observe(page, started, gone, dies)
        finally:
            await context.close()


async def _observe(page: Any, started: Tiers, gone: set[int], dies: str | None) -> dict[str, Any]:
    await asyncio.sleep(SETTLE_SECONDS)
    before = Diary.read(await page.evaluate(DIARY))
    first = number_of(started, before.selected)
    connected = next((at for at, state in before.states if state == "connected"), None)
    row: dict[str, Any] = {"connected_ms": connected, "first_voice_ms": before.first_heard_ms, "takes": first}
    if dies is not None and first is not None:
        strike(started, first - 1, dies)
        gone.add(first - 1)
    counted = await checks(started, but=gone)
    await asyncio.sleep(WATCH_SECONDS)
    after = Diary.read(await page.evaluate(DIARY))
    counts = zip(await checks(started, but=gone), counted, strict=True)
    row["checks_a_minute"] = [
        None if late is None or early is None else round(60 * (late - early) / WATCH_SECONDS) for late, early in counts
    ]
    row["pairs"] = [{**pair, "port": number_of(started, pair["port"])} for pair in await page.evaluate(PAIRS)]
    if dies is not None:
        row["gap_ms"] = after.gap_after(before.now)
        row["goes_on_by"] = number_of(started, after.selected)
        row["states"] = [state for _, state in after.states]
        row["switched_ms"] = [round(at - before.now) for at, _ in after.pairs if at > before.now]
    await page.evaluate(END)
    return row
