"""What each worker of a transceiver runs with, and how its admin sockets are found."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from rtcrelay import config
from rtcrelay.config.workers import sockets_of, worker_settings
from rtcrelay.errors import ConfigError


def transceiver(**flags: Any) -> config.TransceiverSettings:
    return config.transceiver_settings({"key_file": "keys.toml", "node": "a", **flags}, None, {})


def test_a_worker_has_a_port_a_name_a_socket_and_an_id_of_its_own() -> None:
    service = transceiver(
        workers="4",
        media="10.0.3.7:7000",
        direct="10.0.3.7:7100",
        node_id="40",
        admin="/run/x/t.sock",
        http="127.0.0.1:80",
    )
    one = worker_settings(service, 2)
    assert (one.worker, one.media, one.direct) == (2, ("10.0.3.7", 7002), ("10.0.3.7", 7102))
    assert (one.node, one.node_id, one.admin_socket) == ("a-w2", 42, Path("/run/x/t-w2.sock"))
    assert (one.http, one.ingresses, one.max_sessions) == (service.http, service.ingresses, service.max_sessions)
    assert transceiver().workers == 1
    assert transceiver().worker is None


def test_ports_that_the_kernel_chooses_stay_so() -> None:
    assert worker_settings(transceiver(workers="3", media="127.0.0.1:0"), 2).media == ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"media": "127.0.0.1:65530", "workers": "7"},
            "'127.0.0.1:65530' and the 6 ports after it go beyond 65535",
        ),
        (
            {"direct": "127.0.0.1:65535", "workers": "2"},
            "'127.0.0.1:65535' and the 1 ports after it go beyond",
        ),
        (
            {"direct": "127.0.0.1:7001", "workers": "2"},
            "and --media '127.0.0.1:7000' both need port 7001",
        ),
        ({"node": "n" * 61, "workers": "2"}, "leaves no room for a worker's number"),
        ({"node_id": "4294967295", "workers": "2"}, "2 workers need as many ids"),
        ({"workers": "65"}, "--workers: '65'"),
        ({"workers": "0"}, "--workers: '0'"),
    ],
)
def test_what_workers_cannot_have_is_refused(flags: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        transceiver(**flags)
    assert message in str(caught.value)


def test_ports_that_just_fit_are_taken() -> None:
    assert transceiver(media="127.0.0.1:65530", workers="6").workers == 6
    assert transceiver(direct="127.0.0.1:7002", workers="2").workers == 2
    assert transceiver(direct="127.0.0.2:7000", workers="2").workers == 2


def test_the_name_of_a_service_finds_the_sockets_of_its_workers(tmp_path: Path) -> None:
    named = tmp_path / "transceiver-a.sock"
    assert sockets_of(named) == [named]
    for name in ("transceiver-a-w10", "transceiver-a-w2", "transceiver-ab-w0", "transceiver-a-wx"):
        (tmp_path / f"{name}.sock").touch()
    assert [path.name for path in sockets_of(named)] == ["transceiver-a-w2.sock", "transceiver-a-w10.sock"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(named))
        assert sockets_of(named) == [named]
    assert config.find_admin_sockets([str(tmp_path / "transceiver-b.sock")], None, {}) == [
        tmp_path / "transceiver-b.sock"
    ]
