"""The clients that are set up: this package's own, stock aiortc, and Chromium.

Each makes one call and returns two Unix times: when its media keys were there, and when it had the first packet of the
server's audio decrypted (None: it does not say).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import CallConfig
from rtcrelay.client.speech import SPEECH_FILE
from rtcrelay.rtc.dtls import DtlsIdentity

Times: TypeAlias = tuple[float, float | None]
MakeCall: TypeAlias = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[Times]]
"""Takes a WHIP address, and a function to be awaited while the call is up."""

SECONDS = 10.0
_IDENTITY = DtlsIdentity()


async def own_client(url: str, on_up: Callable[[], Awaitable[None]]) -> Times:
    """The synthetic client."""
    caller = Caller(url, CallConfig(identity=_IDENTITY))
    began = time.time()
    await caller.dial()
    try:
        await caller.until(lambda: caller.call.timings.first_audio_received_ms is not None, "no audio", SECONDS)
        await on_up()
        keys, heard = caller.call.timings.keys_ms, caller.call.timings.first_audio_received_ms
        assert keys is not None
        assert heard is not None
        return began + keys / 1000, began + heard / 1000
    finally:
        await caller.hang_up()


async def stock_aiortc(url: str, on_up: Callable[[], Awaitable[None]]) -> Times:
    """aiortc as a client, with a microphone that plays a file."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    player = MediaPlayer(str(SPEECH_FILE), loop=True)
    assert player.audio is not None
    sender = peer.addTrack(player.audio)
    connected: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    try:
        await peer.setLocalDescription(await peer.createOffer())
        transport = sender.transport

        def on_state() -> None:
            if transport.state == "connected" and not connected.done():
                connected.set_result(time.time())

        transport.on("statechange", on_state)
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, data=peer.localDescription.sdp, headers={"Content-Type": "application/sdp"}) as response,
        ):
            assert response.status == 201, await response.text()
            await peer.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
        keys = await asyncio.wait_for(connected, SECONDS)
        await on_up()
        return keys, None
    finally:
        await peer.close()


_CALL = """async url => {
  const now = () => (performance.timeOrigin + performance.now()) / 1000;
  const peer = new RTCPeerConnection();
  const stream = await navigator.mediaDevices.getUserMedia({audio: true});
  const sender = peer.addTrack(stream.getAudioTracks()[0], stream);
  const heard = new Promise(resolve => peer.ontrack = event => event.track.onunmute = () => resolve(now()));
  await peer.setLocalDescription(await peer.createOffer());
  const response = await fetch(url, {
    method: "POST", headers: {"Content-Type": "application/sdp"}, body: peer.localDescription.sdp});
  const answer = await response.text();
  const keyed = new Promise(resolve => {
    const look = () => sender.transport && sender.transport.state == "connected" && resolve(now());
    const watch = () => { if (sender.transport) sender.transport.onstatechange = look; else setTimeout(watch, 1); };
    watch();
  });
  await peer.setRemoteDescription({type: "answer", sdp: answer});
  window.peer = peer;
  window.session = new URL(response.headers.get("Location"), url).href;
  return await Promise.all([keyed, heard]);
}"""
_END = "async () => { window.peer.close(); await fetch(window.session, {method: 'DELETE'}); }"


@asynccontextmanager
async def chromium(page_url: str, executable: str) -> AsyncIterator[MakeCall]:
    """Chromium, headless, with its fake microphone; one browser for all calls."""
    from playwright.async_api import async_playwright

    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update"]
    flags += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=flags)
        try:
            page = await browser.new_page()
            await page.goto(page_url)

            async def call(url: str, on_up: Callable[[], Awaitable[None]]) -> Times:
                keys, heard = await page.evaluate(_CALL, url)
                await on_up()
                await page.evaluate(_END)
                return keys, heard

            yield call
        finally:
            await browser.close()
