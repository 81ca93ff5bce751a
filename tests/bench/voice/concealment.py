"""How much of a voice survives loss? ``python -m tests.bench.voice.concealment``

A recorded voice is encoded for the loss that its sender knows of, packets are lost at random, and what is heard is
judged against the recording: by PESQ (ITU-T P.862.2, wide band, 1.0 to 4.6; the package ``pesq``, of the extra
``bench``), and by the energy of the error in the lost frames where somebody spoke. With in-band FEC, as the ear does;
with concealment alone; with silence instead; and by stock aiortc's jitter buffer and decoder.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from statistics import fmean
from typing import Any

from rtcrelay.audio.ear import Ear
from rtcrelay.audio.opus import Decoder, Encoder, Rate, frame_bytes
from rtcrelay.audio.reorder import OpusPacket
from rtcrelay.client.speech import speech_frames

from .paths import FRAME, StockAiortc, arrivals, carry

RATE: Rate = 16_000
SIZE = frame_bytes(RATE)
LOSSES = (0.0, 0.01, 0.05, 0.10)
_SPOKEN = 2000
Hear = Callable[[Sequence[tuple[float, OpusPacket]], int], bytes]
"""From what arrives, and how many frames there were, to PCM."""


class _Concealing:
    """A decoder that knows no FEC."""

    def __init__(self, decoder: Decoder) -> None:
        self.decode, self.conceal, self.rate = decoder.decode, decoder.conceal, decoder.rate

    def recover(self, following: bytes, samples: int) -> bytes:
        return self.conceal(samples)


class _Silent(_Concealing):
    """One that makes nothing up either."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self.conceal = lambda samples: bytes(2 * samples)


def by_ear(decoder: Callable[[Decoder], Any] | None) -> Hear:
    """With the ear, and with another decoder in it."""

    def hear(came: Sequence[tuple[float, OpusPacket]], count: int) -> bytes:
        pcm = bytearray()
        ear = Ear(RATE, pcm.extend)
        if decoder is not None:
            ear._decoder = decoder(ear._decoder)
        for at, packet in came:
            ear.handle_packet(packet, at)
        return bytes(pcm[: count * SIZE]).ljust(count * SIZE, b"\0")

    return hear


def by_stock_aiortc(came: Sequence[tuple[float, OpusPacket]], count: int) -> bytes:
    """As a client without concealment hears it: silence where nothing comes."""
    heard, decoder = carry(StockAiortc(), came), Decoder(RATE)
    pcm = bytearray(count * SIZE)
    for at, payload in heard:
        place = round((at - heard[0][0]) / FRAME) * SIZE
        pcm[place : place + SIZE] = decoder.decode(payload)
    return bytes(pcm[: count * SIZE])


TREATMENTS: dict[str, Hear] = {
    "FEC": by_ear(None),
    "concealment": by_ear(_Concealing),
    "silence": by_ear(_Silent),
    "stock aiortc": by_stock_aiortc,
}


def error_db(whole: bytes, heard: bytes, lost: Sequence[int]) -> float | None:
    """Energy of the error over that of the voice, in the frames that were lost and spoken; None without such."""
    parts = []
    for number in lost:
        wanted = memoryview(whole)[number * SIZE : (number + 1) * SIZE].cast("h")
        got = memoryview(heard)[number * SIZE : (number + 1) * SIZE].cast("h")
        if max(map(abs, wanted)) > _SPOKEN:
            parts.append(sum((x - y) ** 2 for x, y in zip(wanted, got, strict=True)) / sum(x * x for x in wanted))
    return 10 * math.log10(max(1e-9, fmean(parts))) if parts else None


def find_judge() -> Callable[[bytes, bytes], float] | None:
    """PESQ of two pieces of PCM; None if it is not installed."""
    try:
        pesq, numpy = import_module("pesq"), import_module("numpy")
    except ImportError:
        return None
    return lambda wanted, heard: float(
        pesq.pesq(RATE, numpy.frombuffer(wanted, "<i2"), numpy.frombuffer(heard, "<i2"), "wb")
    )


def row(lost: float, hear: Hear, trials: int, judge: Callable[[bytes, bytes], float] | None) -> tuple[str, str]:
    """(PESQ, error) over so many losses at random."""
    decoder, encoder = Decoder(RATE), Encoder(RATE, 32_000)
    frames = [decoder.decode(payload) for payload in speech_frames()]
    encoder.expect_loss(lost)
    packets = [OpusPacket(encoder.encode(frame), n, 960 * n, False) for n, frame in enumerate(frames)]
    whole = hear([(FRAME * n, packet) for n, packet in enumerate(packets)], len(frames))
    scores, errors = [], []
    for seed in range(trials if lost else 1):
        came = arrivals(packets[1:], lost, 0.0, seed)
        came.insert(0, (-FRAME, packets[0]))  # a voice begins with its first packet
        heard = hear(came, len(frames))
        kept = {packet.sequence for _, packet in came}
        if judge is not None:
            scores.append(judge(b"".join(frames), heard))
        error = error_db(whole, heard, [n for n in range(len(frames)) if n not in kept])
        errors += [error] if error is not None else []
    return f"{fmean(scores):.2f}" if scores else "-", f"{fmean(errors):.1f}" if errors else "-"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.voice.concealment", description=__doc__)
    parser.add_argument("--trials", type=int, default=8, help="random losses for each figure [8]")
    trials: int = parser.parse_args().trials
    judge = find_judge()
    if judge is None:
        print("no PESQ: pip install 'rtcrelay[bench]'", file=sys.stderr)
    print(f"lost %  {'':14}  PESQ  error dB")
    for lost in LOSSES:
        for name, hear in TREATMENTS.items():
            score, error = row(lost, hear, trials, judge)
            print(f"{100 * lost:6g}  {name:14} {score:>5} {error:>9}", flush=True)


if __name__ == "__main__":
    main()
