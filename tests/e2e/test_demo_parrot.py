"""Who opens the page of ``rtcrelay demo --serve`` talks with a parrot: it answers, and can be interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from .browser import browser_call, requires_chromium
from .voice_service import write_microphone
from .waiting import until

pytestmark = [*requires_chromium, pytest.mark.timeout(180)]


@asynccontextmanager
async def served(*arguments: str) -> AsyncIterator[dict[str, Any]]:
    """``rtcrelay demo --serve``, and where it is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rtcrelay", "demo", "--serve", "--json", *arguments),
        stdout=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("RTCRELAY_")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


async def test_the_page_of_the_demo_talks_with_a_parrot_that_can_be_interrupted(tmp_path: Path) -> None:
    microphone = tmp_path / "microphone.wav"
    write_microphone(microphone, 2.0, (0.4, 3.0), 1.6, (0.4, 1.6), 30.0)
    flag = f"--use-file-for-fake-audio-capture={microphone}%noloop"
    async with served() as site, browser_call(site["transceivers"][0]["page_url"], flag) as call:
        assert site["backend"] == "parrot"
        await call.until_state("connected")

        async def turns() -> list[dict[str, Any]]:
            return [json.loads(each) for each in await call.page.evaluate("window.rtcrelay.echoes")]

        await until(turns, lambda seen: any(each["type"] == "stopped" for each in seen), "the end of a turn", 60.0)
        await call.until_true("window.rtcrelay.levels.back > -50")
        seen = await until(turns, lambda seen: any(each["type"] == "played" for each in seen), "an answer", 60.0)
        words = await call.page.inner_text("#channel")
    kinds = [each["type"] for each in seen]
    assert kinds == ["started", "stopped", "started", "interrupted", "stopped", "played"]
    by_kind = {each["type"]: each for each in seen}
    assert 0 < by_kind["interrupted"]["played_ms"] < 3300
    assert by_kind["played"]["played_ms"] > 1000
    assert words.startswith("the parrot has said all of it")
