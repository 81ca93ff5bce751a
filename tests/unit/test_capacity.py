"""The formulas of the capacity guide, against numbers reckoned by hand."""

from __future__ import annotations

import pytest

from rtcrelay.cli.capacity_docs import BACKENDS, SIZES, calls_on_a_relay_core, plan


def test_a_core_of_a_relay_is_planned_for_so_many_calls() -> None:
    # 50 packets a second there and back, 9.087 µs each pair: 0.454 ms of a second for each call.
    assert calls_on_a_relay_core() == pytest.approx(0.6 / 0.000_454_35)


def test_ten_thousand_calls_by_hand() -> None:
    wanted = plan(10_000)
    assert wanted.sites == 1
    assert wanted.transceivers == 183  # 10,000 / 55 = 181.8, rounded up, and one to lose
    assert wanted.relay_workers == 8  # 10,000 / 1,320.6 = 7.6
    assert wanted.relays == 3  # of 4 workers: two, and one to lose
    assert wanted.public_bits == pytest.approx(8 * 50 * 10_000 * 188)
    assert wanted.internal_bits - wanted.public_bits == pytest.approx(8 * 50 * 10_000 * 38)
    routes, beats, looks = 10_000 / 75 + 10_000 / 180, 3 * 1.0 + 183 * 0.8, (3 * 0.2 + 2 * 0.5) * 186
    assert wanted.redis_commands == pytest.approx(routes + beats + looks)


def test_a_hundred_calls_still_have_a_second_relay() -> None:
    assert (plan(100).relays, plan(100).relay_workers, plan(100).transceivers) == (2, 2, 3)


def test_a_million_calls_are_a_hundred_sites() -> None:
    assert plan(1_000_000).sites == 100
    assert plan(1_000_000).redis_commands == plan(10_000).redis_commands


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_more_calls_need_no_less(backend: str) -> None:
    plans = [plan(calls, backend) for calls in SIZES]
    assert plans == sorted(plans, key=lambda one: (one.relays, one.transceivers))
