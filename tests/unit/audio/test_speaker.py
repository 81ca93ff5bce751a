"""PCM in bursts becomes voice at its own pace; silence comes at once."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rtcrelay.audio.opus import Decoder, Rate, frame_bytes
from rtcrelay.audio.speaker import MAX_SECONDS, Speaker

from .voice import levels, speech

RATE: Rate = 24_000
SIZE = frame_bytes(RATE)


class Room:
    """A speaker and what is heard of it."""

    def __init__(self, *, live: bool = False) -> None:
        self.packets: list[bytes] = []
        self.speaker = Speaker(self.packets.append, RATE, live=live)

    def tick(self, frames: int = 1) -> int:
        """Lets time pass; returns how many packets left."""
        before = len(self.packets)
        for _ in range(frames):
            self.speaker.handle_frame()
        return len(self.packets) - before

    def heard(self) -> list[float]:
        """Loudness of each packet as a client decodes it."""
        decoder = Decoder(RATE)
        return levels(b"".join(decoder.decode(packet) for packet in self.packets), RATE)


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_burst_leaves_one_packet_a_frame_and_ends_in_silence(room: Room) -> None:
    assert room.speaker.play(b"".join(speech(RATE)))
    count = len(speech(RATE))
    for left in range(count, 0, -1):
        assert room.speaker.queued_samples == left * 480
        assert room.tick() == 1
    assert not room.speaker.is_playing
    assert room.speaker.played_samples == count * 480
    tail = room.tick(100)
    assert 0 < tail <= 14
    assert len(room.packets[-1]) <= 2 or tail >= 12
    assert room.tick(100) == 0
    assert max(room.heard()[-8:]) < 50
    assert max(room.heard()) > 3000


def test_clear_is_heard_in_the_next_packet_and_tells_what_was_played(room: Room) -> None:
    loud = speech(RATE)[20:60]
    room.speaker.play(b"".join(loud))
    room.tick(25)
    assert room.speaker.clear() == 15 * 480
    assert room.speaker.played_samples == 25 * 480
    assert not room.speaker.is_playing
    room.tick(3)
    heard = room.heard()
    assert max(heard[15:25]) > 500
    assert heard[26] < 200  # -44 dBFS; the codec's own delay is 6.5 ms, a third of the frame before
    assert heard[27] < 50
    assert room.speaker.clear() == 0


def test_what_comes_after_clear_is_played(room: Room) -> None:
    room.speaker.play(bytes(SIZE * 10))
    room.tick(2)
    room.speaker.clear()
    room.speaker.play(b"".join(speech(RATE)[20:30]))
    assert room.tick(10) == 10
    assert room.speaker.played_samples == 12 * 480


def test_more_than_two_minutes_are_not_kept(room: Room) -> None:
    second = bytes(SIZE * 50)
    assert all(room.speaker.play(second) for _ in range(int(MAX_SECONDS)))
    assert not room.speaker.play(b"\x00\x00")
    assert not room.speaker.has_room(1)
    room.tick()
    assert room.speaker.play(bytes(SIZE))
    assert not room.speaker.play(b"\x00\x00")


def test_a_frame_that_is_a_little_late_is_left_to_the_clients_jitter_buffer(room: Room) -> None:
    """No packet of silence is put into the middle of a word."""
    voice = speech(RATE)[20:40]
    sent = []
    for n, frame in enumerate(voice):
        if n % 5 != 4:
            room.speaker.play(frame)
        sent.append(room.tick())
        if n % 5 == 4:
            room.speaker.play(frame)
    assert sent.count(0) == 1
    assert sum(sent) == 19
    assert min(room.heard()[2:]) > 0


def test_the_end_of_a_frame_that_never_comes_is_silence(room: Room) -> None:
    room.speaker.play(bytes(SIZE // 2))
    assert room.tick() == 0
    assert room.tick() == 1
    assert room.speaker.played_samples == 240


def test_half_a_sample_is_an_error(room: Room) -> None:
    with pytest.raises(ValueError, match="3 bytes are no PCM"):
        room.speaker.play(b"abc")


def test_reported_loss_makes_the_encoder_send_copies() -> None:
    """In-band FEC: the same voice costs more, or says so in the packets, when the client reports loss."""
    from rtcrelay.audio.ear import Ear
    from rtcrelay.audio.reorder import OpusPacket

    errors = []
    for loss in (0.0, 0.25):
        sent: list[bytes] = []
        speaker = Speaker(sent.append, RATE)
        speaker.play(b"".join(speech(RATE)))
        for _ in range(len(speech(RATE))):
            speaker.handle_frame(loss)
        lost = {n for n in range(len(sent)) if n % 6 == 5}
        whole, holed = bytearray(), bytearray()
        for pcm, missing in ((whole, set[int]()), (holed, lost)):
            ear = Ear(RATE, pcm.extend)
            for n, payload in enumerate(sent):
                if n not in missing:
                    ear.handle_packet(OpusPacket(payload, n, 960 * n, False), 0.02 * n)
        a, b = memoryview(bytes(whole)).cast("h"), memoryview(bytes(holed)).cast("h")
        errors.append(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    assert errors[1] < 0.7 * errors[0]


def test_silence_that_comes_late_in_a_burst_does_not_hold_up_a_live_word() -> None:
    """The end of a client's pause comes together with its next word."""
    for live, waits in ((True, 0), (False, 3)):
        room = Room(live=live)
        room.speaker.play(bytes(3 * SIZE) + speech(RATE)[30])
        room.tick(1)
        assert room.speaker.queued_samples == waits * 480
        assert room.speaker.left_out_frames == 3 - waits


def test_silence_with_nothing_behind_it_is_said() -> None:
    room = Room(live=True)
    room.speaker.play(bytes(SIZE))
    assert room.tick(1) == 1
    assert room.speaker.left_out_frames == 0


@pytest.mark.parametrize("ppm", [-100, 100])
def test_a_live_source_with_another_clock_plays_for_an_hour_without_growing(
    monkeypatch: pytest.MonkeyPatch, ppm: int
) -> None:
    """A microphone's frames, quiet three seconds in ten, encoded by nothing."""
    monkeypatch.setattr("rtcrelay.audio.opus.Encoder.encode", lambda self, pcm: b"\xf8x" if any(pcm) else b"\xf8")
    room = Room(live=True)
    loud, quiet = b"\x00\x20" * 480, bytes(SIZE)
    period = 1 + ppm / 1e6
    made, deepest, left_out_at = 0, 0, []
    for tick in range(180_000):
        while made * period <= tick:
            room.speaker.play(quiet if made % 500 >= 350 else loud)
            made += 1
        before = room.speaker.left_out_frames
        room.speaker.handle_frame()
        if room.speaker.left_out_frames > before:
            left_out_at.append(tick)
        deepest = max(deepest, room.speaker.queued_samples // 480)
    assert deepest <= 4
    assert all(after - before > 100 for before, after in pairwise(left_out_at))
    if ppm < 0:
        assert 10 <= room.speaker.left_out_frames <= 18  # 0.36 s of 20 ms, less what is kept
    else:
        assert room.speaker.left_out_frames == 0
