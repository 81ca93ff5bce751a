"""A client's voice as unbroken PCM: loss, silence, reordering, rubbish, and an hour with another clock."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay.audio.ear import Ear
from rtcrelay.audio.opus import Rate, frame_bytes
from rtcrelay.audio.reorder import OpusPacket

from .voice import FRAME, frames_of, levels, packets, speech

RATE: Rate = 24_000
SIZE = frame_bytes(RATE)


class Hearing:
    """An ear, and the clock that it is called by."""

    def __init__(self, rate: Rate = RATE) -> None:
        self.pcm = bytearray()
        self.ear = Ear(rate, self._on_pcm)

    def _on_pcm(self, pcm: bytes) -> None:
        self.pcm += pcm

    def run(self, arrivals: Iterable[tuple[float, OpusPacket]], until: float = 0.0) -> Hearing:
        """Packets at their times, and a frame of the clock every 20 ms."""
        tick = 0.0
        for at, packet in arrivals:
            while tick <= at:
                self.ear.handle_time(tick)
                tick += FRAME
            self.ear.handle_packet(packet, at)
        while tick <= until:
            self.ear.handle_time(tick)
            tick += FRAME
        return self


def steady(numbered: Iterable[OpusPacket], period: float = FRAME) -> list[tuple[float, OpusPacket]]:
    """Each packet when it was sent, 5 ms later."""
    return [(0.005 + period * n, packet) for n, packet in enumerate(numbered)]


@pytest.mark.parametrize("rate", [8000, 12_000, 16_000, 24_000, 48_000])
def test_a_voice_is_heard_at_the_wanted_rate_and_as_long_as_it_was(rate: Rate) -> None:
    hearing = Hearing(rate).run(steady(packets()))
    assert len(hearing.pcm) == len(packets()) * frame_bytes(rate)
    told, heard = levels(b"".join(speech(rate)), rate), levels(bytes(hearing.pcm), rate)
    assert correlation(told, heard) > 0.9
    assert hearing.ear.concealed_frames == hearing.ear.silent_frames == 0


def test_a_packet_is_heard_when_it_comes_and_not_a_frame_later() -> None:
    hearing = Hearing()
    for count, (at, packet) in enumerate(steady(packets()[:50]), 1):
        hearing.ear.handle_packet(packet, at)
        assert len(hearing.pcm) == count * SIZE


def test_lost_packets_are_replaced_and_time_stays_right() -> None:
    kept = [each for n, each in enumerate(steady(packets())) if n % 10 != 4]
    hearing = Hearing().run(kept)
    assert len(hearing.pcm) == len(packets()) * SIZE
    assert hearing.ear.lost_packets == hearing.ear.recovered_packets == len(packets()) - len(kept)


def test_in_band_fec_brings_back_lost_speech_that_concealment_only_guesses() -> None:
    """Segmental signal-to-noise of the lost frames against what is heard without loss."""
    lost = {n for n in range(len(packets(0.2))) if n % 7 == 3}
    whole = frames_of(bytes(Hearing().run(steady(packets(0.2))).pcm), RATE)
    heard = Hearing().run([each for n, each in enumerate(steady(packets(0.2))) if n not in lost])
    spectral = [distance(whole[n], frames_of(bytes(heard.pcm), RATE)[n]) for n in lost if loud(whole[n])]
    without = Hearing().run([each for n, each in enumerate(steady(packets(0.0))) if n not in lost])
    plain = frames_of(bytes(Hearing().run(steady(packets(0.0))).pcm), RATE)
    guessed = [distance(plain[n], frames_of(bytes(without.pcm), RATE)[n]) for n in lost if loud(plain[n])]
    assert len(spectral) > 20
    assert sum(spectral) / len(spectral) < 0.5 * sum(guessed) / len(guessed)


def test_five_percent_loss_leaves_no_hole_in_the_voice() -> None:
    random = Random(1)
    lost = {n for n in range(len(packets(0.05))) if random.random() < 0.05}
    whole = levels(bytes(Hearing().run(steady(packets(0.05))).pcm), RATE)
    heard = Hearing().run([each for n, each in enumerate(steady(packets(0.05))) if n not in lost])
    found = levels(bytes(heard.pcm), RATE)
    spoken = [n for n in lost if whole[n] > 1000]
    assert len(spoken) >= 5
    alone = [n for n in spoken if not {n - 1, n + 1} & lost]
    assert len(alone) >= 4
    assert all(found[n] > 0.5 * whole[n] for n in alone)
    assert all(found[n] > 0.05 * whole[n] for n in spoken)


def test_a_client_that_sends_nothing_in_silence_is_heard_as_silent_for_as_long_as_that_took() -> None:
    """DTX: ten frames of speech, two seconds of nothing, speech again."""
    first, second = (
        packets()[20:30],
        [OpusPacket(p.payload, p.sequence - 100, p.timestamp, True) for p in packets()[130:140]],
    )
    arrivals = steady(first) + [(at + 2.2, packet) for at, packet in steady(second)]
    hearing = Hearing().run(arrivals)
    assert len(hearing.pcm) == (10 + 100 + 10) * SIZE
    found = levels(bytes(hearing.pcm), RATE)
    assert max(found[20:108]) == 0
    assert hearing.ear.lost_packets == 0


def test_silence_is_told_while_it_lasts_and_not_when_it_is_over() -> None:
    hearing = Hearing().run(steady(packets()[:10]), until=2.0)
    assert 1.9 < len(hearing.pcm) / SIZE * FRAME <= 2.0


def test_an_outage_is_filled_up_and_what_was_only_late_is_heard_all_the_same() -> None:
    """Half a second of packets comes at once, after it."""
    arrivals = [(at if not 50 <= n < 75 else 1.505, packet) for n, (at, packet) in enumerate(steady(packets()[:200]))]
    hearing = Hearing().run(arrivals)
    spoken = sum(level > 0 for level in levels(bytes(hearing.pcm), RATE))
    assert spoken >= sum(level > 0 for level in levels(bytes(Hearing().run(steady(packets()[:200])).pcm), RATE))
    assert hearing.ear.lost_packets == 0


def test_packets_out_of_order_are_heard_in_order_once_that_has_happened() -> None:
    arrivals = steady(packets())
    for n in range(10, len(arrivals) - 1, 10):
        (_, first), (late, second) = arrivals[n], arrivals[n + 1]
        arrivals[n], arrivals[n + 1] = (late, second), (late + 0.001, first)
    hearing = Hearing().run(arrivals)
    assert hearing.ear.late_packets <= 1
    assert hearing.ear.lost_packets <= 1
    assert len(hearing.pcm) == len(packets()) * SIZE


@pytest.mark.parametrize("ppm", [-100, 100])
def test_an_hour_with_another_clock_has_no_glitch_and_nothing_grows(ppm: int) -> None:
    """180,000 packets of a client whose clock is wrong: each is heard once, at once, and nothing is made up."""
    hearing = Hearing(8000)
    count, source = 180_000, packets()
    period = FRAME * (1 + ppm / 1e6)
    heard, random = 0, Random(ppm)

    def on_pcm(pcm: bytes) -> None:
        nonlocal heard
        heard += len(pcm)

    hearing.ear._on_pcm = on_pcm
    ticks = 0
    for n in range(count):
        at = period * n + random.uniform(0, 0.008)
        while ticks * FRAME <= at:
            hearing.ear.handle_time(ticks * FRAME)
            ticks += 1
        payload = source[n % len(source)].payload if n % 20 == 0 else b"\x08\xff\xfe"
        hearing.ear.handle_packet(OpusPacket(payload, n, 960 * n & 0xFFFF_FFFF, False), at)
    ear = hearing.ear
    assert (ear.concealed_frames, ear.silent_frames, ear.lost_packets, ear.late_packets) == (0, 0, 0, 0)
    assert heard == count * frame_bytes(8000)
    assert ear.waits_frames == 0


def test_packets_of_60_ms_are_heard_without_made_up_frames() -> None:
    payload = bytes([0x18]) + packets()[40].payload[1:]  # SILK narrow band, 60 ms
    numbered = [OpusPacket(payload, n, 2880 * n, False) for n in range(50)]
    hearing = Hearing().run([(0.06 * n, packet) for n, packet in enumerate(numbered)])
    assert len(hearing.pcm) == 50 * 3 * SIZE
    assert hearing.ear.silent_frames == hearing.ear.concealed_frames == 0


@given(
    st.lists(
        st.tuples(st.binary(max_size=200), st.integers(0, 2**20), st.integers(0, 2**32 - 1), st.floats(0, 0.2)),
        max_size=40,
    )
)
def test_rubbish_never_raises_and_makes_at_most_a_second_of_sound_for_each_packet(
    found: list[tuple[bytes, int, int, float]],
) -> None:
    hearing = Hearing(8000)
    now = 0.0
    for payload, sequence, timestamp, step in found:
        now += step
        hearing.ear.handle_time(now)
        hearing.ear.handle_packet(OpusPacket(payload, sequence, timestamp, False), now)
    assert len(hearing.pcm) <= len(found) * (8000 * 2) * 1.2


def correlation(first: list[float], second: list[float]) -> float:
    best = 0.0
    for shift in range(3):
        a, b = first[: len(first) - shift], second[shift:]
        mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
        top = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
        bottom = math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))
        best = max(best, top / bottom)
    return best


def samples(pcm: bytes) -> list[int]:
    return list(memoryview(pcm).cast("h"))


def loud(pcm: bytes) -> bool:
    return max(map(abs, samples(pcm))) > 2000


def distance(wanted: bytes, heard: bytes) -> float:
    """Energy of the error over energy of the voice."""
    a, b = samples(wanted), samples(heard)
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / max(1, sum(x * x for x in a))
