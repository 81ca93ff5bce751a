"""A backend that is a service with OpenAI's Realtime vocabulary, over one WebSocket per session.

The client's voice goes there as ``input_audio_buffer.append``, the service's deltas of audio are played; every other
event passes between the socket and the data channel ``oai-events``, both ways, unread.
"""

from __future__ import annotations

import json
from typing import Final

from rtcrelay.audio import g711
from rtcrelay.audio.ear import SILENCE_SECONDS, Ear
from rtcrelay.audio.opus import Rate, require_opus
from rtcrelay.audio.speaker import Speaker
from rtcrelay.rtc.rtp import opus_duration
from rtcrelay.transceiver.audio import OpusPacket
from rtcrelay.transceiver.backends import realtime_events as events
from rtcrelay.transceiver.backends.interface import BackendFactory, BaseBackend, Call, Message
from rtcrelay.transceiver.backends.line import Line, RubbishError, Service
from rtcrelay.transceiver.backends.opus_speaker import OpusSpeaker
from rtcrelay.transceiver.backends.realtime_events import Event, Format

MAX_EARLY_BYTES: Final = 262_144
"""Of events for a client whose data channel is not open yet."""
MAX_CLIENT_EVENT_BYTES: Final = 1_048_576
_RATES: Final[dict[Format, Rate]] = {"pcm": 24_000, "pcmu": 8000, "pcma": 8000, "opus": 24_000}
FORMAT_SECONDS: Final = 1.0
"""Longest that the voice waits until the service has said which sound it takes: PCM taken for G.711 is loud noise."""
_OPUS_SILENCE: Final = b"\xf8"
"""20 ms of nothing: a packet without a frame (RFC 6716 section 3.2.1), which decoders conceal, and then are silent."""
_ROOM_SECONDS: Final = 10.0
"""What the largest delta is expected to hold at most."""


def make_realtime(service: Service) -> BackendFactory:
    """The factory for ``ws://`` and ``wss://``. Raises ConfigError if there is no libopus."""
    require_opus()
    return lambda call: RealtimeBackend(call, service)


