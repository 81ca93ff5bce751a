"""What delay do samples add, mouth to ear? ``python -m tests.bench.voice.delay``

A client says a short tone once a second; the ear decodes it and the speaker says it at once, on a clock that is not
the client's, in virtual time: the figures are those of buffers and codecs, without a machine's own lateness. Compared
is the tone's beginning with that of the same packets passed on undecoded over the same network without jitter.
"""

from __future__ import annotations

import math
from array import array
from random import Random

from rtcrelay.audio.ear import Ear
from rtcrelay.audio.opus import Decoder, Encoder, Rate
from rtcrelay.audio.reorder import OpusPacket
from rtcrelay.audio.speaker import Speaker

RATE: Rate = 24_000
FRAME = 0.02
SAMPLES = 480
SECONDS = 120
SCENES = ((0.0, 0.0), (0.01, 0.0), (0.05, 0.0), (0.0, 0.03), (0.01, 0.03), (0.05, 0.03))
"""(part lost, jitter in seconds, uniform)."""


def tones() -> list[bytes]:
    """Frames: 100 ms of 440 Hz at the beginning of each second."""
    step = 2 * math.pi * 440 / RATE
    loud = [array("h", [round(9000 * math.sin(step * (n + k * SAMPLES))) for n in range(SAMPLES)]) for k in range(5)]
    second = [*(frame.tobytes() for frame in loud), *[bytes(2 * SAMPLES)] * 45]
    return second * SECONDS


def onsets(heard: list[tuple[float, bytes]]) -> list[float]:
    """When each tone begins; ``heard`` is when a packet is there, and the packet."""
    decoder, found, quiet = Decoder(RATE), list[float](), 100
    for at, packet in heard:
        samples = memoryview(decoder.decode(packet)).cast("h")
        first = next((n for n, sample in enumerate(samples) if abs(sample) > 2500), None)
        if first is None:
            quiet += 1
            continue
        if quiet > 10:
            found.append(at + first / RATE)
        quiet = 0
    return found


def run(packets: list[OpusPacket], lost: float, jitter: float) -> list[tuple[float, bytes]]:
    """What leaves, and when."""
    random, heard, now = Random(7), list[tuple[float, bytes]](), 0.0
    speaker = Speaker(lambda packet: heard.append((now, packet)), RATE, live=True)

    def say(pcm: bytes) -> None:
        speaker.play(pcm)

    ear = Ear(RATE, say)
    sent = [(FRAME * n + random.uniform(0, jitter), packet) for n, packet in enumerate(packets)]
    arrivals = sorted(each for each in sent if random.random() >= lost)
    phase, tick = 0.0137, 0
    for at, packet in arrivals:
        while phase + tick * FRAME <= at:
            now = phase + tick * FRAME
            tick += 1
            ear.handle_time(now)
            speaker.handle_frame(lost)
        now = at
        ear.handle_packet(packet, at)
    return heard


def main() -> None:
    """Prints a table."""
    encoder = Encoder(RATE, 32_000)
    packets = [OpusPacket(encoder.encode(frame), n, 960 * n & 0xFFFF_FFFF, False) for n, frame in enumerate(tones())]
    plain = onsets([(FRAME * n, packet.payload) for n, packet in enumerate(packets)])
    print("lost %  jitter ms  tones  added p50 ms  p95 ms  max ms")
    for lost, jitter in SCENES:
        found = onsets(run(packets, lost, jitter))
        added = sorted(1000 * (at - max(each for each in plain if each <= at + 0.005)) for at in found)
        p50, p95 = added[len(added) // 2], added[int(len(added) * 0.95)]
        print(f"{100 * lost:6g} {1000 * jitter:10g} {len(added):6} {p50:13.1f} {p95:7.1f} {added[-1]:7.1f}", flush=True)


if __name__ == "__main__":
    main()
