"""How does Opus become PCM, and PCM Opus? libopus itself, the library that PyAV brings or the system has.

PyAV's own decoder has no way to ask for in-band FEC or concealment, and its frames cost twice the time (measured:
48 us a frame, here 20 to 30). libopus resamples: a decoder or encoder runs at 8, 12, 16, 24 or 48 kHz, whatever the
other end uses. Calls run inline and release the GIL.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

from rtcrelay.errors import ConfigError

Rate: TypeAlias = Literal[8000, 12000, 16000, 24000, 48000]
"""Samples per second that libopus can give and take."""
FRAME_SECONDS: Final = 0.02
BYTES_PER_SAMPLE: Final = 2
_MAX_SECONDS: Final = 0.12
"""The longest Opus packet (RFC 6716 section 3.2)."""
_MAX_PACKET: Final = 1275
_VOIP: Final = 2048
_VOICE: Final = 3001
_SET_BITRATE, _SET_COMPLEXITY, _SET_FEC, _SET_LOSS, _SET_DTX, _SET_SIGNAL = 4002, 4010, 4012, 4014, 4016, 4024
_COMPLEXITY: Final = 5
"""Measured at 24 kHz and 32 kb/s: 90 us a frame; 10 takes twice as long and is not heard in speech."""


def frame_bytes(rate: int) -> int:
    """Of 20 ms of PCM."""
    return int(rate * FRAME_SECONDS) * BYTES_PER_SAMPLE


class Decoder:
    """One voice's decoder. What is no Opus is silence of the same length."""

    __slots__ = ("_decode", "_frame_bytes", "_limit", "_out", "_state", "rate")

    def __init__(self, rate: Rate) -> None:
        """Raises ConfigError if there is no libopus."""
        library = _library()
        self.rate = rate
        self._decode = library.opus_decode
        self._frame_bytes = frame_bytes(rate)
        self._limit = int(rate * _MAX_SECONDS)
        self._out = ctypes.create_string_buffer(self._limit * BYTES_PER_SAMPLE)
        self._state = ctypes.create_string_buffer(library.opus_decoder_get_size(1))
        _require(library.opus_decoder_init(self._state, rate, 1), "decoder")

    def decode(self, payload: bytes) -> bytes:
        """The PCM of a packet: 2.5 to 120 ms; empty if it is none."""
        return self._run(payload, self._limit, 0)

    def recover(self, following: bytes, samples: int) -> bytes:
        """The PCM of the packet lost just before this one, from the copy that in-band FEC put into it.

        ``samples``: how long the lost one was, a multiple of 2.5 ms. Without a copy it is concealed.
        """
        return self._run(following, samples, 1) or bytes(samples * BYTES_PER_SAMPLE)

    def conceal(self, samples: int) -> bytes:
        """What could have been said: the voice goes on and fades; after silence, its comfort noise."""
        return self._run(None, samples, 0) or bytes(samples * BYTES_PER_SAMPLE)

    def _run(self, payload: bytes | None, samples: int, fec: int) -> bytes:
        length = 0 if payload is None else len(payload)
        got = self._decode(self._state, payload, length, self._out, min(samples, self._limit), fec)
        return self._out.raw[: got * BYTES_PER_SAMPLE] if got > 0 else b""


class Encoder:
    """One voice's encoder, for frames of 20 ms."""

    __slots__ = ("_encode", "_frame_samples", "_library", "_loss", "_out", "_state", "rate")

    def __init__(self, rate: Rate, bit_rate: int) -> None:
        """``bit_rate`` in bits per second, 6000 to 510000. Raises ConfigError if there is no libopus."""
        library = self._library = _library()
        self.rate = rate
        self._encode = library.opus_encode
        self._frame_samples = int(rate * FRAME_SECONDS)
        self._loss = 0
        self._out = ctypes.create_string_buffer(_MAX_PACKET)
        self._state = ctypes.create_string_buffer(library.opus_encoder_get_size(1))
        _require(library.opus_encoder_init(self._state, rate, 1, _VOIP), "encoder")
        for setting, value in (
            (_SET_BITRATE, bit_rate),
            (_SET_COMPLEXITY, _COMPLEXITY),
            (_SET_SIGNAL, _VOICE),
            (_SET_DTX, 1),
            (_SET_FEC, 1),
        ):
            _require(library.opus_encoder_ctl(self._state, setting, ctypes.c_int(value)), "encoder")

    def encode(self, pcm: bytes) -> bytes:
        """One frame as a packet; one or two bytes say that there is silence (RFC 6716 section 2.1.9)."""
        got = self._encode(self._state, pcm, self._frame_samples, self._out, _MAX_PACKET)
        return self._out.raw[:got] if got > 0 else b""

    def expect_loss(self, fraction: float) -> None:
        """How much of what is sent gets lost, 0 to 1: the more, the better are the copies of in-band FEC."""
        percent = min(30, round(100 * fraction))
        if percent != self._loss:
            self._loss = percent
            self._library.opus_encoder_ctl(self._state, _SET_LOSS, ctypes.c_int(percent))


def require_opus() -> None:
    """Raises ConfigError if there is no libopus: to be asked at the start, not in the first call."""
    _library()


@cache
def _library() -> ctypes.CDLL:
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return _with_types(library)
    raise ConfigError("there is no libopus, which this backend needs", hint="apt-get install libopus0")


def _candidates() -> Iterator[str]:
    """PyAV's wheel has one, which is newer than most systems'; then the system's."""
    spec = importlib.util.find_spec("av")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for folder in (package.with_name("av.libs"), package / ".dylibs"):
            yield from (str(path) for path in sorted(folder.glob("libopus[-.]*")))
    yield "libopus.0.dylib" if sys.platform == "darwin" else "libopus.so.0"


def _with_types(library: ctypes.CDLL) -> ctypes.CDLL:
    state, data, number = ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int
    for name, arguments in (
        ("opus_decoder_get_size", [number]),
        ("opus_decoder_init", [state, number, number]),
        ("opus_decode", [state, data, number, ctypes.c_char_p, number, number]),
        ("opus_encoder_get_size", [number]),
        ("opus_encoder_init", [state, number, number, number]),
        ("opus_encode", [state, data, number, ctypes.c_char_p, number]),
        ("opus_encoder_ctl", [state, number]),  # and one more of C's variable arguments
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, number
    return library


def _require(status: int, what: str) -> None:
    if status != 0:
        raise ConfigError(f"libopus makes no such {what} (its error {status})")
