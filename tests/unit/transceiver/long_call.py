"""A call of any length in virtual time, through everything that it passes: SRTP, ear, backend, speaker, frame clock.

The client's clock is wrong by some parts per million, it sends nothing while its user is silent, and its sequence
numbers and timestamps roll over early.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

from rtcrelay.audio.opus import Decoder, Encoder
from rtcrelay.client.speech import speech_frames
from rtcrelay.rtc.rtp import RtpPacket, is_rtcp, read_rtp, write_rtp
from rtcrelay.transceiver.backends.pcm import PcmEcho
from rtcrelay.transceiver.paths import Reply

from .network import Caller, Network

FRAME = 0.02
PAUSE_FRAMES = 145
"""Between two utterances: with the recording's seven seconds a turn of ten."""
FIRST_SEQUENCE = 65_000
FIRST_TIMESTAMP = 2**32 - 30 * 48_000
_LOUD = 2500
_QUIET_SECONDS = 1.0
_MAX_DTX_BYTES = 2


def utterance() -> list[bytes | None]:
    """The packets of one turn; None where the encoder's discontinuous transmission has nothing to send. As libwebrtc
    does it, the first packet that says so is sent, and those after it are not."""
    decoder, encoder = Decoder(24_000), Encoder(24_000, 32_000)
    frames = [decoder.decode(payload) for payload in speech_frames()] + [bytes(960)] * PAUSE_FRAMES
    packets = list[bytes | None]()
    is_silent = False
    for frame in frames:
        payload = encoder.encode(frame)
        was_silent, is_silent = is_silent, len(payload) <= _MAX_DTX_BYTES
        packets.append(None if was_silent and is_silent else payload)
    return packets


@dataclass
class Span:
    """What was seen in one part of the call."""

    minutes: float
    """When it ended."""
    delays_ms: list[float]
    """From the first loud packet of each utterance to the first loud one that came back."""
    glitches: int
    """Frames of the voice that were lost, concealed, late, or silent within an utterance, since the call began."""
    left_out: int
    """Quiet frames left out by the speaker since the call began, because the client's clock is the faster one."""
    queued: int
    """Most frames that the speaker kept."""
    objects: int
    """That the garbage collector knows."""
    blocks: int
    """Of memory, of Python's."""

    def as_text(self) -> str:
        """One line."""
        delays = f"{median(self.delays_ms):6.1f} {max(self.delays_ms):6.1f}"
        return (
            f"{self.minutes:6.0f} {len(self.delays_ms):10} {delays} {self.glitches:9} {self.left_out:9}"
            f" {self.queued:7} {self.objects:8} {self.blocks:8}"
        )


@dataclass
class Returned:
    """What comes back, as the client hears it."""

    now: Callable[[], float]
    decoder: Decoder = field(default_factory=lambda: Decoder(24_000))
    onsets: list[float] = field(default_factory=list)
    loud_at: float = -10.0
    sequence: int | None = None
    gaps: int = 0
    """In sequence numbers, which have none."""

    def handle(self, packet: RtpPacket) -> None:
        """One packet."""
        if self.sequence is not None and packet.sequence != self.sequence + 1 & 0xFFFF:
            self.gaps += 1
        self.sequence = packet.sequence
        pcm = memoryview(self.decoder.decode(packet.payload)).cast("h")
        if max(map(abs, pcm), default=0) > _LOUD:
            if self.now() - self.loud_at > _QUIET_SECONDS:
                self.onsets.append(self.now())
            self.loud_at = self.now()


class Air(Network):
    """A network whose client hears each packet when it was sent."""

    returned: Returned | None = None
    caller: Caller | None = None

    def send(self, reply: Reply, payload: bytes) -> None:
        """Sound is heard at once; the rest waits for `Caller.pump`."""
        if self.returned is None or len(payload) < 12 or payload[0] < 128 or is_rtcp(payload):
            super().send(reply, payload)
            return
        assert self.caller is not None
        assert self.caller.dtls.srtp is not None
        plain = self.caller.dtls.srtp.unprotect(payload)
        packet = read_rtp(plain) if plain is not None else None
        assert packet is not None
        self.returned.handle(packet)


