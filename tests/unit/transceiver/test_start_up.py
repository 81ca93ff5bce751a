"""What stops a transceiver before it starts, and what it tells others about its addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcrelay._dataplane import open_ufrag
from rtcrelay.errors import ConfigError, ExitStatus
from rtcrelay.keys import generate, load_key_file
from rtcrelay.transceiver.service import _read_token, run
from rtcrelay.transceiver.transceiver import Transceiver

from .network import HTTP, MEDIA, Caller, Network, settings


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("  a-token-of-good-length\n")
    assert _read_token(path) == "a-token-of-good-length"
    assert _read_token(None) is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "must hold one token of at least 16 characters"),
        (b"short", "must hold one token of at least 16 characters"),
        (b"two tokens of good length", "must hold one token"),
        ("a-tökén-of-good-length".encode(), "other characters than ASCII"),
    ],
)
def test_a_token_file_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint) as caught:
        _read_token(path)
    assert caught.value.status == ExitStatus.CONFIG


def test_a_missing_token_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read token file .*: no such file or directory"):
        _read_token(tmp_path / "nothing")


def test_a_missing_key_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run(settings(tmp_path))


def keys_in_state(directory: Path, state: str) -> Path:
    path = directory / "keys.toml"
    path.write_text(generate().replace('"active"', f'"{state}"'))
    path.chmod(0o600)
    return path


def test_without_an_active_key_nothing_can_be_minted(tmp_path: Path) -> None:
    keys = load_key_file(keys_in_state(tmp_path, "accept"))
    with pytest.raises(ConfigError, match="no active key"):
        Transceiver(settings(tmp_path), keys, lambda: 0.0)


def test_an_unknown_backend_names_those_there_are(tmp_path: Path) -> None:
    keys = load_key_file(keys_in_state(tmp_path, "active"))
    with pytest.raises(ConfigError, match="no backend 'parrot'") as caught:
        Transceiver(settings(tmp_path, backend="parrot"), keys, lambda: 0.0)
    assert caught.value.hint == "the backends are: echo"


def test_without_an_address_for_clients_nobody_could_call(tmp_path: Path) -> None:
    keys = load_key_file(keys_in_state(tmp_path, "active"))
    transceiver = Transceiver(settings(tmp_path, ingresses=()), keys, lambda: 0.0)
    with pytest.raises(ConfigError, match="no address that clients can send to"):
        transceiver.open(MEDIA, HTTP, Network(transceiver, 0.0), None)


@pytest.mark.parametrize(
    ("http", "media", "owner"),
    [
        (("10.0.3.7", 8080), ("10.0.3.8", 7000), ("10.0.3.7", 8080)),
        (("0.0.0.0", 8080), ("10.0.3.8", 7000), ("10.0.3.8", 8080)),
        (("::1", 8080), ("10.0.3.8", 7000), ("10.0.3.8", 8080)),
        (("::1", 8080), ("fd00::8", 7000), ("127.0.0.1", 8080)),
    ],
)
def test_the_sessions_url_names_an_address_of_its_owner(
    tmp_path: Path, http: tuple[str, int], media: tuple[str, int], owner: tuple[str, int]
) -> None:
    keys = load_key_file(keys_in_state(tmp_path, "active"))
    transceiver = Transceiver(settings(tmp_path, node_id=1), keys, lambda: 0.0)
    network = Network(transceiver, 0.0)
    transceiver.open(media, http, network, None)
    route = open_ufrag(keys.ring, Caller(network).accepted.resource.partition(".")[0])
    assert (route.ip, route.port) == owner
