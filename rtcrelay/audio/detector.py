"""When does somebody speak, and when have they finished? Voice activity by energy over the room's own noise.

Good enough to take turns with the parrot; a product's model has a better one of its own.
"""

from __future__ import annotations

import math
from array import array
from operator import mul
from typing import Final, Literal, TypeAlias

Turn: TypeAlias = Literal["started", "stopped"]

MIN_LOUDNESS: Final = 300.0
"""Root mean square of PCM16, -41 dBFS: quieter is never speech."""
_OVER_NOISE: Final = 3.0
"""10 dB."""
_START_SECONDS: Final = 0.06
"""Of loud sound: shorter is a click."""
_STRIDE: Final = 3
"""One sample in so many is looked at: energy needs no anti-aliasing."""


def loudness(pcm: bytes) -> float:
    """Root mean square of PCM16, 0 to 32768."""
    samples = array("h", pcm)[::_STRIDE]
    return math.sqrt(sum(map(mul, samples, samples)) / len(samples)) if samples else 0.0


class TurnDetector:
    """Takes PCM and tells turns."""

    def __init__(self, rate: int, *, stop_seconds: float = 0.5) -> None:
        """``stop_seconds``: of silence after which an utterance is over."""
        self.is_speaking = False
        """Whether somebody is speaking."""
        self._rate, self._stop_seconds = rate, stop_seconds
        self._noise = MIN_LOUDNESS / _OVER_NOISE
        self._loud = self._quiet = 0.0

    def handle_pcm(self, pcm: bytes) -> Turn | None:
        """Listens on; returns what changed."""
        seconds = len(pcm) / 2 / self._rate
        level = loudness(pcm)
        if level > max(MIN_LOUDNESS, _OVER_NOISE * self._noise):
            self._loud += seconds
            self._quiet = 0.0
        else:
            self._quiet += seconds
            if self._quiet > _START_SECONDS:
                self._loud = 0.0
            self._noise += (level - self._noise) * min(1.0, seconds)
        if not self.is_speaking and self._loud >= _START_SECONDS:
            self.is_speaking = True
            return "started"
        if self.is_speaking and self._quiet >= self._stop_seconds:
            self.is_speaking = False
            return "stopped"
        return None
