"""Minutes of a call in virtual time, over roll-overs and pauses, with a client whose clock is wrong.

``python -m tests.bench.voice.hour`` is the same for an hour.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .long_call import FIRST_SEQUENCE, LongCall

FRAME_MS = 20.0


@pytest.mark.parametrize("ppm", [-100, 100])
def test_a_voice_passes_as_samples_without_glitch_or_growth_whatever_the_clients_clock(
    ppm: int, tmp_path: Path
) -> None:
    call = LongCall(tmp_path, ppm)
    first, second = call.pass_minutes(1), call.pass_minutes(1)
    assert call.turns == 12
    assert FIRST_SEQUENCE + call.sent > 0xFFFF + 1000
    assert (first.glitches, second.glitches) == (0, 0)
    # One wait for the frame clock, and nothing more after it has slid by.
    assert min(first.delays_ms + second.delays_ms) >= 0
    assert max(first.delays_ms + second.delays_ms) < 1.5 * FRAME_MS
    assert max(first.queued, second.queued) <= 4
    assert abs(second.blocks - first.blocks) < 3000


def test_loss_and_jitter_cost_frames_of_delay_that_pauses_give_back(tmp_path: Path) -> None:
    call = LongCall(tmp_path, 100, lost=0.01, jitter=0.03)
    first, second = call.pass_minutes(1), call.pass_minutes(1)
    assert call.backend.ear.lost_packets > 10
    assert max(first.queued, second.queued) <= 7
    assert max(second.delays_ms) < 6 * FRAME_MS
    assert second.glitches - first.glitches < 0.05 * call.sent
