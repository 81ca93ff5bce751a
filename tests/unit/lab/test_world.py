"""The file of a world: what it may say, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcrelay.errors import ConfigError, ExitStatus
from rtcrelay.lab.plan import Plan
from rtcrelay.lab.world import read_world, world_text

REGION = '[[regions]]\nname = "a"\nlatitude = 1\nlongitude = 2\n'
CLUSTER = REGION + "cluster = 1\nrelays = 1\ntransceivers = 1\n"


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_world(text, "w.toml")
    assert caught.value.status is ExitStatus.CONFIG
    return str(caught.value)


def test_the_built_in_world_has_three_regions_with_clean_backbone_and_impaired_public_paths() -> None:
    world = read_world(*world_text(None))
    assert len(world.regions) == 3
    assert sum(region.cluster is not None for region in world.regions) == 2
    assert any(region.relays == 2 for region in world.regions), "one cluster can lose a relay"
    assert {link.begin for link in world.links.public} == {region.name for region in world.regions}
    assert all(link.jitter_ms == link.loss_percent == 0 for link in world.links.backbone)
    assert all(link.jitter_ms > 0 and link.loss_percent > 0 for link in world.links.public)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x", "w.toml is not valid TOML: expected '=' after a key"),
        ("", "w.toml: object missing required field `regions`"),
        ("regions = []\nlinks = {}", "w.toml has 0 regions, expected 1 to 14"),
        (REGION + "[links]\npublik = []", "w.toml: links: object contains unknown field `publik`"),
        (REGION.replace("1", "91") + "[links]", "w.toml: regions[0].latitude: expected `float` <= 90.0"),
        (REGION.replace('"a"', '"A b"') + "[links]", "w.toml: regions[0].name: expected `str` matching regex"),
        (REGION + REGION + "[links]", "w.toml: region a is there twice"),
        (REGION + "relays = 1\n[links]", "w.toml: region a has services of a cluster, but no cluster = ID"),
        (REGION + "cluster = 1\ndirect = true\n[links]", "w.toml: region a has direct = true, but no transceivers"),
        (CLUSTER + CLUSTER.replace('"a"', '"b"') + "[links]", "w.toml: cluster 1 is there twice"),
        (
            REGION + '[links]\npublic = [{ from = "a", to = "b" }]',
            "w.toml: link public:a-b: there is no region b",
        ),
        (
            REGION + '[links]\nbackbone = [{ from = "a", to = "a" }]',
            "w.toml: link backbone:a-a leads nowhere, expected two regions",
        ),
        (
            REGION + '[links]\npublic = [{ from = "a", to = "a", loss_percent = 101 }]',
            "w.toml: links.public[0].loss_percent: expected `float` <= 100.0",
        ),
        (
            REGION + '[links]\npublic = [{ from = "a", to = "a" }, { from = "a", to = "a" }]',
            "w.toml: link public:a-a is there twice",
        ),
    ],
)
def test_a_wrong_world_is_refused_in_one_sentence_that_says_where(text: str, what: str) -> None:
    assert error_of(text).startswith(what)


def test_a_backbone_link_holds_both_ways_so_two_of_a_pair_are_refused() -> None:
    other = REGION.replace('"a"', '"b"')
    links = '[links]\nbackbone = [{ from = "a", to = "b" }, { from = "b", to = "a" }]'
    assert error_of(REGION + other + links) == "w.toml: backbone between a and b is there twice"


def test_a_missing_file_is_told_of() -> None:
    with pytest.raises(ConfigError, match="cannot read world file /nowhere: no such file"):
        world_text(Path("/nowhere"))


def test_every_host_has_a_namespace_and_addresses_of_its_own() -> None:
    plan = Plan("lab", read_world(*world_text(None)), Path("/nowhere"))
    assert len(set(plan.namespaces)) == len(plan.hosts)
    assert all(namespace.startswith("rrlab-lab-") for namespace in plan.namespaces)
    for addresses in ([host.private for host in plan.hosts], [host.public for host in plan.hosts]):
        given = [address for address in addresses if address is not None]
        assert len(set(given)) == len(given)
    ingress_ids = [host.ingress_id for host in plan.of("ingress", "relay")]
    assert len(set(ingress_ids)) == len(ingress_ids), "one for each public address, across all clusters"


def test_interface_names_are_not_longer_than_the_kernel_takes() -> None:
    world = read_world(REGION.replace('"a"', '"abcdefghijkl"') + "[links]", "w.toml")
    plan = Plan("lab", world, Path("/nowhere"))
    assert all(len(end.device) <= 15 for link in plan.links() for end in link.ends)
    built_in = Plan("lab", read_world(*world_text(None)), Path("/nowhere"))
    assert all(len(end.device) <= 15 for link in built_in.links() for end in link.ends)
