"""A demo for the network: HTTPS with a certificate of its own, and a token in the address. Tested on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from rtcrelay.client.demo.site import Site, SiteOptions

from .browser import open_page, requires_chromium

pytestmark = requires_chromium


async def test_a_browser_with_the_address_calls_and_one_without_the_token_does_not(tmp_path: Path) -> None:
    key = os.urandom(16)
    site = Site(tmp_path, SiteOptions(lan="127.0.0.1", relay_secret=key, transceiver_secret=key))
    try:
        await site.start()
        node = site.transceivers[0]
        async with open_page(node.page, ignore_https_errors=True) as call:
            assert node.token is not None
            assert node.token not in call.page.url
            await call.press("Call")
            await call.until_state("connected")
            await call.until_stats("packetsReceived", 50)
            await call.press("Hang up")
            await call.page.fill("#token", "")
            await call.press("Call")
            await call.until_state("failed")
            assert await call.words() == "The call failed. The server wants another token."
    finally:
        await site.stop()


async def test_the_command_starts_such_a_site_and_says_its_fingerprint(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rtcrelay", "demo", "--serve", "--lan", "127.0.0.1", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    site = json.loads(await process.stdout.readline())
    assert site["certificate_sha256"].count(":") == 31
    assert site["transceivers"][0]["page_url"].startswith("https://127.0.0.1:")
    assert "/#token=" in site["transceivers"][0]["page_url"]
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130
    assert os.listdir(tmp_path) == []


async def test_letting_the_network_in_needs_serve_and_an_address_of_this_machine() -> None:
    for arguments, words in (
        (("--lan", "127.0.0.1"), "--lan is for callers from outside, expected --serve with it"),
        (("--serve", "--lan", "192.0.2.1"), "--lan: '192.0.2.1' is not an address of this machine"),
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rtcrelay", "demo", *arguments), stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert words in errors.decode()
