"""The table of clusters: one for all relays, from options, environment and TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcrelay import config, keys
from rtcrelay.errors import ConfigError

KEYS = {"key_file": "keys.toml"}
NO_ENVIRONMENT = {"HOME": "/nonexistent"}


def settings(flags: dict[str, object], file: Path | None = None, **environ: str) -> config.RelaySettings:
    return config.relay_settings({**KEYS, **flags}, file, {**NO_ENVIRONMENT, **environ})


def test_several_relays_share_a_cluster_however_they_are_written(tmp_path: Path) -> None:
    expected = {7: (("10.7.0.1", 3479), ("10.7.0.2", 3479)), 8: (("fd00::8", 3480),)}
    words = ["7=10.7.0.1:3479", "7=10.7.0.2:3479", "8=[fd00::8]:3480"]
    assert settings({"clusters": words}).clusters == expected
    assert settings({}, RTCRELAY_CLUSTERS=" ".join(words)).clusters == expected
    file = tmp_path / "relay.toml"
    file.write_text('[clusters]\n7 = ["10.7.0.1:3479", "10.7.0.2:3479"]\n8 = "[fd00::8]:3480"\n')
    assert settings({}, file).clusters == expected
    assert settings({"clusters": [words[0], words[0]]}).clusters == {7: (("10.7.0.1", 3479),)}, "once"


def test_what_is_printed_is_read_again(tmp_path: Path) -> None:
    words = ["7=10.7.0.1:3479", "8=[fd00::8]:3480", "7=10.7.0.2:3479"]
    file = tmp_path / "relay.toml"
    file.write_text(config.show("relay", {**KEYS, "clusters": words, "ingress_only": True}, None, NO_ENVIRONMENT))
    assert settings({}, file) == settings({"clusters": words, "ingress_only": True})


def test_a_global_ingress_has_no_cluster() -> None:
    found = settings({"clusters": ["7=10.7.0.1:3479"], "ingress_only": True})
    assert found.cluster is None
    assert settings({"clusters": ["7=10.7.0.1:3479"]}).cluster == 0


def test_heartbeats_can_stand_in_for_a_global_ingress_s_table_within_peers() -> None:
    found = settings({"ingress_only": True, "redis": "redis://127.0.0.1", "peers": ["10.7.0.0/16"]})
    assert (found.cluster, found.clusters, found.peers) == (None, {}, ("10.7.0.0/16",))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"clusters": ["7"]}, "--clusters: '7' is not a cluster's relay, expected ID=IP:PORT, for example"),
        ({"clusters": ["65536=10.7.0.1:1"]}, "--clusters: '65536=10.7.0.1:1' is not a cluster's relay: the id '65536'"),
        ({"clusters": ["7=0.0.0.0:1"]}, "--clusters: '7=0.0.0.0:1' is a wildcard, expected the one address to use"),
        ({"clusters": ["7=8.8.8.8:1"]}, "--clusters: '7=8.8.8.8:1' is outside the private"),
        ({"ingress_only": True}, "--ingress-only is given without --clusters"),
        ({"ingress_only": True, "redis": "redis://127.0.0.1"}, "--ingress-only is given without --clusters"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(flags)
    assert str(raised.value).startswith(message)


def test_a_relay_is_of_one_cluster_and_no_transceiver(tmp_path: Path) -> None:
    from rtcrelay.relay.policy import load_policy

    key_file = str(tmp_path / "keys.toml")
    keys.write_key_file(Path(key_file), keys.generate())
    for words, networks, message in (
        (["7=10.7.0.1:1", "8=10.7.0.1:1"], ["10.0.3.0/24"], "the relay 10.7.0.1:1 is in two clusters"),
        (
            ["7=10.0.3.1:1"],
            ["10.0.3.0/24"],
            "the transceiver network 10.0.3.0/24 overlaps the peer network 10.0.3.1/32",
        ),
        (
            [f"7=10.7.0.{n}:1" for n in range(1, 34)],
            [],
            "the number of relays of cluster 7 is 33, not between 1 and 32",
        ),
    ):
        found = settings({"clusters": words, "transceivers": networks or ["10.0.3.0/24"], "key_file": key_file})
        with pytest.raises(ConfigError, match=message.replace(".", "[.]")):
            load_policy(found)
