"""The built-in backends, and how they are named and refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from rtcrelay.client.speech import SPEECH_FILE
from rtcrelay.errors import ConfigError, ExitStatus
from rtcrelay.rtc.ogg import read_opus_packets
from rtcrelay.rtc.rtp import opus_duration
from rtcrelay.transceiver.audio import OpusPacket
from rtcrelay.transceiver.backends import BaseBackend, Call, Message, find_backend
from rtcrelay.transceiver.backends.player import MAX_PACKET_BYTES, Player, make_recording


class FakeCall:
    """Keeps what a backend does."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int | None, bool]] = []
        self.messages: list[tuple[int, Message]] = []
        self.on_frame: Callable[[int], None] = lambda number: None
        self.is_over = False
        self.id, self.loss_out = "call", 0.0
        self.request: str | None = None

    def now(self) -> float:
        return 0.0

    def send_opus(self, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> bool:
        self.sent.append((payload, timestamp, marker))
        return True

    def start_frames(self, on_frame: Callable[[int], None]) -> None:
        self.on_frame = on_frame

    def send_message(self, channel: int, message: Message) -> bool:
        self.messages.append((channel, message))
        return True

    def hang_up(self, *, lost: bool = False) -> None:
        self.is_over = True


MS_10, MS_20, MS_60 = b"\x00ten", b"\x08twenty", b"\x18sixty"
PACKET = OpusPacket(b"\xf8opus", 70_000, 12_345, True)


def play(packets: list[bytes], frames: int | list[int]) -> list[tuple[int, bytes, int | None]]:
    """(frame, payload, timestamp) of everything sent."""
    call = FakeCall()
    Player(call, make_recording(packets, "test"))
    found = []
    for frame in range(frames) if isinstance(frames, int) else frames:
        call.sent.clear()
        call.on_frame(frame)
        found += [(frame, payload, timestamp) for payload, timestamp, _ in call.sent]
    return found


def test_echo_returns_packets_and_messages_as_they_came() -> None:
    call = FakeCall()
    echo = find_backend("echo")(call)
    echo.on_opus(PACKET)
    echo.on_message(3, "chat", "hello")
    echo.on_close()
    assert call.sent == [(PACKET.payload, 12_345, True)]
    assert call.messages == [(3, "hello")]


def test_null_says_nothing_and_lets_the_client_be_silent_too() -> None:
    call = FakeCall()
    null = find_backend("null")(call)
    null.on_opus(PACKET)
    null.on_message(3, "chat", "hello")
    assert (call.sent, call.messages) == ([], [])
    assert null.wants_dtx


def test_a_recording_of_20_ms_packets_is_one_packet_a_frame_in_a_circle() -> None:
    packets = [b"\x08" + bytes([n]) for n in range(3)]
    assert play(packets, 7) == [(n, packets[n % 3], 960 * n) for n in range(7)]


def test_long_and_short_packets_go_out_when_their_own_length_says_so() -> None:
    assert play([MS_60], 7) == [(0, MS_60, 0), (3, MS_60, 2880), (6, MS_60, 5760)]
    assert play([MS_10, MS_10, MS_20], 4) == [
        (0, MS_10, 0),
        (1, MS_10, 480),
        (1, MS_20, 960),
        (2, MS_10, 1920),
        (3, MS_10, 2400),
        (3, MS_20, 2880),
    ]


def test_frames_that_the_clock_left_out_are_left_out_of_the_recording_too() -> None:
    packets = [b"\x08" + bytes([n]) for n in range(100)]
    assert play(packets, [0, 1, 50, 51]) == [(n, packets[n], 960 * n) for n in (0, 1, 50, 51)]


def test_the_tone_is_one_second_of_opus_that_decodes_to_its_pitch() -> None:
    call = FakeCall()
    tone = find_backend("tone")(call)
    for frame in range(150):
        call.on_frame(frame)
    assert tone.wants_dtx
    assert len(call.sent) == 150
    assert {opus_duration(payload) for payload, _, _ in call.sent} == {960}
    samples = decode([payload for payload, _, _ in call.sent])[48_000:96_000]
    crossings = sum(a < 0 <= b for a, b in pairwise(samples))
    assert abs(crossings - 440) <= 2
    assert 0.1 < max(samples) < 0.3


def decode(packets: list[bytes]) -> list[float]:
    """The first channel, -1 to 1, as PyAV decodes it."""
    from array import array

    import av

    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    samples: list[float] = []
    for payload in packets:
        for frame in decoder.decode(av.Packet(payload)):
            (plain,) = av.AudioResampler(format="flt", layout="mono", rate=48_000).resample(frame)
            samples += array("f", bytes(plain.planes[0]))[: plain.samples]
    return samples


def test_a_file_is_played_from_its_first_packet() -> None:
    call = FakeCall()
    find_backend(f"file:{SPEECH_FILE}")(call)
    for frame in range(10):
        call.on_frame(frame)
    packets = list(read_opus_packets(SPEECH_FILE))
    assert [payload for payload, _, _ in call.sent] == packets[:10]


@pytest.mark.parametrize(
    "name", ["", "parrots", "echo:", "echo:x", "tone:440", "null:", "ECHO", " echo", "ws:", "http://x/"]
)
def test_a_name_that_is_none_tells_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no backend") as caught:
        find_backend(name)
    assert caught.value.hint == (
        "the backends are: echo, file:PATH, null, parrot, pcm-echo, python:MODULE:NAME, tone,"
        " ws://… or wss://… (realtime), ws+pcm://… or wss+pcm://… (plain)"
    )
    assert caught.value.status is ExitStatus.CONFIG


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read .*: No such file"),
        (b"", "holds no Opus audio"),
        (b"RIFF" + bytes(100), "is not an Ogg file, or it is damaged"),
        (SPEECH_FILE.read_bytes()[:5000], "ends in the middle of a page"),
        (SPEECH_FILE.read_bytes().replace(b"OpusHead", b"vorbisxx"), "holds no Opus audio"),
    ],
    ids=["missing", "empty", "not Ogg", "cut off", "not Opus"],
)
def test_a_file_that_cannot_be_played_is_a_configuration_error(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "greeting.opus"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        find_backend(f"file:{path}")
    assert caught.value.status is ExitStatus.CONFIG
    assert str(path) in str(caught.value)
    assert "ffmpeg" in (caught.value.hint or "")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        find_backend(f"file:{tmp_path}")


def test_no_path_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="names no file"):
        find_backend("file:")


