"""A service with realtime events behind a session: sound, events both ways, barge-in, and its troubles."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from rtcrelay.audio import g711
from rtcrelay.audio.opus import Decoder
from rtcrelay.transceiver.backends.line import RubbishError, Service
from rtcrelay.transceiver.backends.realtime import FORMAT_SECONDS, MAX_EARLY_BYTES, RealtimeBackend

from .voices import SPEECH, FakeLine, Talk

CHANNEL = 3


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, request: str | None = None, *, channel: bool = True) -> None:
        monkeypatch.setattr("rtcrelay.transceiver.backends.realtime.Line", FakeLine)
        self.talk = Talk(request)
        self.backend = RealtimeBackend(self.talk, Service("ws://model.example/"))
        assert isinstance(self.backend._line, FakeLine)
        self.line = self.backend._line
        if channel:
            self.backend.on_channel(CHANNEL, "oai-events")
        self.line.open()
        self.talk.time += FORMAT_SECONDS

    def say(self, pcm: bytes, response: str = "resp_1", item: str = "item_1", kind: str = "output_audio") -> None:
        delta = base64.b64encode(pcm).decode()
        self.line.say(
            f"response.{kind}.delta", response_id=response, item_id=item, output_index=0, content_index=0, delta=delta
        )

    def told(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.talk.events() if event["type"] in kinds]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def voice(frames: int) -> bytes:
    decoder = Decoder(24_000)
    return b"".join([decoder.decode(payload) for payload in SPEECH][20 : 20 + frames])


def test_the_clients_voice_is_appended_as_pcm_of_24_khz(scene: Scene) -> None:
    scene.talk.speak(scene.backend, SPEECH[:50])
    sent = scene.line.events()
    assert {event["type"] for event in sent} == {"input_audio_buffer.append"}
    pcm = b"".join(base64.b64decode(event["audio"]) for event in sent)
    assert len(pcm) == 50 * 960
    assert max(memoryview(pcm).cast("h")) > 3000


@pytest.mark.parametrize("kind", ["output_audio", "audio"])
def test_a_burst_of_deltas_is_heard_at_20_ms_a_packet_and_not_told_as_events(scene: Scene, kind: str) -> None:
    for _ in range(10):
        scene.say(voice(10), kind=kind)
    scene.talk.pass_frames(60)
    assert len(scene.talk.heard) == 60
    scene.talk.pass_frames(100)
    assert scene.talk.loudest() > 3000
    assert [event["type"] for event in scene.talk.events()] == [
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
    ]


def test_other_events_pass_both_ways_unchanged(scene: Scene) -> None:
    text = '{"type": "response.done",  "response": {"id": "r", "new_field": [1, 2.50]}}'
    scene.backend.on_line_message(text)
    assert scene.talk.messages == [(CHANNEL, text)]
    mine = '{"type":"conversation.item.create", "item": {"any": "thing"}}'
    scene.backend.on_message(CHANNEL, "oai-events", mine)
    assert scene.line.sent == [mine]


def test_events_from_before_the_channel_is_open_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, channel=False)
    scene.line.say("session.created", session={"id": "s"})
    for _ in range(100):
        scene.line.say("response.done", text="x" * 10_000)
    assert scene.talk.messages == []
    scene.backend.on_channel(1, "other")
    assert scene.talk.messages == []
    scene.backend.on_channel(CHANNEL, "oai-events")
    assert scene.talk.events()[0] == {"type": "session.created", "session": {"id": "s"}}
    assert sum(len(message) for _, message in scene.talk.messages) <= MAX_EARLY_BYTES


def test_events_of_the_client_from_before_the_service_is_there_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcrelay.transceiver.backends.realtime.Line", FakeLine)
    talk = Talk(json.dumps({"voice": "v"}))
    backend = RealtimeBackend(talk, Service("ws://model.example/"))
    line = backend._line
    assert isinstance(line, FakeLine)
    early = {"type": "session.update", "session": {"instructions": "be brief"}}
    backend.on_channel(CHANNEL, "oai-events")
    backend.on_message(CHANNEL, "oai-events", json.dumps(early))
    line.open()
    assert line.events() == [{"type": "session.update", "session": {"voice": "v"}}, early]
    line.user.on_line("broken", "reset")
    line.is_open = False
    backend.on_message(CHANNEL, "oai-events", '{"type":"response.create"}')
    line.open()
    (again,) = line.events()
    assert again["session"] == {"voice": "v", "instructions": "be brief"}
    assert [event["error"]["code"] for event in talk.events()] == ["backend_reconnecting", "backend_unreachable"]


def test_speech_of_the_user_cuts_the_answer_and_tells_the_service_how_much_was_heard(scene: Scene) -> None:
    scene.say(voice(100), item="item_7")
    scene.talk.pass_frames(30)
    scene.line.events()
    scene.line.say("input_audio_buffer.speech_started", audio_start_ms=1, item_id="item_8")
    scene.talk.pass_frames(1)
    heard = len(scene.talk.heard)
    (truncate,) = scene.line.events()
    assert truncate == {
        "type": "conversation.item.truncate",
        "item_id": "item_7",
        "content_index": 0,
        "audio_end_ms": 600,
    }
    kinds = [event["type"] for event in scene.talk.events()]
    assert kinds == [
        "output_audio_buffer.started",
        "output_audio_buffer.cleared",
        "input_audio_buffer.speech_started",
    ]
    scene.say(voice(50), item="item_7")  # what the service had sent before it knew
    scene.talk.pass_frames(50)
    assert len(scene.talk.heard) <= heard + 14  # the end fades to silence
    scene.say(voice(10), response="resp_2", item="item_9")
    scene.talk.pass_frames(10)
    assert scene.told("output_audio_buffer.started")[-1]["response_id"] == "resp_2"


def test_played_time_is_of_the_item_that_is_heard_and_not_of_the_call(scene: Scene) -> None:
    scene.say(voice(20), item="item_1")
    scene.talk.pass_frames(60)
    scene.say(voice(50), response="resp_2", item="item_2")
    scene.talk.pass_frames(5)
    scene.line.events()
    scene.line.say("input_audio_buffer.speech_started")
    (truncate,) = scene.line.events()
    assert (truncate["item_id"], truncate["audio_end_ms"]) == ("item_2", 100)


def test_the_client_can_clear_what_it_hears(scene: Scene) -> None:
    scene.say(voice(100))
    scene.talk.pass_frames(10)
    scene.line.events()
    scene.backend.on_message(CHANNEL, "oai-events", '{"type":"output_audio_buffer.clear"}')
    assert [event["type"] for event in scene.line.events()] == ["conversation.item.truncate"]
    assert scene.told("output_audio_buffer.cleared")


def test_speech_does_not_cut_if_the_session_says_so(scene: Scene) -> None:
    scene.line.say("session.updated", session={"audio": {"input": {"turn_detection": {"interrupt_response": False}}}})
    scene.say(voice(50))
    scene.talk.pass_frames(5)
    scene.line.say("input_audio_buffer.speech_started")
    assert not scene.told("output_audio_buffer.cleared")


@pytest.mark.parametrize(("law", "named"), [("pcmu", "audio/pcmu"), ("pcma", "audio/pcma")])
def test_g711_is_spoken_where_the_service_says_so(scene: Scene, law: g711.Law, named: str) -> None:
    both = {"format": {"type": named}}
    scene.line.say("session.created", session={"audio": {"input": both, "output": both}})
    scene.talk.speak(scene.backend, SPEECH[:40])
    sent = b"".join(base64.b64decode(event["audio"]) for event in scene.line.events())
    assert len(sent) == 40 * 160
    scene.say(sent)
    scene.talk.pass_frames(40)
    assert scene.talk.loudest() > 3000


def test_the_older_names_of_formats_are_understood(scene: Scene) -> None:
    scene.line.say("session.updated", session={"input_audio_format": "g711_ulaw"})
    scene.talk.speak(scene.backend, SPEECH[:1])
    assert len(base64.b64decode(scene.line.events()[0]["audio"])) == 160


def test_opus_passes_undecoded_where_the_service_says_so(scene: Scene) -> None:
    both = {"format": {"type": "audio/opus"}}
    scene.line.say("session.created", session={"audio": {"input": both, "output": both}})
    scene.talk.speak(scene.backend, SPEECH[:5])
    assert [base64.b64decode(event["audio"]) for event in scene.line.events()] == list(SPEECH[:5])
    for payload in SPEECH[:5]:
        scene.say(payload)
    scene.talk.heard.clear()
    scene.talk.pass_frames(8)
    assert scene.talk.heard == list(SPEECH[:5])


PCMU: dict[str, Any] = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}


def test_a_service_that_hears_opus_hears_the_silence_of_a_client_that_sends_none(scene: Scene) -> None:
    scene.line.say("session.created", session={"audio": {"input": {"format": {"type": "audio/opus"}}}})
    scene.talk.pass_frames(10)
    assert scene.line.events() == []
    scene.talk.speak(scene.backend, SPEECH[:2])
    scene.line.events()
    scene.talk.pass_frames(50)
    sent = [base64.b64decode(event["audio"]) for event in scene.line.events()]
    assert set(sent) == {b"\xf8"}
    assert 47 <= len(sent) <= 49
    decoder = Decoder(24_000)
    assert len(decoder.decode(SPEECH[0])) == len(decoder.decode(b"\xf8")) == 960


def test_the_voice_waits_until_the_service_takes_the_sound_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, json.dumps(PCMU))
    scene.talk.time -= FORMAT_SECONDS
    scene.line.events()
    scene.line.say("session.created", session={"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24_000}}}})
    scene.talk.speak(scene.backend, SPEECH[:5])
    assert scene.line.events() == []
    scene.line.say("session.updated", session=PCMU)
    scene.talk.speak(scene.backend, SPEECH[:5])
    assert [len(base64.b64decode(event["audio"])) for event in scene.line.events()] == [160] * 5


def test_a_service_that_never_says_what_it_takes_gets_pcm_after_a_second(scene: Scene) -> None:
    scene.backend.on_message(CHANNEL, "oai-events", json.dumps({"type": "session.update", "session": PCMU}))
    scene.talk.speak(scene.backend, SPEECH[:60])
    appended = [event for event in scene.line.events() if event["type"] == "input_audio_buffer.append"]
    assert 8 <= len(appended) <= 12
    assert len(base64.b64decode(appended[0]["audio"])) == 960


def test_what_the_client_asked_for_is_the_sessions_first_update_and_comes_again_after_a_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, json.dumps({"instructions": "be brief"}))
    assert scene.line.events() == [{"type": "session.update", "session": {"instructions": "be brief"}}]
    scene.backend.on_message(CHANNEL, "oai-events", '{"type":"session.update","session":{"voice":"v"}}')
    scene.line.events()
    scene.line.user.on_line("broken", "reset")
    scene.line.open()
    (update,) = scene.line.events()
    assert update["session"] == {"instructions": "be brief", "voice": "v"}


def test_a_break_is_told_and_silences_and_the_session_goes_on(scene: Scene) -> None:
    scene.say(voice(50))
    scene.talk.pass_frames(5)
    scene.line.user.on_line("broken", "it fell")
    (error,) = scene.told("error")
    assert error["error"]["code"] == "backend_reconnecting"
    assert "it fell" in error["error"]["message"]
    assert scene.talk.end is None
    assert scene.told("output_audio_buffer.cleared")


@pytest.mark.parametrize(("state", "end"), [("lost", "lost"), ("ended", "ended")])
def test_a_service_that_is_gone_ends_the_session(scene: Scene, state: str, end: str) -> None:
    scene.line.user.on_line(state, "it is over")
    assert scene.talk.end == end
    assert [event["error"]["code"] for event in scene.told("error")] == (["backend_lost"] if state == "lost" else [])


@pytest.mark.parametrize(
    "rubbish",
    ["", "no json", "[]", "{}", '{"type": 5}', '{"type":"response.audio.delta"}', b"\xff\x00",
     '{"type":"response.audio.delta","delta":"%%%"}', '{"type":"response.audio.delta","delta":"QQ=="}',
     '{"type":"session.created","session":{"audio":{"input":{"format":{"type":"audio/mp3"}}}}}',
     '{"type":"session.created","session":{"audio":{"output":{"format":{"type":"audio/pcm","rate":1}}}}}'],
)  # fmt: skip
def test_rubbish_of_the_service_is_counted_by_the_line_and_harms_nothing(scene: Scene, rubbish: str | bytes) -> None:
    with pytest.raises(RubbishError):
        scene.backend.on_line_message(rubbish)
    scene.say(voice(5))
    scene.talk.pass_frames(5)
    assert len(scene.talk.heard) >= 5


@pytest.mark.parametrize("rubbish", ["", "no json", "[]", "{}", b"\xff"])
def test_rubbish_of_the_client_is_answered_with_an_error_and_does_not_reach_the_service(
    scene: Scene, rubbish: str | bytes
) -> None:
    scene.backend.on_message(CHANNEL, "oai-events", rubbish)
    assert scene.told("error")[0]["error"]["code"] == "invalid_event"
    assert scene.line.sent == []


def test_a_flood_of_sound_is_taken_only_as_far_as_there_is_room(scene: Scene) -> None:
    taken = 0
    while scene.backend.has_room():
        scene.say(bytes(48_000))
        taken += 1
    assert 100 <= taken <= 121
    scene.talk.pass_frames(600)
    assert scene.backend.has_room()


def test_an_event_that_cannot_reach_the_service_is_told(scene: Scene) -> None:
    scene.line.is_open = False
    scene.backend.on_message(CHANNEL, "oai-events", '{"type":"response.create"}')
    assert scene.told("error")[0]["error"]["code"] == "backend_unreachable"


def test_the_line_ends_with_the_session(scene: Scene) -> None:
    scene.backend.on_close()
    assert scene.line.is_closed