class RealtimeBackend(BaseBackend):
    """One session of the service."""

    def __init__(self, call: Call, service: Service) -> None:
        self._call = call
        self._heard: Format = "pcm"
        self._said: Format = "pcm"
        self._opus_at: float | None = None
        """When a packet came that was passed on as it was: a client that is silent sends none, and time goes on."""
        self._voice_from = 0.0
        """When the client's voice goes to the service at the latest."""
        self._interrupts = True
        self._channel: int | None = None
        self._early: list[str] = []
        self._early_bytes = 0
        self._unsent: list[str] | None = []
        """Events of the client's from before the service was there for the first time; None: it was."""
        self._unsent_bytes = 0
        self._session = _session_of(call.request)
        self._ear = Ear(_RATES[self._heard], self._on_pcm)
        self._speaker: Speaker | OpusSpeaker = Speaker(call.send_opus, _RATES[self._said])
        self._response: str | None = None
        self._item: tuple[str, int, int] | None = None
        """Item id, content index, and how many samples had been played before it."""
        self._cut: set[str] = set()
        """Responses that were interrupted: what still comes of them is not played."""
        self._is_playing = False
        self._line = Line(service, self, call.id)
        call.start_frames(self._on_frame)

    @property
    def ear(self) -> Ear:
        """What was lost and made up, in its counters, since the service chose the format."""
        return self._ear

    # -- the client

    def on_opus(self, packet: OpusPacket) -> None:
        """See `Backend.on_opus`."""
        if self._heard == "opus":
            if self._hears_us() and opus_duration(packet.payload):
                self._opus_at = self._call.now()
                self._line.send(events.write_append(packet.payload))
        else:
            self._ear.handle_packet(packet, self._call.now())

    def on_channel(self, channel: int, label: str) -> None:
        """See `Backend.on_channel`."""
        if label == events.CHANNEL and self._channel is None:
            self._channel = channel
            for event in self._early:
                self._call.send_message(channel, event)
            self._early.clear()

    def on_message(self, channel: int, label: str, message: Message) -> None:
        """An event of the client's; see `Backend.on_message`."""
        if label != events.CHANNEL:
            return
        try:
            if len(message) > MAX_CLIENT_EVENT_BYTES:
                raise ValueError(f"more than {MAX_CLIENT_EVENT_BYTES} bytes")
            event = events.read_event(message)
        except ValueError as error:
            self._tell(events.write_error("invalid_event", f"this is no event: {error}"))
            return
        if event.type == "output_audio_buffer.clear":  # of the WebRTC interface alone: no server has this buffer
            self._silence()
        else:
            self._pass_on(message if isinstance(message, str) else message.decode(), event)

    def on_close(self) -> None:
        """See `Backend.on_close`."""
        self._line.close()
        self._ear.close()

    # -- the service

    def on_line(self, state: str, detail: str) -> None:
        """See `LineUser.on_line`."""
        if state == "connected":
            self._voice_from = self._call.now() + FORMAT_SECONDS
            if self._session:
                self._line.send(events.write_event("session.update", session=self._session))
            unsent, self._unsent = self._unsent or (), None
            for text in unsent:
                self._pass_on(text, events.read_event(text))
            return
        self._silence()
        code = {"broken": "backend_reconnecting", "lost": "backend_lost"}.get(state)
        if code is not None:
            self._tell(events.write_error(code, f"the backend's connection broke: {detail}"))
        if state != "broken":
            self._call.hang_up(lost=state == "lost")

    def has_room(self) -> bool:
        """See `LineUser.has_room`."""
        return self._speaker.has_room(int(_ROOM_SECONDS * _RATES[self._said]))

    def on_line_message(self, message: str | bytes) -> None:
        """See `LineUser.on_line_message`."""
        try:
            event = events.read_event(message)
            if event.type in events.AUDIO_DELTAS:
                self._play(event)
                return
            if event.type in events.SESSIONS:
                self._take_session(event.session)
        except ValueError as error:
            raise RubbishError(str(error)) from error
        if event.type == events.SPEECH_STARTED and self._interrupts:
            self._silence()
        self._tell(message if isinstance(message, str) else message.decode())

    # -- inside

    def _pass_on(self, text: str, event: Event) -> None:
        """An event of the client's, to the service; those from before it is there wait for it."""
        if self._unsent is not None and self._unsent_bytes + len(text) <= MAX_EARLY_BYTES:
            self._unsent.append(text)
            self._unsent_bytes += len(text)
        elif not self._line.send(text):
            self._tell(events.write_error("backend_unreachable", f"{event.type} did not reach the backend"))
        elif event.type == "session.update" and isinstance(event.session, dict):
            self._session = {**self._session, **event.session}
            if self._asked() not in (None, self._heard):
                self._voice_from = self._call.now() + FORMAT_SECONDS

    def _on_frame(self, number: int) -> None:
        now = self._call.now()
        if self._heard != "opus":
            self._ear.handle_time(now)
        elif self._hears_us() and self._opus_at is not None and now - self._opus_at >= SILENCE_SECONDS:
            self._line.send(events.write_append(_OPUS_SILENCE))
        self._speaker.handle_frame(self._call.loss_out)
        if self._is_playing and not self._speaker.is_playing:
            self._is_playing = False
            self._tell(events.write_event("output_audio_buffer.stopped", response_id=self._response))

    def _on_pcm(self, pcm: bytes) -> None:
        if self._hears_us():
            self._line.send(events.write_append(g711.encode(self._heard, pcm) if self._heard in _LAWS else pcm))

    def _play(self, event: Event) -> None:
        if event.response_id in self._cut:
            return
        audio = events.read_audio(event.delta)
        if self._said in _LAWS:
            audio = g711.decode(self._said, audio)
        if event.item_id is not None and (self._item is None or self._item[0] != event.item_id):
            self._item = event.item_id, event.content_index, self._speaker.played_samples + self._speaker.queued_samples
        self._response = event.response_id
        self._speaker.play(audio)
        if not self._is_playing and self._speaker.is_playing:
            self._is_playing = True
            self._tell(events.write_event("output_audio_buffer.started", response_id=self._response))

    def _silence(self) -> None:
        """Barge-in: nothing more of this response is heard, and the service is told how much was."""
        if not self._is_playing:
            return
        self._is_playing = False
        self._speaker.clear()
        if self._response is not None:
            self._cut = {self._response}
        if self._item is not None:
            item, index, before = self._item
            played = max(0, self._speaker.played_samples - before)
            self._line.send(
                events.write_event(
                    "conversation.item.truncate",
                    item_id=item,
                    content_index=index,
                    audio_end_ms=1000 * played // _RATES[self._said],
                )
            )
            self._item = None
        self._tell(events.write_event("output_audio_buffer.cleared", response_id=self._response))

    def _take_session(self, session: object) -> None:
        heard, said = events.formats_of(session)
        interrupts = events.interrupts(session)
        if interrupts is not None:
            self._interrupts = interrupts
        if heard is not None and heard != self._heard:
            self._heard = heard
            self._ear = Ear(_RATES[heard], self._on_pcm)
        if said is not None and said != self._said:
            self._said = said
            send = self._call.send_opus
            self._speaker = OpusSpeaker(send) if said == "opus" else Speaker(send, _RATES[said])
        if self._asked() in (None, self._heard):
            self._voice_from = 0.0

    def _asked(self) -> Format | None:
        """The sound that our side of the session wants to send; None if it says nothing, or nothing known."""
        try:
            return events.formats_of(self._session)[0]
        except ValueError:
            return None

    def _hears_us(self) -> bool:
        return self._line.is_open and self._call.now() >= self._voice_from

    def _tell(self, event: str) -> None:
        """To the client, now or when its channel opens."""
        if self._channel is not None:
            self._call.send_message(self._channel, event)
        elif self._early_bytes + len(event) <= MAX_EARLY_BYTES:
            self._early.append(event)
            self._early_bytes += len(event)


_LAWS: Final = ("pcmu", "pcma")


def _session_of(request: str | None) -> dict[str, object]:
    value = json.loads(request) if request else None
    return value if isinstance(value, dict) else {}
