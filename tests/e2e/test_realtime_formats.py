"""A call's voice reaches a realtime service as the sound that its client asked for, and comes back as that."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rtcrelay.client.caller import Caller, calling

from .voice_service import VoiceService, voice_service

FORMATS = ("audio/pcm", "audio/pcmu", "audio/pcma", "audio/opus")
SECONDS = 60.0
"""Longest wait for each thing; on a quiet machine all of it takes five."""


async def until_event(caller: Caller, kind: str) -> dict[str, Any]:
    """Waits for an event on the data channel."""

    def found() -> list[dict[str, Any]]:
        assert caller.channel is not None
        events = [json.loads(message) for message in caller.channel.messages]
        assert not [event for event in events if event["type"] == "error"]
        return [event for event in events if event["type"] == kind]

    await caller.until(lambda: bool(found()), f"no {kind}", SECONDS)
    return found()[-1]


async def converse(service: VoiceService, form: str) -> tuple[str, int]:
    """Asks for a format, speaks, is silent; returns the format that was agreed on, and the packets of the answer."""
    loop = asyncio.get_running_loop()
    async with calling(f"{service.base}/whip", channel="oai-events") as caller:
        call, channel = caller.call, caller.channel
        assert channel is not None
        await caller.until(lambda: channel.is_open, "no channel", SECONDS)
        both = {"format": {"type": form}}
        channel.send(json.dumps({"type": "session.update", "session": {"audio": {"input": both, "output": both}}}))
        updated = await until_event(caller, "session.updated")
        await until_event(caller, "input_audio_buffer.speech_started")
        await asyncio.sleep(1.0)  # of speech
        call.mute(True, loop.time())
        await until_event(caller, "output_audio_buffer.stopped")
        return updated["session"]["audio"]["output"]["format"]["type"], call.counts(loop.time()).audio_received


@pytest.mark.timeout(180)
async def test_every_format_of_the_realtime_service_carries_a_conversation(tmp_path: Path) -> None:
    async with voice_service(tmp_path) as service:
        found = await asyncio.gather(*(converse(service, form) for form in FORMATS))
    assert [form for form, _ in found] == list(FORMATS)
    assert all(packets > 40 for _, packets in found)
