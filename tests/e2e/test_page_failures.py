"""The page says in plain words why there is no call, and does not call again where that would not help."""

from __future__ import annotations

import json
import re

import pytest

from rtcrelay.client.demo.site import Site

from .browser import ALLOW_MICROPHONE, FAKE_MICROPHONE, BrowserCall, open_page, requires_chromium

pytestmark = requires_chromium


async def failure(call: BrowserCall, seconds: float = 25.0) -> str:
    """Presses the button and returns the words of the failure."""
    await call.press("Call")
    await call.until_state("failed", seconds)
    assert await call.redials() == 0
    assert await call.page.get_by_role("button", name="Call", exact=True).is_enabled()
    return (await call.words()).removeprefix("The call failed. ")


async def test_a_refused_microphone_is_said_and_no_session_is_made(site: Site) -> None:
    node = site.transceivers[0]
    async with open_page(node.page, "--deny-permission-prompts", without=[ALLOW_MICROPHONE]) as call:
        assert (await failure(call)).startswith("The microphone was refused: allow it for this page")
        assert (await node.admin.stats()).count("sessions_created") == 0
        await call.page.context.grant_permissions(["microphone"])
        await call.press("Call")
        await call.until_state("connected")


async def test_a_missing_microphone_is_said_and_a_test_tone_needs_none(site: Site) -> None:
    async with open_page(site.transceivers[0].page, without=[FAKE_MICROPHONE]) as call:
        assert await failure(call) == "There is no microphone: connect one, or send a test tone."
        await call.page.get_by_label("Send a test tone instead of my voice").check()
        await call.press("Call")
        await call.until_state("connected")
        await call.until_stats("packetsReceived", 100)
        await call.until_stats("totalAudioEnergy", 1e-9)


@pytest.mark.parametrize(
    ("name", "message", "words"),
    [
        ("NotReadableError", "Could not start audio source", "The microphone is in use by another program"),
        ("AbortError", "", "The microphone is in use by another program"),
        ("NotAllowedError", "Permission dismissed", "The question for the microphone was closed"),
        ("NotAllowedError", "Permission denied by system", "The operating system keeps the microphone"),
        ("TypeError", "", "The microphone does not start: TypeError."),
    ],
)
async def test_each_trouble_with_the_microphone_has_its_words(name: str, message: str, words: str, site: Site) -> None:
    async with open_page(site.transceivers[0].page) as call:
        error = f"new DOMException({json.dumps(message)}, {json.dumps(name)})"
        await call.page.evaluate(f"void (navigator.mediaDevices.getUserMedia = async () => {{ throw {error}; }})")
        assert (await failure(call)).startswith(words)


async def test_a_microphone_that_is_taken_away_ends_the_call_with_words(site: Site) -> None:
    async with open_page(site.transceivers[0].page) as call:
        await call.press("Call")
        await call.until_state("connected")
        await call.page.evaluate(
            "window.rtcrelay.peer.getSenders()[0].track.dispatchEvent(new Event('ended'))"  # as when it is unplugged
        )
        await call.until_state("failed")
        assert "The microphone was taken away" in await call.words()


async def test_a_page_from_plain_http_says_why_it_has_no_microphone(site: Site) -> None:
    node = site.transceivers[0]
    port = node.url.rsplit(":", 1)[1].split("/")[0]
    rules = "--host-resolver-rules=MAP voice.example 127.0.0.1"
    async with open_page(f"http://voice.example:{port}/", rules) as call:
        notice = call.page.locator("#insecure")
        assert await notice.is_visible()
        assert "phones and other computers need https://" in await notice.inner_text()
        assert (await failure(call)).startswith("This page has no microphone, because it did not come over https://.")
        await call.page.get_by_label("Send a test tone instead of my voice").check()
        await call.press("Call")
        await call.until_state("connected")


async def test_a_page_from_loopback_says_nothing_about_https(site: Site) -> None:
    async with open_page(site.transceivers[0].page) as call:
        assert await call.page.locator("#insecure").is_hidden()


async def test_a_server_that_is_gone_is_said_at_once(site: Site) -> None:
    node = site.transceivers[0]
    async with open_page(node.page) as call:
        await node.daemon.kill()
        assert await failure(call) == "The server cannot be reached."


@pytest.mark.parametrize(
    ("status", "detail", "words"),
    [
        (401, "this needs the right Bearer token", "The server wants another token."),
        (422, "the offer has no audio", "The server refused: the offer has no audio."),
        (500, "a defect of rtcrelay", "The server refused: a defect of rtcrelay."),
    ],
)
async def test_each_refusal_has_its_words(status: int, detail: str, words: str, site: Site) -> None:
    async with open_page(site.transceivers[0].page) as call:
        problem = json.dumps({"status": status, "detail": detail})
        await call.page.route("**/whip", lambda route: route.fulfill(status=status, body=problem))
        assert await failure(call) == words
        if status == 401:
            focused = await call.page.evaluate("document.activeElement.id")
            assert focused == "token"


async def test_an_answer_that_is_no_sdp_is_said(site: Site) -> None:
    async with open_page(site.transceivers[0].page) as call:
        await call.page.route("**/whip", lambda route: route.fulfill(status=201, body="hello"))
        assert (await failure(call)).startswith("The server's answer makes no sense to this browser:")


async def test_a_dead_relay_is_told_apart_from_a_dead_server(site: Site) -> None:
    node = site.transceivers[0]
    async with open_page(node.page) as call:
        await site.relay.daemon.kill()
        assert (await failure(call)).startswith("The server answered, but no media came through")
        assert await node.admin.sessions() == []  # it was told that nobody comes


async def test_a_certificate_that_is_not_the_answers_fails_as_encryption(site: Site) -> None:
    async with open_page(site.transceivers[0].page) as call:

        async def lie(route: object) -> None:
            response = await route.fetch()  # type: ignore[attr-defined]  # Playwright's Route, imported nowhere here
            sdp = re.sub(r"(a=fingerprint:sha-256 )\S+", r"\1" + ":".join(["AB"] * 32), await response.text())
            await route.fulfill(response=response, body=sdp)  # type: ignore[attr-defined]

        await call.page.route("**/whip", lie)
        assert await failure(call) == "The path works, but the encryption (DTLS) was not set up."
