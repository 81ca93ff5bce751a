"""Relays of other clusters by their heartbeats: only within --peers, never against the settings."""

from __future__ import annotations

from typing import Any

import pytest
from store.played import heartbeat, relay_heartbeat, relay_settings

from rtcrelay.config import RelaySettings
from rtcrelay.relay.cluster_table import KEEP_SECONDS, MAX_RELAYS, ClusterTable
from rtcrelay.store.node_entry import Process
from rtcrelay.store.route_entry import RouteEntry

ONE, OTHER = ("10.8.0.1", 3480), ("10.8.0.2", 3480)
TRANSCEIVER = ("10.0.3.7", 7000)


def settings(**changes: Any) -> RelaySettings:
    fields: dict[str, Any] = {"peers": ("10.8.0.0/16", "10.9.0.0/16"), "transceivers": ("10.0.3.0/24:7000",)}
    return relay_settings(**(fields | changes))


def beat(number: int, cluster: int | None = 8, started_ms: int = 1, **changes: Any) -> Any:
    process = Process("00" * 8, "h", 1, "1", started_ms)
    return relay_heartbeat(f"10.8.0.{number}:3480", cluster=cluster, process=process, **changes)


def test_heartbeats_say_where_the_relays_of_a_cluster_are() -> None:
    table = ClusterTable(settings())
    assert table.handle_nodes([beat(2), beat(1), heartbeat(cluster=8)], 0.0)
    assert table.relays == {8: (ONE, OTHER)}
    assert table.cluster_of == {ONE: 8, OTHER: 8}
    assert not table.handle_nodes([beat(1), beat(2)], 5.0), "nothing is new"
    assert table.refused == 0


def test_nothing_is_learned_of_its_own_cluster_and_of_relays_without_one() -> None:
    table = ClusterTable(settings())
    assert not table.handle_nodes([beat(1, cluster=7), beat(2, cluster=None)], 0.0)
    assert ClusterTable(settings(cluster=None)).handle_nodes([beat(1, cluster=7)], 0.0), "an ingress has none"


@pytest.mark.parametrize("internal", ["10.7.0.1:3480", "192.0.2.1:3480", "0.0.0.0:3480", "10.0.3.7:7000", "[::]:3480"])
def test_an_address_outside_of_peers_is_refused_and_counted(internal: str) -> None:
    table = ClusterTable(settings())
    assert not table.handle_nodes([relay_heartbeat(internal, cluster=8)], 0.0)
    assert (table.relays, table.refused) == ({}, 1)


def test_this_relay_is_nobody_elses() -> None:
    table = ClusterTable(settings(peers=("10.0.0.0/24",)))
    assert not table.handle_nodes([relay_heartbeat("10.0.0.5:3479", cluster=8)], 0.0)
    assert table.refused == 1


def test_a_cluster_of_the_settings_is_as_they_say_and_so_are_its_relays() -> None:
    table = ClusterTable(settings(clusters={8: (ONE,)}))
    assert not table.handle_nodes([beat(2)], 0.0), "no other relay of that cluster"
    assert not table.handle_nodes([beat(1, cluster=9)], 0.0), "nor that relay in another one"
    assert (table.relays, table.refused) == ({8: (ONE,)}, 1)
    assert table.handle_nodes([beat(2, cluster=9)], 0.0)
    assert table.relays == {8: (ONE,), 9: (OTHER,)}
    assert [row["known_by"] for row in table.describe()] == ["settings", "heartbeats"]


@pytest.mark.parametrize("state", ["cordoned", "draining"])
def test_a_relay_that_wants_nothing_new_is_left_out_at_once_if_another_serves(state: str) -> None:
    table = ClusterTable(settings())
    table.handle_nodes([beat(1), beat(2)], 0.0)
    assert table.handle_nodes([beat(1, state=state), beat(2)], 5.0)
    assert table.relays == {8: (OTHER,)}
    assert table.handle_nodes([beat(1, state=state), beat(2, state=state)], 10.0)
    assert table.relays == {8: (ONE, OTHER)}, "they forward all the same, and nobody else does"
    assert table.handle_nodes([beat(1), beat(2, state=state)], 15.0)
    assert table.relays == {8: (ONE,)}