class LongCall:
    """The call."""

    def __init__(self, directory: Path, ppm: float, *, lost: float = 0.0, jitter: float = 0.0) -> None:
        """``ppm``: how much longer a second of the client's is. ``lost``: part of its packets. ``jitter``: seconds."""
        air = Air.make(directory, backend=f"python:{__name__}:Kept")
        assert isinstance(air, Air)
        self.air = air
        self.caller = Caller(self.air)
        self.caller.connect()
        self.air.caller, self.air.returned = self.caller, Returned(lambda: self.air.now)
        self.backend = Kept.last
        self._period = FRAME * (1 + ppm / 1e6)
        self._lost, self._jitter, self._random = lost, jitter, Random(1)
        self._turn = utterance()
        self._first_loud = self._find_first_loud()
        self._began = self.air.now + 1.0
        self._frame = self._sent = 0
        self._said: list[float] = []
        self._queued = self._made_up = self._unbroken = 0

    def pass_minutes(self, minutes: float) -> Span:
        """Goes on for so long, in the client's minutes: whole turns."""
        said, heard = len(self._said), len(self.returned.onsets)
        self._queued = 0
        for _ in range(round(minutes * 60 / FRAME / len(self._turn)) * len(self._turn)):
            self._speak_frame()
        self.caller.pump()
        gc.collect()
        onsets = self.returned.onsets[heard:]
        assert len(onsets) == len(self._said) - said, "not every utterance came back once"
        delays = [1000 * (at - then) for then, at in zip(self._said[said:], onsets, strict=True)]
        ear = self.backend.ear
        return Span(
            (self.air.now - self._began) / 60,
            delays,
            ear.lost_packets + ear.late_packets + self._made_up + self.returned.gaps,
            self.backend.speaker.left_out_frames,
            self._queued,
            len(gc.get_objects()),
            sys.getallocatedblocks(),
        )

    @property
    def returned(self) -> Returned:
        """What came back until now."""
        assert self.air.returned is not None
        return self.air.returned

    @property
    def sent(self) -> int:
        """Packets of the client's."""
        return self._sent

    @property
    def sequence_rolls(self) -> int:
        """Times that the sequence numbers began again from zero."""
        return FIRST_SEQUENCE + self._sent >> 16

    @property
    def minutes(self) -> float:
        """Passed by the client's clock."""
        return self._frame * FRAME / 60

    @property
    def turns(self) -> int:
        """Utterances."""
        return len(self._said)

    def _speak_frame(self) -> None:
        number, self._frame = self._frame, self._frame + 1
        place = number % len(self._turn)
        at = self._began + number * self._period
        payload = self._turn[place]
        if place == self._first_loud:
            self._said.append(at)
        ear = self.backend.ear
        made_up = ear.concealed_frames + ear.silent_frames
        # A pause is told in silence, and its first packet after it fills the rest of it.
        self._unbroken = self._unbroken + 1 if payload is not None and len(payload) > _MAX_DTX_BYTES else 0
        if payload is not None:
            self._sent += 1
            if self._random.random() >= self._lost:
                self._pass_until(at + self._random.uniform(0, self._jitter))
                self._send(payload, number, place)
        if self._unbroken > 1:
            self._made_up += ear.concealed_frames + ear.silent_frames - made_up
        self._queued = max(self._queued, self.backend.speaker.queued_samples // 480)

    def _send(self, payload: bytes, number: int, place: int) -> None:
        sequence = FIRST_SEQUENCE + self._sent & 0xFFFF
        timestamp = FIRST_TIMESTAMP + 960 * number & 0xFFFF_FFFF
        assert self.caller.dtls.srtp is not None
        packet = self.caller.dtls.srtp.protect(write_rtp(RtpPacket(111, place == 0, sequence, timestamp, 42, payload)))
        assert packet is not None
        self.air.receive(self.caller.at, packet)
        if place == 0:
            self.caller.responses.clear()
            self.caller.check()
            self.caller.pump()

    def _pass_until(self, at: float) -> None:
        if at > self.air.now:
            self.air.pass_time(at - self.air.now)

    def _find_first_loud(self) -> int:
        decoder = Decoder(24_000)
        for place, payload in enumerate(self._turn):
            pcm = memoryview(decoder.decode(payload or b"\0")).cast("h")
            if max(map(abs, pcm), default=0) > _LOUD:
                return place
        raise AssertionError("nobody speaks in the recording")


class Kept(PcmEcho):
    """An echo of samples; the last one that was made can be looked at."""

    last: Kept

    def __init__(self, call: object) -> None:
        super().__init__(call)  # type: ignore[arg-type]  # a Call, as the transceiver gives it
        Kept.last = self
