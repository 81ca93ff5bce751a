"""The page can be used by anybody: with a keyboard alone, by screen reader, on a phone; and it shows what happens."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from rtcrelay.client.demo.site import Site

from .browser import BrowserCall, browser_call, open_page, requires_chromium
from .waiting import until

if TYPE_CHECKING:
    from playwright.async_api import Request

pytestmark = requires_chromium


async def test_a_keyboard_alone_calls_and_hangs_up(site: Site) -> None:
    node = site.transceivers[0]
    async with open_page(node.page) as call:
        keyboard = call.page.keyboard
        order = []
        for _ in range(3):
            await keyboard.press("Tab")
            order.append(await call.page.evaluate("document.activeElement.id"))
        assert order == ["token", "tone", "call"]
        outline = await call.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        await keyboard.press("Enter")
        await call.until_state("connected")
        assert await call.page.evaluate("document.activeElement.id") == "call"
        await keyboard.press("Space")
        await call.until_state("ended")
        await until(node.admin.sessions, lambda sessions: sessions == [], "no session")


async def test_everything_has_a_name_and_the_status_is_announced(site: Site) -> None:
    async with browser_call(site.transceivers[0].page) as call:
        await call.until_state("connected")
        await call.until_true("window.rtcrelay.samples.length >= 3")
        seen = await call.page.locator("body").aria_snapshot()
        assert 'textbox "Token, if the server asks for one"' in seen
        assert 'checkbox "Send a test tone instead of my voice"' in seen
        assert 'button "Hang up"' in seen
        assert "status: " in seen
        assert 'meter "Sent"' in seen
        assert 'meter "Came back"' in seen
        assert re.search(r'img "Round trip over \d+ seconds: ', seen)
        assert re.search(r'img "Jitter of what comes back over \d+ seconds: ', seen)
        assert re.search(r'img "Lost packets, there and back over \d+ seconds: ', seen)
        assert re.search(r'heading "Call yourself" \[level=1\]', seen)
        assert await call.page.locator("#countdown[aria-live], #status #countdown").count() == 0


def shows(pattern: str, words: str) -> bool:
    return re.fullmatch(pattern, words) is not None


async def line_of(call: BrowserCall, figure: str) -> str:
    """The longest line of a plot."""
    lines: list[str] = await call.page.locator(f"{figure} path.line").evaluate_all(
        "all => all.map(path => path.getAttribute('d') ?? '')"
    )
    return max(lines, key=len, default="")


async def test_the_plot_gets_a_point_each_second(site: Site) -> None:
    async with browser_call(site.transceivers[0].page) as call:
        await call.until_state("connected")
        for figure, now in (("round-trip", r"[\d.]+ ms"), ("jitter", r"[\d.]+ ms"), ("loss", r".*/ 0 %")):
            await until(partial(line_of, call, f"#{figure}-plot"), lambda line: line.count("L") >= 4, figure)
            read = partial(call.page.inner_text, f"#{figure}-plot .now")
            await until(read, partial(shows, now), f"{figure}: {now}")
        assert await call.page.evaluate("window.rtcrelay.samples.length") >= 4


async def test_both_meters_move_with_the_sound(site: Site) -> None:
    async with browser_call(site.transceivers[0].page) as call:
        await call.until_state("connected")
        for which in ("sent", "back"):  # Chromium's fake microphone beeps once a second
            await call.until_true(f"window.rtcrelay.levels.{which} > -50")
            await call.until_true(f"window.rtcrelay.levels.{which} <= -60")
            scale = f"document.querySelector('#{which}-level span').getBoundingClientRect().width"
            await call.until_true(f"{scale} > 20")
            await call.until_true(f"document.getElementById('{which}-level').getAttribute('aria-valuenow') > -60")
        await call.press("Hang up")
        assert await call.page.get_attribute("#sent-level", "aria-valuetext") == "no sound"


async def test_meters_move_seldom_for_those_who_want_little_motion(site: Site) -> None:
    async with browser_call(site.transceivers[0].page, reduced_motion="reduce") as call:
        await call.until_state("connected")
        moves = await call.page.evaluate(
            "new Promise((done) => { let moves = 0; const bar = document.querySelector('#back-level span');"
            " new MutationObserver(() => moves++).observe(bar, { attributes: true });"
            " setTimeout(() => done(moves), 2000); })"
        )
        assert 1 <= moves <= 10


async def test_the_token_is_remembered_for_the_tab_alone(site: Site) -> None:
    async with open_page(site.transceivers[0].page) as call:
        seen: list[str | None] = []

        def note(request: Request) -> None:
            if request.method == "POST":
                seen.append(request.headers.get("authorization"))

        call.page.on("request", note)
        await call.page.fill("#token", "a token that is long enough")
        await call.press("Call")
        await call.until_state("connected")
        assert seen == ["Bearer a token that is long enough"]
        await call.press("Hang up")
        await call.page.reload()
        assert await call.page.input_value("#token") == "a token that is long enough"
        assert await call.page.evaluate("localStorage.length") == 0
        other = await call.page.context.new_page()
        await other.goto(site.transceivers[0].page)
        assert await other.input_value("#token") == ""


async def test_a_token_in_the_fragment_is_taken_and_leaves_the_address_bar(site: Site) -> None:
    async with open_page(site.transceivers[0].page + "#token=abc%2Bdef") as call:
        assert await call.page.input_value("#token") == "abc+def"
        assert call.page.url == site.transceivers[0].page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
async def test_nothing_is_cut_off_and_text_has_contrast(width: int, scheme: str, site: Site) -> None:
    viewport = {"width": width, "height": 700}
    async with browser_call(site.transceivers[0].page, viewport=viewport, color_scheme=scheme) as call:
        await call.until_state("connected")
        assert await call.page.evaluate("document.documentElement.scrollWidth") <= width
        box = await call.page.locator("#call").bounding_box()
        assert box is not None
        assert box["height"] >= 44
        for selector in ("body", "#status", ".soft", "#call", "dt", ".top"):
            assert await call.page.evaluate(CONTRAST, selector) >= 4.5, selector


async def test_the_page_keeps_its_own_content_security_policy(site: Site) -> None:
    async with open_page(site.transceivers[0].page) as call:
        said: list[str] = []
        call.page.on("console", lambda message: said.append(message.text))
        call.page.on("pageerror", lambda error: said.append(str(error)))
        await call.press("Call")
        await call.until_state("connected")
        await call.until_true("window.rtcrelay.samples.length >= 2")
        await call.press("Hang up")
        assert said == []
        policy = await call.page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
        assert policy is not None
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy


CONTRAST = """(selector) => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let behind = element;
  while (behind && /rgba\\(.*, 0\\)/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  const paper = behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)";
  const [light, dark] = [luminance(getComputedStyle(element).color), luminance(paper)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}"""
"""Contrast of an element's text with what is behind it (WCAG 2.2)."""
