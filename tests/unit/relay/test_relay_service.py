"""What the relay's control plane makes of settings and of the kernel's errors."""

from __future__ import annotations

import errno
import ipaddress
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcrelay import config, keys
from rtcrelay._dataplane import KeyRing, Policy
from rtcrelay.config import text
from rtcrelay.errors import ConfigError, ExitStatus, bind_error
from rtcrelay.relay import service


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    keys.write_key_file(path, keys.format_key(0, b"0123456789abcdef", datetime.now(UTC)))
    return path


def test_a_check_says_in_one_line_what_would_run(key_file: Path) -> None:
    settings = config.relay_settings({"key_file": str(key_file), "cluster": "7"}, None, {})
    fingerprint = keys.load_key_file(key_file).fingerprints()[0][1]
    assert service.check(settings) == (
        f"configuration is sound: 0.0.0.0:3478 to 127.0.0.1:3479; cluster 7; keys 0 active {fingerprint}"
    )


def test_a_check_refuses_the_demo_key_on_a_public_address(tmp_path: Path) -> None:
    path = tmp_path / "demo.toml"
    keys.write_key_file(path, keys.format_key(0, keys.DEMO_SECRET, datetime.now(UTC)))
    flags: dict[str, object] = {"key_file": str(path)}
    with pytest.raises(ConfigError, match=r"and 0\.0\.0\.0 is not"):
        service.check(config.relay_settings(flags, None, {}))
    service.check(config.relay_settings(flags | {"listen": ["127.0.0.1"]}, None, {}))


@pytest.mark.parametrize(
    ("number", "status", "message", "hint"),
    [
        (
            errno.EADDRINUSE,
            ExitStatus.OS,
            "cannot bind 0.0.0.0:3478: address already in use",
            "ss -ulpn sport = :3478",
        ),
        (
            errno.EADDRNOTAVAIL,
            ExitStatus.OS,
            "cannot bind 0.0.0.0:3478: cannot assign requested address",
            "'ip address' lists the addresses of this machine",
        ),
        (
            errno.EACCES,
            ExitStatus.PERMISSION,
            "cannot bind 0.0.0.0:3478: permission denied",
            "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
        ),
        (errno.EMFILE, ExitStatus.OS, "cannot bind 0.0.0.0:3478: too many open files", None),
    ],
)
def test_an_address_that_cannot_be_bound_is_told_with_what_to_do(
    number: int, status: ExitStatus, message: str, hint: str | None
) -> None:
    error = bind_error("0.0.0.0:3478", "ulpn", OSError(number, os.strerror(number)))
    assert (str(error), error.hint, error.status) == (message, hint, status)


NETWORK = st.ip_addresses().flatmap(
    lambda ip: st.integers(0, ip.max_prefixlen).map(lambda bits: str(ipaddress.ip_network((ip, bits), strict=False)))
)
PORTS = st.lists(st.integers(1, 65535), min_size=2, max_size=2).map(sorted)


@given(NETWORK, PORTS)
def test_the_data_plane_accepts_every_network_that_settings_accept(network: str, ports: list[int]) -> None:
    bracketed = f"[{network}]" if ":" in network else network
    for written in (network, f"{bracketed}:{ports[0]}", f"{bracketed}:{ports[0]}-{ports[1]}"):
        Policy(KeyRing([(0, bytes(16), "active")]), transceivers=[text.parse_network_ports(written)])
