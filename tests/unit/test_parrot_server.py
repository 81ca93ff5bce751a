"""The parrot as a realtime server: its events, its formats, and what it answers to nonsense."""

from __future__ import annotations

import base64
import gc
import json
import weakref
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from transceiver.voices import SPEECH, silence

from rtcrelay.audio import g711
from rtcrelay.audio.opus import Decoder
from rtcrelay.http.access import Access
from rtcrelay.parrot.agent import RealtimeParrot
from rtcrelay.parrot.service import make_app


class Client:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.parrot = RealtimeParrot(self.said.append)

    def send(self, kind: str, **fields: object) -> None:
        self.parrot.handle_event(json.dumps({"type": kind, **fields}))

    def append(self, audio: bytes) -> None:
        self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def take(self) -> list[dict[str, Any]]:
        events = [json.loads(event) for event in self.said]
        self.said.clear()
        return events


@pytest.fixture
def client() -> Client:
    return Client()


def voice(rate: Any, frames: int = 80) -> list[bytes]:
    decoder = Decoder(rate)
    return [decoder.decode(payload) for payload in SPEECH][20 : 20 + frames]


def test_an_utterance_is_answered_in_one_burst(client: Client) -> None:
    (created,) = client.take()
    assert created["type"] == "session.created"
    for frame in [*voice(24_000), *[bytes(960)] * 40]:
        client.append(frame)
    events = client.take()
    kinds = [event["type"] for event in events]
    deltas = [event for event in events if event["type"] == "response.output_audio.delta"]
    assert [kind for kind in kinds if not kind.endswith("delta")] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "response.created",
        "response.output_audio.done",
        "response.done",
    ]
    said = b"".join(base64.b64decode(event["delta"]) for event in deltas)
    assert 1.5 < len(said) / 48_000 < 2.8
    assert len({event["event_id"] for event in events}) == len(events)


@pytest.mark.parametrize(
    "session", [{"audio": {"input": {"format": {"type": "audio/pcmu"}}}}, {"input_audio_format": "g711_ulaw"}]
)
def test_g711_is_heard_and_said(client: Client, session: dict[str, Any]) -> None:
    client.send("session.update", session=session)
    assert client.take()[-1]["session"]["audio"]["output"]["format"]["type"] == "audio/pcmu"
    for frame in [*voice(8000), *[bytes(320)] * 40]:
        client.append(g711.encode("pcmu", frame))
    said = b"".join(base64.b64decode(e["delta"]) for e in client.take() if e["type"] == "response.output_audio.delta")
    assert 1.5 < len(said) / 8000 < 2.8


def test_opus_is_heard_and_said_a_packet_an_event(client: Client) -> None:
    client.send("session.update", session={"audio": {"input": {"format": {"type": "audio/opus"}}}})
    client.take()
    for payload in (*SPEECH[20:100], *silence(40)):
        client.append(payload)
    said = [base64.b64decode(e["delta"]) for e in client.take() if e["type"] == "response.output_audio.delta"]
    decoder = Decoder(24_000)
    heard = b"".join(decoder.decode(payload) for payload in said)
    assert 1.5 < len(heard) / 48_000 < 2.8
    assert len(heard) == 960 * len(said)
    assert max(memoryview(heard).cast("h")) > 3000


def test_without_turn_detection_the_client_says_when(client: Client) -> None:
    client.send("session.update", session={"turn_detection": None})
    for frame in voice(24_000, 20):
        client.append(frame)
    client.take()
    client.send("input_audio_buffer.commit")
    client.send("response.create")
    kinds = [event["type"] for event in client.take()]
    assert kinds[:2] == ["input_audio_buffer.committed", "conversation.item.added"]
    assert kinds.count("response.output_audio.delta") == 4
    client.send("input_audio_buffer.commit")
    assert client.take()[-1]["error"]["message"] == "the buffer is empty"


def test_a_truncation_is_confirmed(client: Client) -> None:
    client.take()
    client.send("conversation.item.truncate", item_id="i", content_index=0, audio_end_ms=700)
    (event,) = client.take()
    assert (event["type"], event["audio_end_ms"]) == ("conversation.item.truncated", 700)


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", '{"type": 7}', '{"type": "dance"}', '{"type": "session.update"}',
     '{"type": "session.update", "session": {"input_audio_format": "mp3"}}',
     '{"type": "session.update", "session": {"audio": 5}}',
     '{"type": "input_audio_buffer.append", "audio": "%%%"}', '{"type": "input_audio_buffer.append", "audio": "QQ=="}',
     '{"type": "input_audio_buffer.append", "audio": 5}', '{"type": "conversation.item.create", "item": 5}',
     '{"type": "conversation.item.truncate"}', "[" * 100_000],
)  # fmt: skip
def test_nonsense_is_answered_with_an_error_event(client: Client, text: str) -> None:
    client.take()
    client.parrot.handle_event(text)
    (event,) = client.take()
    assert event["type"] == "error"
    assert event["error"]["message"]


def test_what_a_parrot_heard_is_free_as_soon_as_its_client_left() -> None:
    """Not at the next full garbage collection: that is megabytes later."""
    client = Client()
    client.append(b"".join(voice(24_000)))
    gone = weakref.ref(client.parrot)
    gc.disable()
    try:
        del client
        assert gone() is None
    finally:
        gc.enable()


async def test_the_server_wants_its_token() -> None:
    async with TestClient(TestServer(make_app(Access("0123456789abcdef", ())))) as http:
        assert (await http.get("/v1/realtime")).status == 401
        async with http.ws_connect("/v1/realtime", headers={"Authorization": "Bearer 0123456789abcdef"}) as socket:
            assert (await socket.receive_json())["type"] == "session.created"
