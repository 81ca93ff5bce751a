"""What a person in a browser is told, and what becomes of the call, when the service behind it misbehaves."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from .browser import requires_chromium
from .test_openai_page import Page, called, energy_at
from .voice_service import voice_service, write_microphone
from .waiting import until

pytestmark = [*requires_chromium, pytest.mark.timeout(180)]
Speak = Callable[[web.WebSocketResponse], Awaitable[None]]


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """Somebody who says nothing."""
    path = tmp_path / "microphone.wav"
    write_microphone(path, 60.0)
    return path


@asynccontextmanager
async def service(speak: Speak) -> AsyncIterator[str]:
    """A realtime service of the test's own: ``speak`` is called for each session. Its URL."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await speak(socket)
        async for _ in socket:
            pass
        return socket

    app = web.Application()
    app.router.add_get("/", talk)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def until_count(page: Page, kind: str, count: int, seconds: float = 20.0) -> list[tuple[float, dict[str, Any]]]:
    """The page's events, once so many of a kind are among them."""
    return await until(
        page.events,
        lambda events: sum(event["type"] == kind for _, event in events) >= count,
        f"{count} events {kind}",
        seconds,
    )


async def test_rubbish_is_borne_a_while_then_the_page_is_told_and_the_call_ends(
    tmp_path: Path, microphone: Path
) -> None:
    sessions = 0

    async def speak(socket: web.WebSocketResponse) -> None:
        nonlocal sessions
        sessions += 1
        await socket.send_json({"type": "session.created", "session": {"type": "realtime"}})
        # Who is not connected yet can be told nothing.
        while sessions == 1 and (await socket.receive_json())["type"] != "begin":
            pass
        for rubbish in ("", "[]", '{"type": 7}', "\0", '{"type":"response.output_audio.delta","delta":"%%%"}') * 2:
            await socket.send_str(rubbish)

    async with (
        service(speak) as url,
        voice_service(tmp_path, backend=url) as served,
        called(served, microphone) as page,
    ):
        await page.until_event("session.created", 60.0)
        await page.send('{"type":"begin"}')
        _, closing = await page.until_event("closing", 60.0)
        codes = [event["error"]["code"] for _, event in await page.events() if event["type"] == "error"]
    assert closing["reason"] == "backend_lost"
    assert sessions == 4
    assert codes == ["backend_reconnecting"] * 4 + ["backend_lost"]


async def test_a_flood_of_events_and_sound_reaches_the_page_in_time_and_in_order(
    tmp_path: Path, microphone: Path
) -> None:
    """More than the transceiver takes at once, and more sound than it keeps: nothing is lost that was there first."""
    # One second of sound.
    events, tone = 2000, base64.b64encode((b"\x00\x20\x00\xe0" * 6) * 1000).decode()
    flooded = asyncio.Event()

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "session.created", "session": {"type": "realtime"}})
        for number in range(events):
            await socket.send_json({"type": "flood", "number": number})
        await socket.send_json({"type": "after"})
        about = {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": tone}
        for _ in range(1000):  # what is not kept waits in the socket, and then here
            await socket.send_json(about)
        flooded.set()

    async with (
        service(speak) as url,
        voice_service(tmp_path, backend=url) as served,
        called(served, microphone) as page,
    ):
        await page.until_event("after", 60.0)
        numbers = [event["number"] for _, event in await page.events() if event["type"] == "flood"]
        started, _ = await page.until_event("output_audio_buffer.started", 60.0)
        assert numbers == list(range(events))
        await until(page.notes, lambda notes: energy_at(notes, started + 60_000) > 0.01, "the sound of the flood", 60.0)
        assert not flooded.is_set()
        # The person can still stop it, though the socket behind it is not read.
        await page.send('{"type":"output_audio_buffer.clear"}')
        await page.until_event("output_audio_buffer.cleared", 60.0)
        await asyncio.wait_for(flooded.wait(), 60.0)


async def test_a_service_that_stalls_is_noticed_and_one_that_wakes_up_goes_on(tmp_path: Path, microphone: Path) -> None:
    async with voice_service(tmp_path) as served, called(served, microphone) as page:
        await page.until_event("session.created", 60.0)
        assert served.parrot.pid is not None
        os.kill(served.parrot.pid, signal.SIGSTOP)
        try:
            _, error = await page.until_event("error", 60.0)
        finally:
            os.kill(served.parrot.pid, signal.SIGCONT)
        assert error["error"]["code"] == "backend_reconnecting"
        assert "said nothing for" in error["error"]["message"]
        await until_count(page, "session.created", 2, 60.0)
        assert await page.page.evaluate("pc.connectionState") == "connected"
