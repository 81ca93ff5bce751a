"""The steering rule: who goes where, and why not elsewhere."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay.config.sites import ClusterSite, Ingress, Place, Sites
from rtcrelay.signaling.estimate import MS_PER_KM, backbone_ms
from rtcrelay.signaling.steer import TransceiverState, World, choose_transceiver, steer

PARIS, FRANKFURT, VIRGINIA, SYDNEY = Place(48.86, 2.35), Place(50.11, 8.68), Place(39.04, -77.49), Place(-33.87, 151.21)
INGRESSES = (
    Ingress("fra", ("203.0.113.1", 3478), FRANKFURT, "eu"),
    Ingress("iad", ("203.0.113.2", 3478), VIRGINIA, "us"),
    Ingress("syd", ("203.0.113.3", 3478), SYDNEY, "ap"),
)
CLUSTERS = (
    ClusterSite(1, "eu-1", FRANKFURT, "eu"),
    ClusterSite(2, "us-1", VIRGINIA, "us"),
    ClusterSite(3, "ap-1", SYDNEY, "ap"),
)


def node(name: str, sessions: int = 0, most: int = 10, **more: object) -> TransceiverState:
    return replace(TransceiverState(name, ("10.0.0.1", 8080), "serving", sessions, most), **more)  # type: ignore[arg-type]  # by name


WORLD = World(Sites(INGRESSES, CLUSTERS), {1: (node("a"),), 2: (node("b"),), 3: (node("c"),)})


@pytest.mark.parametrize(
    ("place", "ingresses", "clusters"),
    [
        (PARIS, ["fra", "iad", "syd"], [1, 2, 3]),
        (VIRGINIA, ["iad", "fra", "syd"], [2, 1, 3]),
        (SYDNEY, ["syd", "iad", "fra"], [3, 2, 1]),
    ],
)
def test_a_call_goes_to_the_nearest_cluster_through_the_nearest_ingress(
    place: Place, ingresses: list[str], clusters: list[int]
) -> None:
    decision = steer(WORLD, place, "192.0.2.1")
    assert [ingress.name for ingress in decision.told(3)] == ingresses
    assert [site.cluster for site in decision.tried()] == clusters
    assert [ingress.name for ingress in decision.told(1)] == ingresses[:1]


@pytest.mark.parametrize(
    ("world", "why"),
    [
        (replace(WORLD, cordoned=frozenset({1})), "is cordoned"),
        (replace(WORLD, transceivers={**WORLD.transceivers, 1: ()}), "has no transceiver that lives"),
        (replace(WORLD, transceivers={**WORLD.transceivers, 1: (node("a", 10),)}), "is full"),
        (
            replace(WORLD, transceivers={**WORLD.transceivers, 1: (node("a", state="draining"),)}),
            "has only transceivers that are draining",
        ),
    ],
)
def test_a_cluster_that_cannot_take_the_call_is_passed_over_and_says_why(world: World, why: str) -> None:
    decision = steer(world, PARIS, "192.0.2.1")
    assert [site.cluster for site in decision.tried()] == [2, 3]
    assert {ranked.site.cluster: ranked.refusal for ranked in decision.clusters} == {1: why, 2: None, 3: None}
    assert decision.told(1)[0].name == "fra", "the client still enters near itself"


def test_a_measured_round_trip_overrules_the_distance() -> None:
    slow = Sites(INGRESSES, CLUSTERS, {("eu", "eu-1"): 300.0})
    assert [site.cluster for site in steer(replace(WORLD, sites=slow), PARIS, "x").tried()] == [2, 3, 1]


def test_a_round_trip_of_names_goes_before_one_of_regions() -> None:
    measured = {("eu", "us"): 90.0, ("us-1", "fra"): 80.0}
    sites = Sites(INGRESSES, CLUSTERS, measured)
    assert backbone_ms(sites, INGRESSES[0], CLUSTERS[1]) == 80.0
    assert backbone_ms(Sites(INGRESSES, CLUSTERS, {("eu", "us"): 90.0}), INGRESSES[0], CLUSTERS[1]) == 90.0
    assert backbone_ms(WORLD.sites, INGRESSES[0], CLUSTERS[1]) == pytest.approx(6_540 * MS_PER_KM, rel=0.01)


def test_an_ingress_that_does_not_answer_is_told_to_nobody() -> None:
    decision = steer(replace(WORLD, unhealthy=frozenset({"fra"})), PARIS, "x")
    assert [ingress.name for ingress in decision.told(3)] == ["iad", "syd"]
    assert [site.cluster for site in decision.tried()] == [2, 1, 3], "and the path through the next one counts"


def test_with_no_healthy_ingress_the_nearest_is_told_all_the_same() -> None:
    decision = steer(replace(WORLD, unhealthy=frozenset({"fra", "iad", "syd"})), PARIS, "x")
    assert [ingress.name for ingress in decision.told(1)] == ["fra"]


def test_equally_near_ingresses_share_clients_by_weight() -> None:
    pair = (replace(INGRESSES[0], weight=3), replace(INGRESSES[0], name="fra-2", weight=1), INGRESSES[1])
    world = replace(WORLD, sites=Sites(pair, CLUSTERS))
    first = Counter(steer(world, PARIS, f"192.0.2.{n}").told(1)[0].name for n in range(2000))
    assert first["fra"] == pytest.approx(1500, abs=100)
    assert first["iad"] == 0


def test_an_ingress_that_goes_moves_only_its_own_clients() -> None:
    pair = tuple(replace(INGRESSES[0], name=f"fra-{n}") for n in range(4))
    before, after = (replace(WORLD, sites=Sites(each, CLUSTERS)) for each in (pair, pair[1:]))
    for n in range(200):
        old = steer(before, PARIS, f"client {n}").told(1)[0].name
        new = steer(after, PARIS, f"client {n}").told(1)[0].name
        assert old == new or old == "fra-0"


def test_an_ingress_without_weight_is_told_after_all_others() -> None:
    spare = (replace(INGRESSES[0], weight=0), *INGRESSES[1:])
    decision = steer(replace(WORLD, sites=Sites(spare, CLUSTERS)), PARIS, "x")
    assert [ingress.name for ingress in decision.told(3)] == ["iad", "syd", "fra"]


def test_a_client_that_is_nowhere_gets_its_own_order() -> None:
    first = Counter(steer(WORLD, None, f"client {n}").told(1)[0].name for n in range(300))
    assert min(first.values()) > 60
    assert steer(WORLD, None, "x") == steer(WORLD, None, "x")


def test_without_ingresses_the_client_goes_to_the_nearest_cluster() -> None:
    decision = steer(replace(WORLD, sites=Sites((), CLUSTERS)), SYDNEY, "x")
    assert [site.cluster for site in decision.tried()] == [3, 2, 1]
    assert decision.told(2) == ()


def test_the_less_loaded_of_two_is_chosen() -> None:
    nodes = [node("a", 5), node("b", 3), node("c", 8)]
    draws = iter([0, 1])  # a, and the second of the others: c
    chosen = choose_transceiver(nodes, lambda n: next(draws))
    assert chosen is not None
    assert chosen.node == "a"


def test_a_transceiver_without_room_or_that_refused_is_not_chosen() -> None:
    nodes = [node("full", 10), node("drained", state="draining"), node("refused"), node("free", 9)]
    chosen = choose_transceiver(nodes, random.randrange, frozenset({"refused"}))
    assert chosen is not None
    assert chosen.node == "free"
    assert choose_transceiver(nodes[:3], random.randrange, frozenset({"refused"})) is None


def test_two_draws_keep_the_load_even() -> None:
    loads = dict.fromkeys("abcdefgh", 0)
    source = random.Random(1)  # the same in every run
    for _ in range(4000):
        chosen = choose_transceiver([node(name, count, 1000) for name, count in loads.items()], source.randrange)
        assert chosen is not None
        loads[chosen.node] += 1
    assert max(loads.values()) - min(loads.values()) <= 6


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.integers(0, 3)), max_size=6), st.booleans())
def test_any_world_gives_an_order_of_all_there_is(places: list[tuple[float, float, int]], known: bool) -> None:
    ingresses = tuple(Ingress(f"i{n}", ("192.0.2.1", n + 1), Place(a, o), "", w) for n, (a, o, w) in enumerate(places))
    decision = steer(replace(WORLD, sites=Sites(ingresses, CLUSTERS)), PARIS if known else None, "x")
    assert {ranked.ingress for ranked in decision.ingresses} == set(ingresses)
    assert {ranked.site for ranked in decision.clusters} == set(CLUSTERS)
