"""Backends in samples: the parrot, the echo of samples, and the plain protocol."""

from __future__ import annotations

import json

import pytest

from rtcrelay.audio.opus import Decoder
from rtcrelay.errors import ConfigError
from rtcrelay.transceiver.backends.line import RubbishError, Service
from rtcrelay.transceiver.backends.pcm import ParrotBackend, PcmEcho
from rtcrelay.transceiver.backends.plain import PlainBackend, make_plain, websocket_url

from .voices import SPEECH, FakeLine, Talk, silence


def test_the_parrot_waits_for_the_end_and_says_it_back_as_long_as_it_was() -> None:
    talk = Talk()
    parrot = ParrotBackend(talk)
    parrot.on_channel(1, "chat")
    talk.speak(parrot, [*silence(30), *SPEECH[20:100]])
    assert talk.heard == []
    talk.speak(parrot, silence(30))
    talk.pass_frames(150)
    turns = talk.events()
    assert [turn["type"] for turn in turns] == ["started", "stopped", "played"]
    assert 1600 < turns[2]["played_ms"] < 2800
    assert talk.loudest() > 3000


def test_the_parrot_is_silent_when_it_is_interrupted() -> None:
    talk = Talk()
    parrot = ParrotBackend(talk)
    parrot.on_channel(1, "chat")
    talk.speak(parrot, [*SPEECH[20:120], *silence(30)])
    talk.pass_frames(10)
    playing = [parrot.speaker.is_playing]
    talk.speak(parrot, SPEECH[20:40])
    assert [*playing, parrot.speaker.is_playing] == [True, False]
    last = talk.events()[-1]
    assert last["type"] == "interrupted"
    assert 200 < last["played_ms"] < 1000


def test_a_client_that_sends_nothing_while_silent_has_finished_all_the_same() -> None:
    talk = Talk()
    parrot = ParrotBackend(talk)
    parrot.on_channel(1, "chat")
    talk.speak(parrot, SPEECH[20:100])
    talk.pass_frames(40)
    assert [turn["type"] for turn in talk.events()][:2] == ["started", "stopped"]


def test_the_echo_of_samples_is_a_voice() -> None:
    talk = Talk()
    echo = PcmEcho(talk)
    talk.speak(echo, SPEECH[:100])
    assert 98 <= len(talk.heard) <= 100
    assert talk.loudest() > 3000


# -- plain PCM over a WebSocket


class Plain:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, request: str | None = None) -> None:
        monkeypatch.setattr("rtcrelay.transceiver.backends.plain.Line", FakeLine)
        self.talk = Talk(request)
        backend = make_plain(Service("ws://model.example/?rate=16000"))(self.talk)
        assert isinstance(backend, PlainBackend)
        self.backend = backend
        assert isinstance(backend._line, FakeLine)
        self.line = backend._line
        self.line.open()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Plain:
    return Plain(monkeypatch)


def test_a_service_is_told_first_what_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Plain(monkeypatch, '{"voice": "v"}')
    assert plain.line.events() == [
        {"type": "start", "v": 1, "session": "talk", "rate": 16_000, "request": {"voice": "v"}}
    ]


def test_samples_pass_both_ways_as_they_are(plain: Plain) -> None:
    plain.line.events()
    plain.talk.speak(plain.backend, SPEECH[:30])
    frames = [message for message in plain.line.sent if isinstance(message, bytes)]
    assert {len(frame) for frame in frames} == {640}
    plain.backend.on_line_message(b"".join(frames))
    plain.talk.pass_frames(30)
    assert len(plain.talk.heard) == 30
    assert max(memoryview(Decoder(24_000).decode(plain.talk.heard[-1])).cast("h")) >= 0


def test_clear_is_silent_and_tells_what_was_played(plain: Plain) -> None:
    plain.backend.on_line_message(bytes(640 * 100))
    plain.line.say("mark", name="end")
    plain.talk.pass_frames(25)
    plain.line.events()
    plain.line.say("clear")
    assert plain.line.events() == [{"type": "cleared", "played_ms": 500, "dropped_ms": 1500, "marks": ["end"]}]


def test_a_mark_is_told_when_it_is_reached(plain: Plain) -> None:
    plain.line.events()
    plain.backend.on_line_message(bytes(640 * 10))
    plain.line.say("mark", name="a")
    plain.talk.pass_frames(9)
    assert plain.line.events() == []
    plain.talk.pass_frames(1)
    assert plain.line.events() == [{"type": "marked", "name": "a"}]


def test_messages_pass_between_the_service_and_channels_by_label(plain: Plain) -> None:
    plain.line.events()
    plain.backend.on_channel(1, "chat")
    plain.backend.on_channel(2, "other")
    plain.backend.on_message(1, "chat", "hello")
    assert plain.line.events() == [{"type": "message", "label": "chat", "data": "hello"}]
    plain.line.say("message", label="chat", data="to one")
    plain.line.say("message", data="to all")
    assert plain.talk.messages == [(1, "to one"), (1, "to all"), (2, "to all")]


def test_the_service_can_hang_up(plain: Plain) -> None:
    plain.line.say("hang_up")
    assert plain.talk.end == "ended"


@pytest.mark.parametrize("rubbish", [b"odd", "no json", "[]", "{}", '{"type":"dance"}', '{"type":"message","data":5}'])
def test_rubbish_is_told_as_such(plain: Plain, rubbish: str | bytes) -> None:
    with pytest.raises(RubbishError):
        plain.backend.on_line_message(rubbish)


@pytest.mark.parametrize(("state", "end"), [("broken", None), ("lost", "lost"), ("ended", "ended")])
def test_the_clients_channels_are_told_of_the_lines_troubles(plain: Plain, state: str, end: str | None) -> None:
    plain.backend.on_channel(1, "chat")
    plain.line.user.on_line(state, "why")
    assert json.loads(plain.talk.messages[-1][1]) == {"type": "backend", "state": state, "detail": "why"}
    assert plain.talk.end == end


@pytest.mark.parametrize("rate", ["0", "44100", "x", ""])
def test_a_rate_that_opus_cannot_give_is_refused(rate: str) -> None:
    if rate == "":
        make_plain(Service("ws://model.example/?rate="))  # no value is no rate: the default
        return
    with pytest.raises(ConfigError, match="rate"):
        make_plain(Service(f"ws://model.example/?rate={rate}"))


def test_the_url_of_the_socket_has_no_plus() -> None:
    assert websocket_url("wss+pcm://model.example:9/x?rate=8000") == "wss://model.example:9/x?rate=8000"
