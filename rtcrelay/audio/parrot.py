"""A voice agent without a model: it waits until somebody has finished speaking, and has what they said."""

from __future__ import annotations

from collections import deque
from typing import Final

from rtcrelay.audio.detector import Turn, TurnDetector

MAX_SECONDS: Final = 30.0
"""Of one utterance; what is longer is answered in parts."""
_BEFORE_SECONDS: Final = 0.3
"""Kept from before speech is noticed, so that no first syllable is missing."""


class Parrot:
    """Listens to one voice."""

    def __init__(self, rate: int) -> None:
        self.utterance = b""
        """What was said last, from its beginning to a little after its end."""
        self._rate = rate
        self._detector = TurnDetector(rate)
        self._before: deque[bytes] = deque()
        self._kept = 0
        self._said = bytearray()

    @property
    def is_hearing(self) -> bool:
        """Whether somebody is speaking."""
        return self._detector.is_speaking

    def handle_pcm(self, pcm: bytes) -> Turn | None:
        """Listens on. At ``stopped``, `utterance` is what was said."""
        turn = self._detector.handle_pcm(pcm)
        if turn == "started":
            self._said = bytearray().join(self._before)
            self._before.clear()
            self._kept = 0
        if self._detector.is_speaking or turn == "stopped":
            self._said += pcm
        else:
            self._remember(pcm)
        if turn is None and len(self._said) >= MAX_SECONDS * self._rate * 2:
            self._detector = TurnDetector(self._rate)
            turn = "stopped"
        if turn == "stopped":
            self.utterance, self._said = bytes(self._said), bytearray()
        return turn

    def _remember(self, pcm: bytes) -> None:
        self._before.append(pcm)
        self._kept += len(pcm)
        while self._kept - len(self._before[0]) >= _BEFORE_SECONDS * self._rate * 2:
            self._kept -= len(self._before.popleft())
