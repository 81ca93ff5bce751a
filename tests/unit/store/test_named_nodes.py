"""Which nodes a name stands for, where a transceiver has workers."""

from __future__ import annotations

from store.played import heartbeat

from rtcrelay.store.directory import Nodes
from rtcrelay.store.orders import find_nodes

NODES = Nodes(tuple(heartbeat(node=name) for name in ("a-w0", "a-w1", "a-w12", "ab-w0", "b", "b-w0")), 0)


def test_a_transceivers_name_stands_for_all_of_its_workers() -> None:
    assert [node.node for node in find_nodes(NODES, ["a"], None)] == ["a-w0", "a-w1", "a-w12"]
    assert [node.node for node in NODES.meant("a", 8)] == []


def test_a_name_that_a_node_has_stands_for_that_one() -> None:
    assert [node.node for node in NODES.meant("b")] == ["b"]
    assert [node.node for node in NODES.meant("a-w1")] == ["a-w1"]
    assert NODES.named("a") == []
