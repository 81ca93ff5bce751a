"""Telephony's eight-bit samples (ITU-T G.711): mu-law and A-law, to PCM16 and back."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Law: TypeAlias = Literal["pcmu", "pcma"]

RATE: Final = 8000
"""Samples per second."""


@dataclass(frozen=True, slots=True)
class _Tables:
    linear: tuple[int, ...]
    """PCM16 of each of the 256 codes."""
    code: bytes
    """Nearest code of each PCM16 value, from -32768 on, one for each 4 steps."""


def encode(law: Law, pcm: bytes) -> bytes:
    """PCM16 at 8 kHz as G.711."""
    code = _TABLES[law].code
    return bytes([code[(sample + 32768) >> 2] for sample in array("h", pcm)])


def decode(law: Law, data: bytes) -> bytes:
    """G.711 as PCM16 at 8 kHz."""
    linear = _TABLES[law].linear
    return array("h", [linear[code] for code in data]).tobytes()


def _mu_law(code: int) -> int:
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << (code >> 4 & 0x07)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _a_law(code: int) -> int:
    code ^= 0x55
    segment, low = code >> 4 & 0x07, (code & 0x0F) << 4
    magnitude = low + 8 if segment == 0 else (low + 0x108) << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


def _tables(expand: Callable[[int], int]) -> _Tables:
    linear = tuple(expand(code) for code in range(256))
    by_value = sorted((value, code) for code, value in enumerate(linear))
    codes, index = bytearray(), 0
    for sample in range(-32768 + 2, 32768, 4):
        while index + 1 < len(by_value) and abs(by_value[index + 1][0] - sample) <= abs(by_value[index][0] - sample):
            index += 1
        codes.append(by_value[index][1])
    return _Tables(linear, bytes(codes))


_TABLES: Final[dict[Law, _Tables]] = {"pcmu": _tables(_mu_law), "pcma": _tables(_a_law)}
