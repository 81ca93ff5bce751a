"""Chromium in the laboratory, as a client."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from .bed import Bed
from .callers import SECONDS
from .faults import MakeCall

CHROMIUM: Final = shutil.which("chromium")
_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)  # fmt: skip
_PAGE: Final = "http://localhost/"
"""A secure context, so that there is a microphone; the page itself is made here."""
_CALL: Final = """async ([url, token, addresses]) => {
  const peer = window.peer = new RTCPeerConnection();
  const stream = await navigator.mediaDevices.getUserMedia({audio: true});
  peer.addTrack(stream.getAudioTracks()[0], stream);
  const heard = new Promise(resolve => peer.ontrack = event => event.track.onunmute = resolve);
  await peer.setLocalDescription(await peer.createOffer());
  const response = await fetch(url, {method: "POST", body: peer.localDescription.sdp,
    headers: {"Content-Type": "application/sdp", "Authorization": "Bearer " + token}});
  const told = line => addresses.some(([ip, port]) => line.includes(` ${ip} ${port} `));
  const keeps = line => !line.startsWith("a=candidate") || told(line);
  const sdp = (await response.text()).split("\\r\\n").filter(keeps).join("\\r\\n");
  const many = sdp.split("\\r\\n").filter(line => line.startsWith("a=candidate")).length;
  if (many != addresses.length) throw new Error(`the answer names ${many} of ${addresses.length} addresses`);
  await peer.setRemoteDescription({type: "answer", sdp});
  window.session = new URL(response.headers.get("Location"), url).href;
  window.token = token;
  await heard;
}"""
_END: Final = """async () => { window.peer.close();
  await fetch(window.session, {method: "DELETE", headers: {"Authorization": "Bearer " + window.token}}); }"""


class BrowserCall:
    """A call of the page."""

    def __init__(self, page: Any) -> None:
        self._page = page

    async def state(self) -> str:
        """For the row."""
        return str(await self._page.evaluate("window.peer.connectionState"))


@asynccontextmanager
async def chromium() -> AsyncIterator[MakeCall]:
    """One browser, at this thread's place in the network."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            page = await browser.new_page()
            await page.route(_PAGE, lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
            await page.goto(_PAGE)

            @asynccontextmanager
            async def call(bed: Bed, addresses: tuple[tuple[str, int], ...]) -> AsyncIterator[BrowserCall]:
                told = [bed.front, bed.token, [list(each) for each in addresses]]
                await asyncio.wait_for(page.evaluate(_CALL, told), SECONDS)
                try:
                    yield BrowserCall(page)
                finally:
                    await page.evaluate(_END)

            yield call
        finally:
            await browser.close()
