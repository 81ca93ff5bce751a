"""What a session's URL says about its owner, and where requests may be passed on to."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcrelay._dataplane import Route, mint_ufrag, open_ufrag
from rtcrelay.config import TransceiverSettings
from rtcrelay.errors import ConfigError
from rtcrelay.http.owners import MAX_NODE_ID, Owner, Owners
from rtcrelay.transceiver.owner import own_address, owner_rules

from .network import Caller, Network, key_file, settings

OWN = ("10.0.0.1", 8080)


@pytest.mark.parametrize(
    ("http", "media", "changes", "owner"),
    [
        (("10.0.3.7", 8080), ("10.0.3.8", 7000), {}, ("10.0.3.7", 8080)),
        (("0.0.0.0", 8080), ("10.0.3.8", 7000), {}, ("10.0.3.8", 8080)),
        (("::1", 8080), ("10.0.3.8", 7000), {"signaling_address": ("10.0.3.9", 80)}, ("10.0.3.9", 80)),
        (("fd00::8", 8080), ("fd00::8", 7000), {"node_id": 258}, ("0.0.1.2", 8080)),
        (("0.0.0.0", 8080), ("fd00::8", 7000), {"node_id": 1}, ("0.0.0.1", 8080)),
        (("fd00::8", 8080), ("fd00::8", 7000), {"node_id": 1, "signaling_address": OWN}, OWN),
    ],
)
def test_the_owner_is_named_by_ipv4_address_or_node_id(
    tmp_path: Path, http: tuple[str, int], media: tuple[str, int], changes: dict[str, object], owner: tuple[str, int]
) -> None:
    assert own_address(settings(tmp_path, **changes), http, media) == owner


@pytest.mark.parametrize("node", [None, MAX_NODE_ID + 1])
def test_an_owner_that_cannot_be_named_stops_the_start(tmp_path: Path, node: int | None) -> None:
    with pytest.raises(ConfigError, match=r"--http \[fd00::8\]:8080 is IPv6") as caught:
        own_address(settings(tmp_path, node_id=node), ("fd00::8", 8080), ("fd00::8", 7000))
    assert "--node-id" in (caught.value.hint or "")
    with pytest.raises(ConfigError, match=r"--signaling-address \[::1\]:1 is IPv6"):
        own_address(settings(tmp_path, signaling_address=("::1", 1)), OWN, OWN)


def test_the_sessions_url_names_its_owner(network: Network) -> None:
    route = open_ufrag(network.transceiver.keys.ring, Caller(network).accepted.resource.partition(".")[0])
    assert (route.kind, route.cluster, route.ip, route.port) == ("session", 7, "127.0.0.1", 8080)


class Site:
    """Another transceiver's view: tokens made with the shared key."""

    def __init__(self, directory: Path, **changes: object) -> None:
        self.keys = key_file(directory)
        values: dict[str, object] = {"signaling_peers": ("10.0.0.0/8:8080-8090", "[fd00::/8]:8080"), **changes}
        self.settings: TransceiverSettings = settings(directory, **values)
        self.owners = Owners(owner_rules(self.settings, self.keys), OWN)

    def find(self, ip: str, port: int = 8080, cluster: int = 7) -> Owner | None:
        return self.owners.find(mint_ufrag(self.keys.ring, Route("session", cluster, ip=ip, port=port)))


def test_another_owner_of_the_cluster_is_found(tmp_path: Path) -> None:
    assert Site(tmp_path).find("10.0.0.2") == Owner(("10.0.0.2", 8080), True, 7)


@pytest.mark.parametrize(("ip", "port"), [("192.0.2.1", 8080), ("10.0.0.2", 22), ("10.0.0.2", 8091), ("127.0.0.1", 80)])
def test_an_owner_outside_the_peers_networks_is_never_asked(tmp_path: Path, ip: str, port: int) -> None:
    assert Site(tmp_path).find(ip, port) == Owner((ip, port), False, 7)


def test_we_are_no_other_owner(tmp_path: Path) -> None:
    assert Site(tmp_path).find(*OWN) is None


def test_another_cluster_may_have_the_same_addresses_and_is_not_asked(tmp_path: Path) -> None:
    assert Site(tmp_path).find("10.0.0.2", cluster=8) is None


def test_what_is_no_authentic_session_token_names_nobody(tmp_path: Path) -> None:
    site = Site(tmp_path)
    ring = site.keys.ring
    token = mint_ufrag(ring, Route("session", 7, ip="10.0.0.2", port=8080))
    forged = token[:-2] + ("aa" if token[-2:] != "aa" else "ba")
    media = mint_ufrag(ring, Route("endpoint", 7, ip="10.0.0.2", port=8080))
    for text in ("", "x", token.upper(), token + "a", forged, media, "\ud800" * 27, "a" * 27):
        assert site.owners.find(text) is None


def test_a_node_id_is_looked_up_in_the_node_table(tmp_path: Path) -> None:
    site = Site(tmp_path, nodes={258: ("fd00::8", 7000), 259: ("2001:db8::1", 7000), 0: ("fd00::9", 7000)})
    assert site.find("0.0.1.2") == Owner(("fd00::8", 8080), True, 7)
    assert site.find("0.0.1.3") == Owner(("2001:db8::1", 8080), False, 7)
    assert site.find("0.0.0.0") == Owner(("fd00::9", 8080), True, 7)
    assert site.find("0.0.9.9") is None
