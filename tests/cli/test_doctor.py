"""``rtcrelay doctor`` against services, files and servers that are there."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from store.server import running

from .conftest import Cli
from .relay_process import RelayProcess


@pytest.fixture(autouse=True)
def _runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))


@pytest.fixture
def relay(tmp_path: Path, key_file: str) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path, key_file) as relay:
        yield relay


def findings(cli: Cli, *args: str, status: int | None = None) -> dict[str, list[dict[str, Any]]]:
    """The findings by check."""
    done = cli("doctor", *args, "--json", "--timeout", "1s")
    assert status is None or done.status == status, done.err
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(done.out):
        found.setdefault(row["check"], []).append(row)
    return found


def one(found: dict[str, list[dict[str, Any]]], check: str) -> tuple[str, str, str | None]:
    (row,) = found[check]
    return row["verdict"], row["message"], row["remedy"]


def write_config(directory: Path, key_file: str, content: str) -> str:
    path = directory / "site.toml"
    path.write_text(f'key_file = "{key_file}"\n{content}\n')
    return str(path)


def test_on_a_machine_where_nothing_is_configured_nothing_fails(cli: Cli) -> None:
    found = findings(cli, status=0)
    assert {row["verdict"] for row in found["files.configuration"]} == {"skip"}
    assert one(found, "running.services") == ("skip", "no service runs here", "rtcrelay serve relay --help")
    assert one(found, "network.vip")[0] == "skip"


def test_a_relay_that_runs_well_passes(cli: Cli, relay: RelayProcess, tmp_path: Path, key_file: str) -> None:
    config = write_config(tmp_path, key_file, "[relay]")
    found = findings(cli, "--config", config, status=0)
    assert one(found, "files.configuration")[:2] == ("pass", "relay: settings are sound")
    assert one(found, "files.keys")[:2] == ("pass", f"{key_file}: mode 0600, 1 keys, key 3 mints")
    assert one(found, "running.services")[1] == f"relay (process {relay.process.pid}) is ready"
    assert one(found, "running.keys")[0] == "pass"
    assert one(found, "running.overflows")[0] == "pass"
    assert one(found, "files.admin_sockets")[:2] == ("pass", f"{relay.admin} has mode 0660")
    host, port = relay.public()
    verdict, message, _ = one(found, "network.vip")
    assert verdict == "pass"
    assert message.startswith(f"{host}:{port} answers in ")


def test_keys_that_a_server_has_not_read_and_a_socket_open_to_all_are_found(
    cli: Cli, relay: RelayProcess, tmp_path: Path, key_file: str
) -> None:
    config = write_config(tmp_path, key_file, "[relay]")
    assert cli("keys", "rotate", "--key-file", key_file).status == 0
    relay.admin.chmod(0o666)
    found = findings(cli, "--config", config, status=1)
    verdict, message, remedy = one(found, "running.keys")
    assert (verdict, remedy) == ("warn", f"kill -HUP {relay.process.pid}")
    assert "has not read the file" in message
    assert one(found, "files.admin_sockets") == (
        "fail",
        f"every user may steer the service at {relay.admin} (mode 0666)",
        f"chmod 660 {relay.admin}",
    )


def test_secrets_that_others_may_read_fail_with_the_command_that_mends_them(
    cli: Cli, tmp_path: Path, key_file: str
) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-good-length")
    token.chmod(0o644)
    config = write_config(tmp_path, key_file, f'[transceiver]\nauth_token_file = "{token}"')
    Path(key_file).chmod(0o640 | 0o004)
    found = findings(cli, "--config", config, status=1)
    assert one(found, "files.keys")[::2] == ("fail", f"chmod 600 {key_file}")
    assert one(found, "files.secrets")[::2] == ("fail", f"chmod 600 {token}")
    token.chmod(0o600)
    assert one(findings(cli, "--config", config), "files.secrets") == ("pass", f"token file {token} is private", None)


def test_a_public_address_without_a_relay_fails_in_time(cli: Cli, tmp_path: Path, key_file: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        config = write_config(tmp_path, key_file, f'[transceiver]\ningress = "127.0.0.1:{port}"')
        begun = time.monotonic()
        found = findings(cli, "--config", config, status=1)
        assert time.monotonic() - begun < 4
    verdict, message, remedy = one(found, "network.vip")
    assert (verdict, remedy) == ("fail", f"rtcrelay probe stun 127.0.0.1:{port}")
    assert message == f"127.0.0.1:{port} does not answer: no relay there, or a firewall in between"


def test_a_service_that_was_killed_and_one_that_hangs_fail(
    cli: Cli, relay: RelayProcess, tmp_path: Path, key_file: str
) -> None:
    relay.process.kill()
    relay.process.wait()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "transceiver-x.sock"))
        deaf.listen()
        found = findings(cli, status=1)
    assert [row["verdict"] for row in found["running.services"]] == ["fail", "fail"]
    assert [row["message"].rpartition(": ")[2] for row in found["running.services"]] == [
        "connection refused",
        "no answer",
    ]


def test_a_wrong_configuration_fails_and_names_the_command_that_says_more(
    cli: Cli, tmp_path: Path, key_file: str
) -> None:
    config = write_config(tmp_path, key_file, "[relay]\nworkers = 99")
    found = findings(cli, "--config", config, status=1)
    verdict, message, remedy = one(found, "files.configuration")
    assert (verdict, remedy) == ("fail", "rtcrelay config check relay")
    assert "'99' is not a whole number from 1 to 64" in message


def write_certificate(directory: Path, days: int) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
    )
    cert, private = directory / "cert.pem", directory / "key.pem"
    cert.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.touch(0o600)
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return cert, private


@pytest.mark.parametrize(("days", "verdict"), [(60, "pass"), (5, "warn"), (-1, "fail")])
def test_a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_fails(
    cli: Cli, tmp_path: Path, key_file: str, days: int, verdict: str
) -> None:
    cert, key = write_certificate(tmp_path, days)
    config = write_config(tmp_path, key_file, f'[transceiver]\ntls_cert = "{cert}"\ntls_key = "{key}"')
    found, _, remedy = one(findings(cli, "--config", config), "files.certificates")
    assert found == verdict
    assert (remedy is None) == (verdict == "pass")


@pytest.mark.parametrize("server", ["valkey", "redis"])
def test_redis_is_examined(cli: Cli, tmp_path: Path, key_file: str, server: str, requires: Callable[..., None]) -> None:
    if server == "redis":
        requires(command="redis-server", install="apt-get install redis-server")
    with running(server, "--maxmemory", "50mb", "--maxmemory-policy", "noeviction") as found_server:
        config = write_config(tmp_path, key_file, f'redis = "{found_server.url}"\n[relay]')
        found = findings(cli, "--config", config)
        assert one(found, "redis.server")[0] == "pass"
        assert one(found, "redis.server")[1].startswith(f"{server} ")
        assert one(found, "redis.latency")[0] in ("pass", "warn")
        assert one(found, "redis.msetex")[0] == "pass"
        assert one(found, "redis.clock")[0] == "pass"
        verdict, message, remedy = one(found, "redis.eviction")
        assert (verdict, remedy) == (
            "warn",
            f"redis-cli -u {found_server.url} config set maxmemory-policy volatile-ttl",
        )
        assert "noeviction" in message


def test_redis_that_is_not_there_fails_and_one_that_is_not_configured_is_skipped(
    cli: Cli, tmp_path: Path, key_file: str
) -> None:
    config = write_config(tmp_path, key_file, 'redis = "redis://127.0.0.1:1"\n[relay]')
    verdict, message, remedy = one(findings(cli, "--config", config, status=1), "redis.server")
    assert (verdict, remedy) == ("fail", "redis-cli -u redis://127.0.0.1:1 ping")
    assert "redis://127.0.0.1:1 does not serve" in message
    config = write_config(tmp_path, key_file, "[relay]")
    assert one(findings(cli, "--config", config), "redis.server")[0] == "skip"


def test_the_plain_form_has_columns_and_problems_alone_are_shown_on_request(
    cli: Cli, tmp_path: Path, key_file: str
) -> None:
    done = cli("doctor", "--timeout", "1s")
    assert done.out.splitlines()[0].split() == ["VERDICT", "CHECK", "FINDING", "REMEDY"]
    words = done.err.split()
    assert words[1::2] == ["pass,", "skip,", "warn,", "fail"]
    config = write_config(tmp_path, key_file, "[relay]\nworkers = 99")
    shown = cli("doctor", "--config", config, "--problems", "-H", "--timeout", "1s").out
    assert {line.split()[0] for line in shown.splitlines()} <= {"WARN", "FAIL"}
    assert "FAIL" in shown
    table = cli("doctor", "--config", config, "--problems", "-o", "table", "--timeout", "1s").out
    assert "\n" + " " * 27 + "$ rtcrelay config check relay\n" in table


def test_it_changes_nothing(cli: Cli, relay: RelayProcess, tmp_path: Path, key_file: str) -> None:
    def state() -> dict[str, tuple[int, float]]:
        return {entry.name: (entry.stat().st_size, entry.stat().st_mtime) for entry in os.scandir(tmp_path)}

    before, stats = state(), relay.ask("/v1/stats")[1]
    findings(cli)
    assert state() == before
    after = relay.ask("/v1/stats")[1]
    assert (after["gauges"], after["keys"], after["is_draining"]) == (stats["gauges"], stats["keys"], False)
