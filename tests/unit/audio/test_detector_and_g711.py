"""Turns of a voice, and telephony's samples."""

from __future__ import annotations

from array import array
from random import Random

import pytest

from rtcrelay.audio import g711
from rtcrelay.audio.detector import TurnDetector
from rtcrelay.audio.g711 import Law

from .voice import speech


def test_an_utterance_starts_and_stops_once() -> None:
    """A word, silence, a word, after noise that is not speech."""
    random, detector = Random(7), TurnDetector(24_000)
    noise = [array("h", [random.randrange(-100, 100) for _ in range(480)]).tobytes() for _ in range(50)]
    word = list(speech(24_000)[20:70])
    found = []
    for n, pcm in enumerate([*noise, *word, *noise, *word, *noise]):
        turn = detector.handle_pcm(pcm)
        if turn is not None:
            found.append((turn, n))
    assert [turn for turn, _ in found] == ["started", "stopped", "started", "stopped"]
    assert 50 <= found[0][1] < 60
    assert 100 <= found[1][1] <= 130


def test_a_click_is_no_utterance() -> None:
    detector = TurnDetector(24_000)
    for n in range(200):
        assert detector.handle_pcm(b"\x00\x40" * 480 if n % 40 == 20 else bytes(960)) is None


def test_loud_noise_that_stays_becomes_the_rooms_own() -> None:
    random, detector = Random(7), TurnDetector(8000)
    noise = [array("h", [random.randrange(-400, 400) for _ in range(160)]).tobytes() for _ in range(20)]
    for n in range(1000):
        detector.handle_pcm(noise[n % 20])
    assert not detector.is_speaking


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_every_code_of_g711_is_its_own_nearest(law: Law) -> None:
    codes = bytes(range(256))
    again = g711.encode(law, g711.decode(law, codes))
    assert g711.decode(law, again) == g711.decode(law, codes)  # mu-law has a plus and a minus zero


# Table 2a and 1a of ITU-T G.711 give the decision values; these are the ends and the middle of the scale.
@pytest.mark.parametrize(
    ("law", "code", "linear"),
    [
        ("pcmu", 0x00, -32124), ("pcmu", 0x80, 32124), ("pcmu", 0xFF, 0), ("pcmu", 0xF0, 120),
        ("pcma", 0x2A, -32256), ("pcma", 0xAA, 32256), ("pcma", 0xD5, 8), ("pcma", 0x55, -8),
    ],
)  # fmt: skip
def test_g711_has_the_recommendations_values(law: Law, code: int, linear: int) -> None:
    assert array("h", g711.decode(law, bytes([code])))[0] == linear


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_a_voice_survives_g711(law: Law) -> None:
    pcm = b"".join(speech(8000))
    back = g711.decode(law, g711.encode(law, pcm))
    a, b = array("h", pcm), array("h", back)
    noise = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    assert sum(x * x for x in a) / noise > 1000  # 30 dB
