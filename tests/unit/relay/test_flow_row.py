"""What the admin interface makes of a path: unknown is null, loss is never negative, one-way is not guessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from rtcrelay._dataplane import Flow
from rtcrelay.relay.flow_row import flow_row
from rtcrelay.relay.flow_sample import PAGE, FlowSample


@dataclass
class PlayedStream:
    packets: int
    expected: int
    reordered: int = 0
    jitter_seconds: float | None = None


@dataclass
class PlayedClaim:
    next_hop: tuple[str, int] = ("10.0.3.7", 7000)
    state: str = "strong"
    key_id: int | None = None
    idle_seconds: float = 0.5


@dataclass
class PlayedFlow:
    client: tuple[str, int] = ("2001:db8::1", 5000)
    ingress: int = 3479
    claims: list[PlayedClaim] = field(default_factory=lambda: [PlayedClaim()])
    packets_in: int = 100
    bytes_in: int = 1
    packets_out: int = 100
    bytes_out: int = 2
    age_seconds: float = 60.0
    idle_seconds: float = 0.0123456
    from_client: PlayedStream | None = None
    to_client: PlayedStream | None = None
    transceiver_round_trip_seconds: float | None = None
    client_round_trip_seconds: float | None = None


def row(**changes: Any) -> dict[str, Any]:
    clusters = {("10.7.0.1", 3479): 7}
    made: dict[str, Any] = msgspec.to_builtins(flow_row(cast(Flow, PlayedFlow(**changes)), "10.0.0.5:3479", clusters))
    return made


def test_a_claim_of_another_clusters_relay_names_the_cluster() -> None:
    claims = row(claims=[PlayedClaim(("10.7.0.1", 3479)), PlayedClaim()])["claims"]
    assert [(claim["next_hop"], claim["cluster"]) for claim in claims] == [
        ("10.7.0.1:3479", 7),
        ("10.0.3.7:7000", None),
    ]


def test_what_is_not_known_is_null() -> None:
    shown = row()
    assert (shown["client"], shown["relay"], shown["state"]) == ("[2001:db8::1]:5000", "10.0.0.5:3479", "strong")
    for name in ("from_client", "to_client", "transceiver_round_trip_ms", "client_round_trip_ms", "one_way"):
        assert shown[name] is None
    assert shown["idle_s"] == 0.012


def test_each_leg_says_loss_reordering_jitter_and_round_trip() -> None:
    shown = row(from_client=PlayedStream(90, 100, 3, 0.0041), client_round_trip_seconds=0.0251)
    assert shown["from_client"] == {
        "packets": 90,
        "expected_packets": 100,
        "lost_packets": 10,
        "loss_percent": 10.0,
        "reordered_packets": 3,
        "jitter_ms": 4.1,
    }
    assert (shown["client_round_trip_ms"], shown["to_client"]) == (25.1, None)


def test_repeated_packets_make_no_negative_loss() -> None:
    stream = row(to_client=PlayedStream(101, 100))["to_client"]
    assert (stream["lost_packets"], stream["loss_percent"]) == (0, 0.0)


def test_the_state_is_the_surest_claims() -> None:
    assert row(claims=[])["state"] == "none"
    assert row(claims=[PlayedClaim(state="pending"), PlayedClaim(state="weak")])["state"] == "weak"


@pytest.mark.parametrize(
    ("changes", "one_way"),
    [
        ({"packets_out": 0}, "client"),
        ({"packets_in": 0}, "transceiver"),
        ({"packets_in": 19, "packets_out": 0}, None),
        ({"packets_out": 0, "age_seconds": 2.9}, None),
        ({"from_client": PlayedStream(100, 100)}, "client"),
        ({"to_client": PlayedStream(100, 100)}, "transceiver"),
        ({"from_client": PlayedStream(99, 100)}, None),
        ({"from_client": PlayedStream(500, 500), "to_client": PlayedStream(1, 1)}, None),
    ],
)
def test_a_side_that_alone_sends_is_named_once_it_is_sure(changes: dict[str, Any], one_way: str | None) -> None:
    assert row(**changes)["one_way"] == one_way


@dataclass
class PlayedRelay:
    """Lists what it is given, and remembers what it was asked."""

    pages: list[tuple[list[PlayedFlow], int]]
    asked: list[tuple[int, int]] = field(default_factory=list)

    def flows(self, cursor: int = 0, limit: int = 1000) -> tuple[list[Flow], int]:
        self.asked.append((cursor, limit))
        flows, following = self.pages.pop(0)
        return cast("list[Flow]", flows), following


def shown(sample: FlowSample) -> dict[tuple[str, str], float]:
    return {(s.name, s.labels.get("side", "")): s.value for family in sample.collect() for s in family.samples}


def test_each_side_that_alone_sends_is_counted() -> None:
    lone = [PlayedFlow(packets_out=0), PlayedFlow(packets_out=0), PlayedFlow(packets_in=0), PlayedFlow()]
    assert shown(FlowSample(PlayedRelay([(lone, 0)]))) == {
        ("rtcrelay_relay_flows_examined", ""): 4,
        ("rtcrelay_relay_flows_one_way", "client"): 2,
        ("rtcrelay_relay_flows_one_way", "transceiver"): 1,
    }


def test_each_scrape_looks_at_the_next_page() -> None:
    relay = PlayedRelay([([PlayedFlow()], 17), ([], 0), ([PlayedFlow(packets_out=0)], 0)])
    sample = FlowSample(relay)
    counts = [shown(sample)["rtcrelay_relay_flows_one_way", "client"] for _ in range(3)]
    assert counts == [0, 0, 1]
    assert relay.asked == [(0, PAGE), (17, PAGE), (0, PAGE)]
