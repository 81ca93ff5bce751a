"""Chromium with a fake microphone, and a call made with the page as a person would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
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
FAKE_MICROPHONE = "--use-fake-device-for-media-stream"
ALLOW_MICROPHONE = "--use-fake-ui-for-media-stream"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    FAKE_MICROPHONE,
    ALLOW_MICROPHONE,
)


@dataclass(frozen=True, slots=True)
class BrowserCall:
    """The page, before, during and after a call."""

    page: Page

    async def press(self, name: str) -> None:
        """Clicks the button of that name."""
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def state(self) -> str:
        """One of the page's states: ready, microphone, signaling, connecting, connected, ..."""
        return str(await self.page.evaluate("window.rtcrelay?.state"))

    async def until_state(self, wanted: str, seconds: float = 25.0) -> None:
        """Waits for a state; AssertionError names the one it hangs in."""
        # Polled from outside: what waits inside the page is an eval, which its content security policy forbids.
        what = f"the page's state {wanted!r}"
        await until(self._situation, lambda seen: seen["state"] == wanted, what, seconds)

    async def words(self) -> str:
        """What the page says about the call."""
        return await self.page.inner_text("#status")

    async def said(self) -> list[str]:
        """All that it has said, oldest first."""
        said: list[str] = await self.page.evaluate("window.rtcrelay.said")
        return said

    async def redials(self) -> int:
        """Calls the page has made by itself, as it says on the page."""
        return int(await self.page.inner_text("#redials"))

    async def session(self) -> str | None:
        """URL of the session at the server."""
        session: str | None = await self.page.evaluate("window.rtcrelay.session")
        return session

    async def stats(self) -> dict[str, Any]:
        """What `getStats` says now, as the page sums it up."""
        stats: dict[str, Any] = await self.page.evaluate("window.rtcrelay.readStats()")
        return stats

    async def until_stats(self, name: str, at_least: float, seconds: float = 25.0) -> dict[str, Any]:
        """Polls until a figure is known and at least so large."""

        def is_there(seen: dict[str, Any] | None) -> bool:
            return seen is not None and seen[name] is not None and seen[name] >= at_least

        return await until(self.stats, is_there, f"{name} >= {at_least}", seconds)

    async def until_true(self, expression: str, seconds: float = 25.0) -> None:
        """Polls until an expression of JavaScript is true."""
        await until(lambda: self.page.evaluate(expression), bool, expression, seconds)

    async def echo(self, message: str, seconds: float = 25.0) -> None:
        """Sends a message over the data channel and waits until it comes back."""
        await self.until_true("window.rtcrelay.channel?.readyState === 'open'", seconds)
        await self.page.evaluate("message => window.rtcrelay.channel.send(message)", message)
        await until(
            lambda: self.page.evaluate("window.rtcrelay.echoes"),
            lambda seen: message in seen,
            f"the echo of {message[:20]!r}",
            seconds,
        )

    async def _situation(self) -> dict[str, Any]:
        situation: dict[str, Any] = await self.page.evaluate(
            "({ state: window.rtcrelay?.state, words: document.getElementById('status')?.textContent })"
        )
        return situation


@asynccontextmanager
async def open_page(url: str, *flags: str, without: Sequence[str] = (), **context: Any) -> AsyncIterator[BrowserCall]:
    """A fresh Chromium showing one page; ended with the block.

    ``flags`` are added to `FLAGS`, those in ``without`` left out; the rest goes to Playwright's `new_context`.
    """
    from playwright.async_api import async_playwright

    arguments = [flag for flag in (*FLAGS, *flags) if flag not in without]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            page = await (await browser.new_context(**context)).new_page()
            await page.goto(url)
            call = BrowserCall(page)
            await call.until_state("ready")
            yield call
        finally:
            await browser.close()


@asynccontextmanager
async def browser_call(url: str, *flags: str, **context: Any) -> AsyncIterator[BrowserCall]:
    """Opens the page and presses the call button."""
    async with open_page(url, *flags, **context) as call:
        await call.press("Call")
        yield call
