"""The sender keeps 50 packets a second, also when its timer does not."""

from __future__ import annotations

import pytest

from rtcrelay.client.voice import BURST_PACKETS, FRAME_SAMPLES, Voice
from rtcrelay.rtc.rtp import RtpPacket, read_rtp

SSRC = 0x1234_5678
FRAMES = (b"one", b"two", b"three")


def packets(sent: list[tuple[bytes, bytes]]) -> list[RtpPacket]:
    read = [read_rtp(packet) for _, packet in sent]
    assert None not in read
    return [packet for packet in read if packet]


def test_nothing_is_due_before_the_start_and_after_the_stop() -> None:
    voice = Voice(FRAMES, 111, SSRC)
    assert voice.handle_timer(5.0) == []
    assert voice.poll_timeout() is None
    voice.start(5.0)
    voice.stop()
    assert voice.handle_timer(6.0) == []


def test_a_frame_is_due_every_twenty_milliseconds() -> None:
    voice = Voice(FRAMES, 111, SSRC)
    voice.start(1.0)
    sent = []
    for _ in range(50):
        due = voice.poll_timeout()
        assert due is not None
        now = voice.handle_timer(due)
        assert len(now) == 1
        assert voice.handle_timer(due + 0.01) == []
        sent += now
    assert voice.poll_timeout() == pytest.approx(2.0)
    assert [payload for payload, _ in sent[:4]] == [b"one", b"two", b"three", b"one"]


def test_packets_are_numbered_and_stamped_without_a_hole() -> None:
    voice = Voice(FRAMES, 96, SSRC)
    voice.start(0.0)
    first, *rest = packets([sent for step in range(20) for sent in voice.handle_timer(step * 0.02)])
    assert (first.payload_type, first.marker) == (96, True)
    for number, packet in enumerate(rest, 1):
        assert packet.ssrc == SSRC
        assert (packet.sequence - first.sequence) % 2**16 == number
        assert (packet.timestamp - first.timestamp) % 2**32 == number * FRAME_SAMPLES
        assert not packet.marker


def test_a_late_timer_is_made_up_for() -> None:
    voice = Voice(FRAMES, 111, SSRC)
    voice.start(0.0)
    assert len(voice.handle_timer(0.09)) == 5
    assert voice.skipped == 0


def test_frames_that_are_far_too_late_are_skipped_in_time_but_not_in_sequence() -> None:
    voice = Voice(FRAMES, 111, SSRC)
    voice.start(0.0)
    [before] = packets(voice.handle_timer(0.0))
    late = packets(voice.handle_timer(2.0))
    assert len(late) == BURST_PACKETS
    assert voice.skipped == 90
    assert (late[0].sequence - before.sequence) % 2**16 == 1
    assert (late[0].timestamp - before.timestamp) % 2**32 == 91 * FRAME_SAMPLES


def test_a_pause_shows_in_the_timestamps_and_not_in_the_sequence_numbers() -> None:
    voice = Voice(FRAMES, 111, SSRC)
    voice.start(0.0)
    [before] = packets(voice.handle_timer(0.0))
    voice.mute(True, 0.01)
    assert voice.poll_timeout() is None
    assert voice.handle_timer(1.0) == []
    voice.mute(False, 1.0)
    assert voice.poll_timeout() == pytest.approx(1.0)
    [after] = packets(voice.handle_timer(1.0))
    assert (after.sequence - before.sequence) % 2**16 == 1
    assert (after.timestamp - before.timestamp) % 2**32 == 50 * FRAME_SAMPLES
    assert voice.skipped == 0