@pytest.mark.parametrize(
    ("packets", "words"),
    [
        ([], "holds no audio"),
        ([b"\x08ok", b""], r"not Opus \(packet 2\)"),
        ([b"\xfb\x3f"], r"not Opus \(packet 1\)"),
        ([b"\x08" + bytes(MAX_PACKET_BYTES)], f"expected at most {MAX_PACKET_BYTES}"),
    ],
    ids=["nothing", "an empty packet", "an absurd length", "too long for a datagram"],
)
def test_packets_that_cannot_be_played_are_a_configuration_error(packets: list[bytes], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_recording(packets, "the file")


class Parrot(BaseBackend):
    """A backend of the operator's own."""

    def __init__(self, call: Call) -> None:
        self.call = call


def test_a_backend_of_the_operators_own_is_found_by_module_and_name() -> None:
    assert isinstance(find_backend(f"python:{__name__}:Parrot")(FakeCall()), Parrot)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "no class or function"),
        ("json", "no class or function"),
        ("json:__name__", "no class or function"),
        ("json:parrot", "cannot load"),
        ("no.such.module:x", "cannot load"),
    ],
)
def test_a_backend_of_ones_own_that_is_not_there_is_a_configuration_error(path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_backend(f"python:{path}")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ws://", "names no host"),
        ("wss:///path", "names no host"),
        ("ws://host:0/", "names no host"),
        ("ws://host:99999/", "cannot be read"),
        ("ws://user:secret@host/", "a secret has no place"),
        ("ws+pcm://host/?rate=11025", "rate '11025' is not possible"),
    ],
)
def test_a_service_that_cannot_be_is_a_configuration_error(uri: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        find_backend(uri)
    assert "secret@" not in str(caught.value)


def test_a_services_token_is_read_from_its_file_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read token file"):
        find_backend("ws://host/", tmp_path / "token")
    (tmp_path / "token").write_text("0123456789abcdef0123\n")
    (tmp_path / "token").chmod(0o600)
    assert callable(find_backend("ws://host/", tmp_path / "token"))
