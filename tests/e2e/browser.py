"""Chromium with a fake microphone, and a call made with the page as a person would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from .waiting import until

if TYPE_CHECKING:
    from playwright.async_api import Page

CHROMIUM = "/usr/bin/chromium"
requires_chromium = [
    pytest.mark.requires(module="playwright", install="pip install playwright"),
    pytest.mark.requires(file=CHROMIUM, install="apt-get install chromium"),
]
"""Marks for a module that needs a browser. Playwright's own download of one is not needed."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)


@dataclass(frozen=True, slots=True)
class BrowserCall:
    """The page during a call."""

    page: Page

    async def state(self) -> str:
        """One of the page's states: ready, microphone, signaling, connecting, connected, ..."""
        return str(await self.page.evaluate("window.rtcrelay.state"))

    async def until_state(self, wanted: str, seconds: float = 15.0) -> None:
        """Waits for a state; AssertionError names the one it hangs in."""
        try:
            await self.page.wait_for_function(
                "wanted => window.rtcrelay.state === wanted", arg=wanted, timeout=seconds * 1000
            )
        except Exception as error:
            words = await self.page.inner_text("#status")
            raise AssertionError(f"the page says {words!r}, expected state {wanted!r}") from error

    async def stats(self) -> dict[str, Any]:
        """What `getStats` says now, as the page sums it up."""
        stats: dict[str, Any] = await self.page.evaluate("window.rtcrelay.readStats()")
        return stats

    async def until_stats(self, name: str, at_least: float, seconds: float = 15.0) -> dict[str, Any]:
        """Polls until a figure is at least so large."""
        return await until(self.stats, lambda seen: seen[name] >= at_least, f"{name} >= {at_least}", seconds)

    async def echo(self, message: str, seconds: float = 10.0) -> None:
        """Sends a message over the data channel and waits until it comes back."""
        await self.page.wait_for_function("window.rtcrelay.channel?.readyState === 'open'", timeout=seconds * 1000)
        await self.page.evaluate("message => window.rtcrelay.channel.send(message)", message)
        await self.page.wait_for_function(
            "message => window.rtcrelay.echoes.includes(message)", arg=message, timeout=seconds * 1000
        )


@asynccontextmanager
async def open_page(url: str, *flags: str) -> AsyncIterator[Page]:
    """A fresh Chromium showing one page; ended with the block."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            page = await browser.new_page()
            await page.goto(url)
            yield page
        finally:
            await browser.close()


@asynccontextmanager
async def browser_call(url: str) -> AsyncIterator[BrowserCall]:
    """Opens the page and presses the call button."""
    async with open_page(url) as page:
        call = BrowserCall(page)
        await page.get_by_role("button", name="Call").click()
        yield call
