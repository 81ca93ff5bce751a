"""What delay do samples add, mouth to ear, and what holes? ``python -m tests.bench.voice.delay``

A client says a short tone once a second, and, in another run, speaks without a pause; what leaves the server is
compared with the same packets passed on undecoded over a network without jitter. Beside it stock aiortc's own jitter
buffer and codec, over the same network: a hole is a time without a packet, of more than two frames.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from rtcrelay.audio.opus import Decoder
from rtcrelay.client.speech import speech_frames

from .paths import FRAME, RATE, Heard, Ours, Server, StockAiortc, arrivals, carry, packets_of

SAMPLES = RATE // 50
SECONDS = 60
PHASES = (0.0021, 0.0071, 0.0121, 0.0171)
"""Of our clock against the client's: nothing makes them agree."""
SCENES = ((0.0, 0.0), (0.01, 0.0), (0.05, 0.0), (0.0, 0.03), (0.01, 0.03), (0.05, 0.03))
"""(part lost, jitter in seconds, uniform)."""
HOLE_SECONDS = 2.5 * FRAME
_LOUD = 2500
_QUIET_FRAMES = 10


def tones() -> list[bytes]:
    """Frames: 100 ms of 440 Hz at the beginning of each second."""
    step = 2 * math.pi * 440 / RATE
    loud = [array("h", [round(9000 * math.sin(step * (n + k * SAMPLES))) for n in range(SAMPLES)]) for k in range(5)]
    second = [*(frame.tobytes() for frame in loud), *[bytes(2 * SAMPLES)] * 45]
    return second * SECONDS


def speech() -> list[bytes]:
    """A voice without its pauses: frames of the recording that are not quiet, again and again."""
    decoder = Decoder(RATE)
    frames = [decoder.decode(payload) for payload in speech_frames()]
    spoken = [frame for frame in frames if max(map(abs, memoryview(frame).cast("h"))) > _LOUD]
    return (spoken * (SECONDS * 50 // len(spoken) + 1))[: SECONDS * 50]


def onsets(heard: Heard) -> list[float]:
    """When each tone begins."""
    decoder, found, quiet = Decoder(RATE), list[float](), 100
    for at, packet in heard:
        samples = memoryview(decoder.decode(packet)).cast("h")
        first = next((n for n, sample in enumerate(samples) if abs(sample) > _LOUD), None)
        if first is None:
            quiet += 1
            continue
        if quiet > _QUIET_FRAMES:
            found.append(at + first / RATE)
        quiet = 0
    return found


def added(plain: Sequence[float], found: Sequence[float]) -> list[float]:
    """Milliseconds from each tone that was heard to when the passed-on one began, ascending."""
    return sorted(1000 * (at - max(each for each in plain if each <= at + 0.005)) for at in found)


def holes(heard: Heard) -> list[float]:
    """Milliseconds of each, ascending."""
    times = [at for at, _ in heard]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return sorted(1000 * step for step in steps if step > HOLE_SECONDS)


def measure(make: Sequence[Callable[[], Server]], lost: float, jitter: float) -> str:
    """One scene of one kind of server, as a row."""
    said, spoken = packets_of(tones(), lost), packets_of(speech(), lost)
    plain = onsets([(FRAME * n, packet.payload) for n, packet in enumerate(packets_of(tones(), 0.0))])
    delays = sorted(ms for each in make for ms in added(plain, onsets(carry(each(), arrivals(said, lost, jitter)))))
    gaps = sorted(gap for each in make for gap in holes(carry(each(), arrivals(spoken, lost, jitter))))
    minutes = len(make) * SECONDS / 60
    return (
        f"{len(delays):6} {median(delays):9.1f} {delays[int(0.95 * len(delays))]:7.1f} {delays[-1]:7.1f}"
        f" {len(gaps) / minutes:12.1f} {gaps[-1] if gaps else 0.0:12.1f}"
    )


def main() -> None:
    """Prints a table."""
    print("lost %  jitter ms  server         tones  added p50     p95     max  holes/minute  longest ms")
    for lost, jitter in SCENES:
        ours = [partial(Ours, phase, lost) for phase in PHASES]
        for name, make in (("ours", ours), ("stock aiortc", [StockAiortc])):
            print(f"{100 * lost:6g} {1000 * jitter:10g}  {name:12} {measure(make, lost, jitter)}", flush=True)


if __name__ == "__main__":
    main()
