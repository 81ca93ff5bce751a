"""The order of a key's life: what is safe when, and what is refused with which reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from rtcrelay.key_rotation import (
    ID_REST,
    ServerKeys,
    candidate,
    collect,
    free_id,
    plan_promotion,
    revocable_from,
    revoke_obstacles,
)
from rtcrelay.keys import Key

DAWN = datetime(2026, 11, 22, 6, tzinfo=UTC)
TWO_HOURS = timedelta(hours=2)


def key(number: int, state: str, created: int | None = 0, changed: int | None = None) -> Key:
    """A key; times are hours after dawn."""
    times = [None if at is None else DAWN + timedelta(hours=at) for at in (created, changed)]
    return Key(number, bytes([number]) * 16, state, *times)


def server(name: str, *keys: Key, problem: str | None = None) -> ServerKeys:
    return ServerKeys(name, {one.id: (one.fingerprint, one.state) for one in keys}, problem)


OLD, NEW = key(0, "active"), key(1, "accept", created=1)


def test_an_accepted_key_that_is_newer_and_never_changed_waits_for_its_promotion() -> None:
    assert candidate([OLD]) is None
    assert candidate([OLD, NEW]) is NEW
    assert candidate([OLD, key(1, "accept")]) is not None, "made within the same second"
    assert candidate([key(0, "accept", changed=3), key(1, "active", created=1, changed=3)]) is None, "demoted"
    assert candidate([OLD, key(1, "accept", created=None)]) is None, "nobody knows when it was made"
    assert candidate([OLD, key(1, "revoked", created=1)]) is None
    assert candidate([NEW]) is NEW, "no key mints: the transceivers wait for one"


def test_a_key_that_every_live_server_accepts_may_mint() -> None:
    plan = plan_promotion([OLD, NEW], [server("relay", OLD, NEW), server("a", OLD, NEW)])
    assert (plan.key, plan.demoted, plan.obstacles) == (NEW, OLD, ())
    assert plan_promotion([OLD, NEW], [server("relay", OLD, NEW)], servers=1).obstacles == ()


STRANGER = Key(1, b"another secret!!", "accept", DAWN)


@pytest.mark.parametrize(
    ("reports", "servers", "obstacle"),
    [
        ([server("relay", OLD, NEW), server("a", OLD)], None, "a does not have key 1"),
        ([server("a", OLD, STRANGER)], None, f"a has another key 1, {STRANGER.fingerprint} instead of"),
        ([server("a", OLD, key(1, "revoked"))], None, "a has key 1 revoked"),
        ([server("a", problem="no answer")], None, "a cannot say: no answer"),
        ([], None, "no live server could be asked whether it accepts key 1"),
        ([server("relay", OLD, NEW)], 3, "1 servers reported their keys, expected 3"),
    ],
)
def test_a_promotion_that_would_refuse_calls_names_who_lacks_the_key(
    reports: list[ServerKeys], servers: int | None, obstacle: str
) -> None:
    (found,) = plan_promotion([OLD, NEW], reports, servers).obstacles
    assert found.startswith(obstacle)


def test_a_new_key_takes_the_next_unused_id_and_else_one_that_has_rested_for_an_hour() -> None:
    assert free_id([OLD], DAWN) == 1
    assert free_id([key(3, "active"), key(7, "accept")], DAWN) == 0
    full = [key(0, "active"), key(5, "revoked", changed=4), *(key(n, "accept") for n in (1, 2, 3, 4, 6, 7))]
    then = DAWN + timedelta(hours=4) + ID_REST
    assert free_id(full, then - timedelta(seconds=1)) is None
    assert free_id(full, then) == 5
    assert free_id([*full[:1], key(5, "revoked"), *full[2:]], then) is None, "revoked nobody knows when"


def test_a_demoted_key_is_needed_until_its_longest_session_is_over() -> None:
    ring = [key(0, "accept", changed=3), key(1, "active", created=1, changed=3)]
    assert revocable_from(ring[0], ring, TWO_HOURS) == DAWN + timedelta(hours=5)
    early = DAWN + timedelta(hours=5) - timedelta(seconds=1)
    assert revoke_obstacles(ring[0], ring, [], TWO_HOURS, early) == [
        "sessions of key 0 may go on until 2026-11-22T11:00:00Z"
    ]
    assert revoke_obstacles(ring[0], ring, [], TWO_HOURS, DAWN + timedelta(hours=5)) == []


def test_a_ring_that_was_edited_by_hand_is_judged_by_the_key_that_mints() -> None:
    by_hand = [key(0, "accept"), key(1, "active", created=1)]
    assert revocable_from(by_hand[0], by_hand, TWO_HOURS) == DAWN + timedelta(hours=3)
    unknown = [key(0, "accept", created=None), key(1, "active", created=None)]
    assert revoke_obstacles(unknown[0], unknown, [], TWO_HOURS, DAWN) == [
        "it is not known since when key 0 mints no more"
    ]


def test_a_server_that_still_mints_with_a_key_keeps_it_from_being_revoked() -> None:
    ring = [key(0, "accept", changed=3), key(1, "active", created=1, changed=3)]
    behind = server("transceiver a", key(0, "active"), NEW)
    assert revoke_obstacles(ring[0], ring, [behind], TWO_HOURS, DAWN + timedelta(days=1)) == [
        "transceiver a still mints with key 0: it has not read the new file"
    ]


def test_a_key_that_never_minted_is_revoked_at_any_time() -> None:
    assert revoke_obstacles(NEW, [OLD, NEW], [server("a", OLD, NEW)], TWO_HOURS, DAWN) == []


class Source:
    """A source of reports that says what it was told."""

    def __init__(self, *reports: ServerKeys) -> None:
        self._reports = reports

    def read(self) -> Sequence[ServerKeys]:
        return self._reports


def test_a_server_that_two_sources_know_is_one_and_the_first_report_counts() -> None:
    fresh = ServerKeys("relay (socket)", {}, process=("host", 7))
    stale = ServerKeys("relay 10.0.0.5:3479 (heartbeat)", {}, process=("host", 7))
    other = ServerKeys("relay 10.0.0.6:3479 (heartbeat)", {}, process=("other", 7))
    unknown = ServerKeys("x.sock", {}, "no answer")
    assert collect([Source(fresh, unknown), Source(stale, other)]) == [fresh, unknown, other]