def test_a_relay_that_stopped_beating_is_left_out_and_the_last_ones_stay_for_a_while() -> None:
    table = ClusterTable(settings())
    table.handle_nodes([beat(1), beat(2)], 0.0)
    assert table.handle_nodes([beat(1)], 5.0)
    assert table.relays == {8: (ONE,)}
    assert not table.handle_nodes([], 10.0), "Redis may have been wiped"
    assert not table.handle_nodes([], 5.0 + KEEP_SECONDS - 1)
    assert table.handle_nodes([], 5.0 + KEEP_SECONDS)
    assert table.relays == {}


def test_a_relay_that_went_to_another_cluster_is_where_it_was_started_last() -> None:
    for order in (1, -1):
        table = ClusterTable(settings())
        both = [beat(1, cluster=8, started_ms=1), beat(1, cluster=9, started_ms=2)]
        table.handle_nodes(both[::order], 0.0)
        assert (table.relays, table.refused) == ({9: (ONE,)}, 1)


def test_one_redis_cannot_take_away_a_relay_that_another_one_named() -> None:
    table = ClusterTable(settings())
    table.handle_nodes([beat(1)], 0.0, "a")
    assert not table.handle_nodes([beat(1, cluster=9, started_ms=9)], 1.0, "b")
    assert (table.relays, table.refused) == ({8: (ONE,)}, 1)


def test_a_cluster_has_no_more_relays_than_the_data_plane_takes_and_all_ingresses_the_same() -> None:
    table = ClusterTable(settings())
    table.handle_nodes([beat(number) for number in range(200, 0, -1)], 0.0)
    assert len(table.relays[8]) == MAX_RELAYS
    assert table.relays[8] == tuple(sorted((f"10.8.0.{n}", 3480) for n in range(1, 201)))[:MAX_RELAYS]


def test_other_settings_take_effect_on_what_was_heard() -> None:
    table = ClusterTable(settings())
    table.handle_nodes([beat(1), beat(2, cluster=9)], 0.0)
    assert table.take_settings(settings(clusters={8: (OTHER,)}), 1.0)
    assert table.relays == {8: (OTHER,)}, "which is that cluster's now, and no longer 9's"
    assert table.take_settings(settings(peers=()), 2.0)
    assert table.relays == {}


def entry(cluster: int, next_hop: tuple[str, int]) -> RouteEntry:
    return RouteEntry(cluster, next_hop, "r", 0, 1)


def test_what_a_relay_of_the_same_redis_remembers_is_not_written_twice() -> None:
    table = ClusterTable(settings(clusters={9: (("10.9.0.1", 3481),)}))
    table.handle_nodes([beat(1)], 0.0)
    table.handle_nodes([beat(2)], 0.0, "another")
    assert table.owner_of(TRANSCEIVER) == 7
    assert table.owner_of(("10.9.0.1", 3481)) == 9
    assert table.owner_of(ONE) is None
    assert table.owner_of(("10.9.0.2", 3481)) is None, "nobody knows whose it is"
    assert ClusterTable(settings(cluster=None)).owner_of(TRANSCEIVER) is None


def test_a_route_leads_to_a_transceiver_of_its_own_cluster_or_to_a_relay_of_another() -> None:
    table = ClusterTable(settings())
    table.handle_nodes([beat(1), beat(2)], 0.0)
    assert table.lead(entry(7, TRANSCEIVER)) == TRANSCEIVER
    assert table.lead(entry(7, OTHER)) is None, "an ingress wrote that, for ingresses"
    assert table.lead(entry(8, OTHER)) == OTHER
    assert table.lead(entry(8, TRANSCEIVER)) == ONE, "its cluster counts, never its endpoint"
    assert table.lead(entry(9, OTHER)) is None
