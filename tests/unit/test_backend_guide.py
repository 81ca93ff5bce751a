"""The guide's own example is a backend, and its message is the one that is sent."""

from __future__ import annotations

import asyncio
import json
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from transceiver.voices import SPEECH, Talk

from rtcrelay.transceiver.audio import OpusPacket
from rtcrelay.transceiver.backends import find_backend

GUIDE = (Path(__file__).parents[2] / "docs" / "backends.md").read_text()


class FakeCall:
    """Keeps what a backend sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.messages: list[object] = []
        self.on_frame: Callable[[int], None] = lambda number: None

    def send_opus(self, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> bool:
        self.sent.append(payload)
        return True

    def start_frames(self, on_frame: Callable[[int], None]) -> None:
        self.on_frame = on_frame

    def send_message(self, channel: int, message: str | bytes) -> bool:
        self.messages.append(message)
        return True

    def hang_up(self, *, lost: bool = False) -> None: ...


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_the_example_of_the_guide_works() -> None:
    module = types.ModuleType("parrot")
    exec(blocks("python")[0], module.__dict__)
    call = FakeCall()
    parrot = module.Parrot(call)
    for number in range(3):
        parrot.on_opus(OpusPacket(bytes([number]), number, 960 * number, False))
    for number in range(29):
        call.on_frame(number)
    assert call.sent == [b"\x00", b"\x01", b"\x02", b"\x00"]
    parrot.on_message(1, "chat", "?")
    assert call.messages == ["heard 3 packets"]
    parrot.on_close()


def test_the_fields_of_the_guides_message_are_those_that_are_sent() -> None:
    from rtcrelay.transceiver import report

    shown = json.loads(blocks("json")[0])
    source = Path(report.__file__).read_text()
    body = source[source.index("def describe_media") : source.index("def _address")]
    assert list(shown) == re.findall(r'^        "(\w+)":', body, re.MULTILINE)


def run_example(number: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Executes one of the guide's examples; what it would serve is under ``app``."""
    monkeypatch.setattr(web, "run_app", lambda app, **where: None)
    module = types.ModuleType("example")
    exec(blocks("python")[number], module.__dict__)
    return module.__dict__


def test_the_example_with_samples_says_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()
    louder = run_example(1, monkeypatch)["Louder"](talk)  # type: ignore[operator]  # a class
    talk.speak(louder, SPEECH[:100])
    assert len(talk.heard) >= 98
    assert talk.loudest() > 6000


@pytest.mark.parametrize(("number", "scheme"), [(2, "ws+pcm"), (3, "ws")], ids=["plain", "realtime"])
async def test_the_services_of_the_guide_are_whole_services(
    number: int, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = run_example(number, monkeypatch)["app"]
    assert isinstance(app, web.Application)
    async with TestServer(app) as server:
        talk = Talk()
        backend = find_backend(f"{scheme}://127.0.0.1:{server.port}/")(talk)
        try:
            async with asyncio.timeout(10):
                frames: Iterator[bytes] = iter(SPEECH)
                while talk.loudest() < 3000:
                    talk.speak(backend, [next(frames)])
                    await asyncio.sleep(0.002)
        finally:
            backend.on_close()
            await asyncio.sleep(0.05)
    assert talk.end is None
