"""What stops a transceiver before it starts, and what it tells others about its addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcrelay.errors import ConfigError, ExitStatus
from rtcrelay.http.access import read_token
from rtcrelay.keys import generate, load_key_file
from rtcrelay.transceiver import service
from rtcrelay.transceiver.service import check, run
from rtcrelay.transceiver.transceiver import Transceiver

from .network import HTTP, MEDIA, Network, settings


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("  a-token-of-good-length\n")
    assert read_token(path) == "a-token-of-good-length"
    assert read_token(None) is None


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
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_token(path)
    assert caught.value.status == ExitStatus.CONFIG


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("  a-token-of-good-length\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"token file .* has mode 0644: others may read or change it") as caught:
        read_token(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_missing_token_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read token file .*: no such file or directory"):
        read_token(tmp_path / "nothing")


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
    with pytest.raises(ConfigError, match="no backend 'parrots'") as caught:
        Transceiver(settings(tmp_path, backend="parrots"), keys, lambda: 0.0)
    assert "echo, file:PATH, null, parrot, pcm-echo, python:MODULE:NAME" in (caught.value.hint or "")


def test_without_an_address_for_clients_nobody_could_call(tmp_path: Path) -> None:
    keys = load_key_file(keys_in_state(tmp_path, "active"))
    transceiver = Transceiver(settings(tmp_path, ingresses=()), keys, lambda: 0.0)
    with pytest.raises(ConfigError, match="no address that clients can send to"):
        transceiver.open(MEDIA, HTTP, Network(transceiver, 0.0), None)


def test_check_says_what_would_run(tmp_path: Path) -> None:
    keys_in_state(tmp_path, "active")
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("a-token-of-good-length")
    line = check(settings(tmp_path, auth_token_file=token))
    assert line.startswith("configuration is sound: test, http://127.0.0.1:8080, media 127.0.0.1:7000; cluster 7; keys")
    assert "a-token" not in line


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"auth_token_file": Path("/nowhere")}, "cannot read token file"),
        ({"tls_cert": Path("/nowhere"), "tls_key": Path("/nowhere")}, "cannot read TLS file"),
        ({"backend": "parrots"}, "no backend 'parrots'"),
        ({"ingresses": ()}, "no address that clients can send to"),
        ({"http": ("::1", 8080)}, "does not fit into a session's URL"),
    ],
)
def test_check_finds_what_would_stop_the_start_before_anything_is_bound(
    tmp_path: Path, changes: dict[str, object], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(path: object) -> None:
        raise AssertionError("something is bound")

    keys_in_state(tmp_path, "active")
    monkeypatch.setattr(service, "AdminSocket", bind)  # the first of all
    for start in (check, run):
        with pytest.raises(ConfigError, match=complaint):
            start(settings(tmp_path, **changes))
