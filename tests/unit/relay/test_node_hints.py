"""Node ids that heartbeats name: only within the networks, never against the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from store.played import heartbeat

from rtcrelay.config import RelaySettings
from rtcrelay.relay.node_hints import KEEP_SECONDS, NodeHints
from rtcrelay.store.node_entry import Heartbeat, Process


def settings(**changes: Any) -> RelaySettings:
    fields: dict[str, Any] = {
        "listeners": ((("0.0.0.0", 3478), ("10.0.0.5", 3479)),),
        "key_file": Path("keys.toml"),
        "transceivers": ("[fd00::/64]:7000", "10.0.3.0/24:7000-7009"),
        "cluster": 7,
    }
    return RelaySettings(**(fields | changes))


def node(node_id: int | None, media: str = "[fd00::1]:7000", started_ms: int = 1, **changes: Any) -> Heartbeat:
    return heartbeat(node_id=node_id, media=media, process=Process("00" * 8, "h", 1, "1", started_ms), **changes)


def test_a_heartbeat_says_where_a_node_id_leads() -> None:
    hints = NodeHints()
    assert hints.handle_nodes([node(17), node(18, "10.0.3.1:7009", node="b"), node(None, node="c")], settings(), 0.0)
    assert hints.table == {17: ("fd00::1", 7000), 18: ("10.0.3.1", 7009)}
    assert not hints.handle_nodes([node(17), node(18, "10.0.3.1:7009")], settings(), 5.0), "nothing is new"


def test_no_heartbeat_leads_out_of_the_networks() -> None:
    hints = NodeHints()
    outside = [node(1, "[fd01::1]:7000"), node(2, "[fd00::1]:7001"), node(3, "192.0.2.1:7000"), node(4, cluster=8)]
    assert not hints.handle_nodes(outside, settings(), 0.0)
    assert (hints.table, hints.refused) == ({}, 3)


def test_the_settings_come_first() -> None:
    hints = NodeHints()
    hints.handle_nodes([node(17), node(18, "[fd00::2]:7000")], settings(nodes={17: ("fd00::9", 7000)}), 0.0)
    assert hints.table == {18: ("fd00::2", 7000)}


def test_of_two_with_one_id_the_younger_has_it_and_it_is_counted() -> None:
    hints = NodeHints()
    both = [node(17, "[fd00::2]:7000", 2, node="b"), node(17, "[fd00::1]:7000", 1)]
    hints.handle_nodes(both, settings(), 0.0)
    assert (hints.table, hints.refused) == ({17: ("fd00::2", 7000)}, 1)
    hints.handle_nodes(both[::-1], settings(), 0.0)
    assert hints.table == {17: ("fd00::2", 7000)}


def test_a_hint_outlives_a_wiped_redis_for_a_while() -> None:
    hints = NodeHints()
    hints.handle_nodes([node(17)], settings(), 0.0)
    assert not hints.handle_nodes([], settings(), KEEP_SECONDS - 1)
    assert 17 in hints.table
    assert hints.handle_nodes([], settings(), KEEP_SECONDS)
    assert hints.table == {}


def test_a_transceiver_that_moved_is_found_at_its_new_place() -> None:
    hints = NodeHints()
    hints.handle_nodes([node(17)], settings(), 0.0)
    assert hints.handle_nodes([node(17, "[fd00::2]:7000", 2)], settings(), 5.0)
    assert hints.table == {17: ("fd00::2", 7000)}
