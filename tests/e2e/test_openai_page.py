"""A page written for OpenAI's WebRTC interface calls us: it speaks, the parrot answers through its WebSocket, an
interruption cuts the answer, and events arrive on ``oai-events``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from .browser import CHROMIUM, FLAGS, requires_chromium
from .lossy_path import lossy_path
from .voice_service import VoiceService, voice_service, write_microphone
from .waiting import until

pytestmark = requires_chromium
DELAY_SECONDS = 0.05
WARP = "--force-fieldtrials=WebRTC-IceHandshakeDtls/Enabled/WebRTC-Sctp-Snap/Enabled/"


class Page:
    """The page during a call."""

    def __init__(self, page: Any) -> None:
        self.page = page

    async def notes(self) -> list[dict[str, Any]]:
        notes: list[dict[str, Any]] = await self.page.evaluate("window.notes")
        return notes

    async def events(self) -> list[tuple[float, dict[str, Any]]]:
        return [(note["at"], note["event"]) for note in await self.notes() if note["what"] == "event"]

    async def until_event(self, kind: str, seconds: float = 20.0) -> tuple[float, dict[str, Any]]:
        found = await until(
            self.events, lambda events: any(event["type"] == kind for _, event in events), f"the event {kind}", seconds
        )
        return next((at, event) for at, event in found if event["type"] == kind)

    async def send(self, event: str) -> None:
        await self.page.evaluate("event => window.dc.send(event)", event)


@asynccontextmanager
async def called(service: VoiceService, microphone: Path, *flags: str, port: int | None = None) -> AsyncIterator[Page]:
    from playwright.async_api import async_playwright

    arguments = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}%noloop", *flags]
    arguments += ["--autoplay-policy=no-user-gesture-required"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            page = await (await browser.new_context()).new_page()
            await page.goto(service.page)
            await page.evaluate("port => window.port = port", port)
            await page.evaluate("base => window.call(base, 'ephemeral-key')", service.base)
            yield Page(page)
        finally:
            await browser.close()


def energy_at(notes: list[dict[str, Any]], at: float) -> float:
    """What had been heard by then."""
    known = [note["energy"] for note in notes if note["what"] == "energy" and note["at"] <= at]
    return known[-1] if known else 0.0


async def test_a_page_for_openais_interface_talks_with_the_parrot_and_interrupts_it(tmp_path: Path) -> None:
    microphone = tmp_path / "microphone.wav"
    write_microphone(microphone, 1.0, (0.4, 4.0), 2.0, (0.4, 2.0), 8.0)
    async with voice_service(tmp_path) as service, called(service, microphone) as page:
        _, created = await page.until_event("session.created")
        assert created["session"]["model"] == "parrot"
        await page.send('{"type":"session.update","event_id":"mine","session":{"instructions":"repeat"}}')
        await page.until_event("session.updated")
        started, _ = await page.until_event("output_audio_buffer.started")
        cut, cleared = await page.until_event("output_audio_buffer.cleared")
        await page.until_event("conversation.item.truncated")
        await page.until_event("output_audio_buffer.stopped")
        events, notes = await page.events(), await page.notes()
    kinds = [event["type"] for _, event in events]
    assert kinds.count("input_audio_buffer.speech_started") == 2
    assert kinds.index("output_audio_buffer.cleared") < kinds.index("conversation.item.truncated")
    truncated = next(event for _, event in events if event["type"] == "conversation.item.truncated")
    assert truncated["audio_end_ms"] == pytest.approx(cut - started, abs=250)
    assert not any(kind.endswith("audio.delta") for kind in kinds)
    # It was heard while it played, and not any more once the client's jitter buffer was empty.
    assert energy_at(notes, cut) - energy_at(notes, started) > 0.01
    said_after = energy_at(notes, cut + 900) - energy_at(notes, cut + 400)
    said_before = energy_at(notes, cut) - energy_at(notes, cut - 500)
    assert said_after < 0.02 * said_before
    assert cleared["response_id"] is not None


async def test_a_call_is_hung_up_at_its_place_and_the_page_is_told(tmp_path: Path) -> None:
    microphone = tmp_path / "microphone.wav"
    write_microphone(microphone, 10.0)
    async with voice_service(tmp_path) as service, called(service, microphone) as page:
        await page.until_event("session.created")
        place = await page.page.evaluate("window.place")
        assert place.startswith("/v1/realtime/calls/")
        async with aiohttp.ClientSession() as http, http.post(f"{service.base}{place}/hangup") as answer:
            assert answer.status == 200
        _, closing = await page.until_event("closing")
        assert closing["reason"] == "deleted"


async def test_a_service_that_dies_is_told_to_the_page_and_ends_the_call(tmp_path: Path) -> None:
    microphone = tmp_path / "microphone.wav"
    write_microphone(microphone, 10.0)
    async with voice_service(tmp_path) as service, called(service, microphone) as page:
        await page.until_event("session.created")
        await service.parrot.kill()
        _, error = await page.until_event("error")
        assert error["error"]["code"] == "backend_reconnecting"
        _, closing = await page.until_event("closing")
        assert closing["reason"] == "backend_lost"


async def test_a_service_that_comes_back_goes_on_with_the_call(tmp_path: Path) -> None:
    microphone = tmp_path / "microphone.wav"
    write_microphone(microphone, 5.0, (0.4, 2.0), 10.0)
    async with voice_service(tmp_path) as service, called(service, microphone) as page:
        await page.until_event("session.created")
        await service.parrot.kill()
        await service.parrot.start()
        await until(
            page.events,
            lambda events: sum(event["type"] == "session.created" for _, event in events) == 2,
            "another session of the service",
        )
        await page.until_event("output_audio_buffer.stopped")


async def setup_ms(service: VoiceService, microphone: Path, *flags: str) -> list[float]:
    """From the answer to the open data channel, as the page sees it, in ascending order, of five calls whose packets
    are under way for `DELAY_SECONDS`."""
    took = []
    async with (
        lossy_path(service.direct, lose_every=2**31, delay_seconds=DELAY_SECONDS) as path,
        called(service, microphone, *flags, port=path.address[1]) as page,
    ):
        for _ in range(5):
            await page.until_event("session.created")
            at = {note["what"]: note["at"] for note in await page.notes()}
            took.append(float(at["open"] - at["answered"]))
            await page.page.evaluate("pc.close(); window.notes = []")
            await page.page.evaluate("base => window.call(base, 'ephemeral-key')", service.base)
    return sorted(took)


async def test_a_browser_with_the_trials_of_warp_connects_no_slower(tmp_path: Path) -> None:
    """DTLS within STUN and SCTP's INIT within SDP: what we do not speak costs no round trip."""
    microphone = tmp_path / "microphone.wav"
    write_microphone(microphone, 10.0)
    async with voice_service(tmp_path) as service:
        plain = await setup_ms(service, microphone)
        warp = await setup_ms(service, microphone, WARP)
    assert plain[0] > 3 * 2000 * DELAY_SECONDS
    # A client that waits for our DTLS in STUN loses two round trips.
    assert warp[2] < plain[2] + 2000 * DELAY_SECONDS, (plain, warp)
