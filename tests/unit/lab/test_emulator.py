"""What a link does to packets, in virtual time: nothing here waits."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import Any

import pytest

from rtcrelay.lab.emulator import MOST_JITTER, MOST_WAITING, Direction
from rtcrelay.lab.world import Impairment

MS = 1_000_000
FRAME = 20 * MS
"""Voice: a packet every 20 ms."""


def carried(direction: Direction, packets: int, every: int = FRAME, size: int = 200) -> list[tuple[int, int]]:
    """(number, nanoseconds on the way) of every packet that came out, in the order in which they did."""
    out = []
    now = 0
    for number in range(packets):
        now = number * every
        out += drained(direction, now, every)
        direction.push(number.to_bytes(size, "big"), now)
    return out + drained(direction, now + 10**12, every)


def drained(direction: Direction, until: int, every: int) -> list[tuple[int, int]]:
    out = []
    while (due := direction.poll_timeout()) is not None and due <= until:
        packet = direction.poll(due)
        assert packet is not None
        number = int.from_bytes(packet, "big")
        out.append((number, due - number * every))
    return out


def link(seed: str = "seed", **keys: Any) -> Direction:
    return Direction(Impairment(**keys), seed)


def test_a_clean_link_delays_every_packet_by_exactly_its_delay() -> None:
    assert carried(link(delay_ms=40), 100) == [(number, 40 * MS) for number in range(100)]


def test_nothing_comes_out_before_it_is_due_and_all_of_it_then() -> None:
    direction = link(delay_ms=40)
    direction.push(b"x", 5)
    assert direction.poll_timeout() == 5 + 40 * MS
    assert direction.poll(5 + 40 * MS - 1) is None
    assert direction.poll(5 + 40 * MS) == b"x"
    assert direction.poll_timeout() is None
    assert direction.poll(10**12) is None


def test_jitter_is_added_to_the_delay_its_mean_is_what_was_asked_and_so_is_rfc_3550s_measure() -> None:
    out = [delay / MS for _, delay in carried(link(delay_ms=40, jitter_ms=2), 20_000)]
    assert len(out) == 20_000
    assert min(out) >= 40
    assert statistics.fmean(out) - 40 == pytest.approx(2, rel=0.05)
    assert max(out) <= 40 + 2 * MOST_JITTER
    changes = [abs(after - before) for before, after in pairwise(out)]
    assert statistics.fmean(changes) == pytest.approx(2, rel=0.05)


def test_jitter_never_reorders_even_where_it_is_longer_than_the_distance_of_packets() -> None:
    out = carried(link(delay_ms=5, jitter_ms=30), 5_000, every=MS)
    assert [number for number, _ in out] == list(range(5_000))


def test_reordered_packets_are_held_back_and_overtaken_and_the_others_keep_their_order() -> None:
    direction = link(delay_ms=5, reorder_percent=10, reorder_ms=50)
    out = carried(direction, 5_000)
    late = {number for number, delay in out if delay == 55 * MS}
    assert len(late) == direction.counts.reordered == pytest.approx(500, rel=0.15)
    rest = [(number, delay) for number, delay in out if number not in late]
    assert rest == [(number, 5 * MS) for number in range(5_000) if number not in late]
    assert [number for number, _ in out] != sorted(number for number, _ in out)


def test_loss_has_the_rate_that_was_asked_and_is_counted() -> None:
    direction = link(loss_percent=3)
    out = carried(direction, 20_000)
    assert len(out) + direction.counts.lost == 20_000
    assert direction.counts.lost == pytest.approx(600, rel=0.15)
    assert direction.counts.sent == len(out)


def test_the_same_seed_has_the_same_fate_and_another_seed_another() -> None:
    keys = {"delay_ms": 10, "jitter_ms": 3, "loss_percent": 5, "reorder_percent": 2}
    first, again, other = (carried(link(seed, **keys), 500) for seed in ("a", "a", "b"))
    assert first == again
    assert first != other


def test_a_rate_sends_packets_one_after_the_other() -> None:
    # 1000 bytes at 8 Mbit/s are 1 ms.
    out = carried(link(delay_ms=10, rate_mbit=8, queue_ms=1_000), 5, every=0, size=1_000)
    assert [delay / MS for _, delay in out] == [11, 12, 13, 14, 15]


def test_what_would_wait_longer_for_the_rate_than_the_queue_is_long_is_lost_and_counted() -> None:
    direction = link(rate_mbit=8, queue_ms=3)
    out = carried(direction, 10, every=0, size=1_000)
    assert [delay / MS for _, delay in out] == [1, 2, 3, 4]
    assert direction.counts.overflowed == 6


def test_a_link_that_was_idle_sends_at_once() -> None:
    out = carried(link(rate_mbit=8), 3, every=100 * MS, size=1_000)
    assert [delay / MS for _, delay in out] == [1, 1, 1]


def test_a_change_holds_for_packets_that_come_after_it() -> None:
    direction = link(delay_ms=40)
    direction.push(b"before", 0)
    direction.change(Impairment(loss_percent=100))
    direction.push(b"after", 1)
    assert direction.poll(40 * MS) == b"before"
    assert direction.poll_timeout() is None
    assert direction.counts.lost == 1


def test_a_shorter_delay_does_not_let_new_packets_overtake_old_ones() -> None:
    direction = link(delay_ms=40)
    direction.push(b"before", 0)
    direction.change(Impairment(delay_ms=1))
    direction.push(b"after", 1)
    assert [direction.poll(50 * MS), direction.poll(50 * MS)] == [b"before", b"after"]


def test_packets_under_way_have_a_limit() -> None:
    direction = link(delay_ms=10_000)
    for _ in range(MOST_WAITING + 5):
        direction.push(b"", 0)
    assert direction.counts.overflowed == 5


def test_how_late_packets_leave_is_counted() -> None:
    direction = link(delay_ms=1)
    direction.push(b"x", 0)
    direction.poll(MS + 250)
    assert direction.counts.late_ns == [250]
