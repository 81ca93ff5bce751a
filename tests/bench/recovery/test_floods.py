"""A flood costs calls nothing at four fifths of the lossless load, and beyond it no larger part than its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.relay_process import UnixConnection

from rtcrelay.keys import load_key_file

from .flood_rows import flood_once, flooded, lossless_rate, safe_rate
from .flows import Flows
from .processes import RelayProcess, key_file, relays

STEPS = (5_000, 20_000, 60_000, 150_000, 0)
TRIES = 3
"""What is lossless is measured anew before each: a machine may have less to give than a moment ago."""


@pytest.mark.timeout(180)
def test_a_flood_takes_nothing_from_calls_until_it_saturates_the_relay_and_then_no_more_than_its_share() -> None:
    with flooded() as bed:
        lost = []
        for _ in range(TRIES):
            best, loads = lossless_rate(bed, STEPS)
            assert best, loads[0]
            lost.append(flood_once(bed, safe_rate(best)).calls_lost_packets)
            if lost[-1] == 0:
                break
        assert 0 in lost, (lost, loads)
        over = flood_once(bed, 0)
        assert over.calls_lost <= over.flood_lost + 0.02, over


def test_where_a_path_lies_in_the_table_differs_from_process_to_process(tmp_path: Path) -> None:
    """A listing follows the table, and the table a hash under a key of the process: nobody can choose what collides.

    Both relays have the same paths: the same clients, the same ingress id, the same order of arrival.
    """
    flows = Flows(load_key_file(key_file(tmp_path)).ring, 200, 0.02, echo=False)
    try:
        with relays(tmp_path, flows.address, 2) as pair:
            orders = []
            for relay in pair:
                flows.point_at(relay.public, relay.internal)
                flows.establish()
                orders.append(listed(relay))
    finally:
        flows.close()
    assert len(orders[0]) == 200
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def listed(relay: RelayProcess) -> list[str]:
    connection = UnixConnection(relay.admin)
    connection.request("GET", "/v1/flows")
    rows = json.loads(connection.getresponse().read())["flows"]
    connection.close()
    return [row["client"] for row in rows]
