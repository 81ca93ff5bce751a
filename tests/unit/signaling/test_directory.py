"""What the front knows of transceivers: from the file, from heartbeats, and from what it sees itself."""

from __future__ import annotations

from dataclasses import replace

from rtcrelay.config.sites import ClusterSite, Place, Sites
from rtcrelay.signaling.describe import describe_world, read_world
from rtcrelay.signaling.directory import Directory
from rtcrelay.signaling.steer import TransceiverState, World

A, B = ("10.0.0.1", 8080), ("10.0.0.2", 8080)
SITES = Sites((), (ClusterSite(7, "eu", Place(0, 0), "", (A,)),))


def beat(address: tuple[str, int], sessions: int = 0, state: str = "serving") -> TransceiverState:
    return TransceiverState(f"node {address[0]}", address, state, sessions, 10)  # type: ignore[arg-type]  # as named


def nodes(directory: Directory, now: float = 0.0) -> list[tuple[str, int]]:
    return [(node.node, node.sessions) for node in directory.world(now).transceivers[7]]


def test_the_files_transceivers_live_until_they_are_seen_not_to() -> None:
    directory = Directory(SITES)
    assert nodes(directory) == [("10.0.0.1:8080", 0)]
    directory.note_unreachable(A, 10.0)
    assert nodes(directory, 14.9) == []
    assert nodes(directory, 15.1) == [("10.0.0.1:8080", 0)]


def test_a_heartbeat_says_more_than_the_file() -> None:
    directory = Directory(SITES)
    directory.take_heartbeats({7: [beat(A, 3), beat(B)], 8: [beat(B)]})
    assert nodes(directory) == [("node 10.0.0.1", 3), ("node 10.0.0.2", 0)]
    assert 8 not in directory.world(0.0).transceivers, "a cluster without a place gets no calls"


def test_calls_placed_since_the_last_heartbeat_count() -> None:
    directory = Directory(SITES)
    directory.take_heartbeats({7: [beat(A, 3)]})
    directory.note_placed(A)
    directory.note_placed(A)
    assert nodes(directory) == [("node 10.0.0.1", 5)]
    directory.take_heartbeats({7: [beat(A, 5)]})
    assert nodes(directory) == [("node 10.0.0.1", 5)]


def test_what_was_seen_of_a_node_that_is_gone_is_forgotten() -> None:
    directory = Directory(SITES)
    for number in range(1000):
        directory.take_heartbeats({7: [beat(("10.0.1.1", 1 + number))]})
        directory.note_unreachable(("10.0.1.1", 1 + number), 0.0)
    directory.note_unreachable(A, 0.0)
    directory.take_heartbeats({7: [beat(B)]})
    assert set(directory._seen) == {A, B}
    assert nodes(directory, 1.0) == [("node 10.0.0.2", 0)], "the file's transceiver is still left alone"


def test_the_world_is_read_as_it_is_written() -> None:
    directory = Directory(replace(SITES, clusters=(replace(SITES.clusters[0], cordoned=True),)))
    directory.take_heartbeats({7: [beat(A, 3, "draining")]})
    directory.take_unhealthy(frozenset({"fra"}))
    world = directory.world(0.0)
    assert read_world(describe_world(world), World(world.sites, {})) == world


def test_each_redis_speaks_for_itself() -> None:
    directory = Directory(SITES)
    directory.take_heartbeats({7: [beat(A, 3)]}, source="one")
    directory.take_heartbeats({7: [beat(B, 4)]}, source="another")
    assert nodes(directory) == [("node 10.0.0.1", 3), ("node 10.0.0.2", 4)]
    directory.note_placed(A)
    directory.take_heartbeats({}, source="another")
    assert nodes(directory) == [("node 10.0.0.1", 4)], "what came since its heartbeat counts still"
    directory.forget("one")
    assert nodes(directory) == [("10.0.0.1:8080", 1)], "as the file has it"


def test_a_cluster_whose_relays_are_gone_is_without_relays_until_one_beats() -> None:
    directory = Directory(SITES)
    directory.take_heartbeats({7: [beat(A)]}, {})
    assert directory.world(0.0).relayless == frozenset(), "they never beat: nothing is known of them"
    directory.take_heartbeats({7: [beat(A)]}, {7: 2})
    directory.take_heartbeats({7: [beat(A)]}, {7: 0})
    assert directory.world(0.0).relayless == {7}
    directory.take_heartbeats({}, {})
    directory.take_heartbeats({7: [beat(A)]}, {7: 1})
    assert directory.world(0.0).relayless == frozenset()
