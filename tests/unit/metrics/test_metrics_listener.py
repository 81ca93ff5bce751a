"""The TCP socket of metrics and health."""

from __future__ import annotations

import socket

import pytest

from rtcrelay.errors import BackendError, ExitStatus
from rtcrelay.metrics.listener import MetricsListener


def test_no_address_means_no_socket() -> None:
    with MetricsListener(None) as listener:
        assert listener is None


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_it_listens_at_once_and_until_the_end(ip: str) -> None:
    with MetricsListener((ip, 0)) as listener:
        assert listener is not None
        address = listener.getsockname()[:2]
        socket.create_connection(address).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_the_ipv6_wildcard_takes_ipv4_too() -> None:
    with MetricsListener(("::", 0)) as listener:
        assert listener is not None
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()


def test_an_address_in_use_is_one_sentence_with_the_command_that_shows_by_whom() -> None:
    with MetricsListener(("127.0.0.1", 0)) as listener:
        assert listener is not None
        port = listener.getsockname()[1]
        with pytest.raises(BackendError) as caught, MetricsListener(("127.0.0.1", port)):
            pass
    assert str(caught.value) == f"cannot serve metrics on 127.0.0.1:{port}: address already in use"
    assert (caught.value.hint, caught.value.status) == (f"ss -tlpn sport = :{port}", ExitStatus.OS)


def test_another_machines_address_is_one_sentence_too() -> None:
    with pytest.raises(BackendError, match=r"^cannot serve metrics on 192\.0\.2\.1:9: cannot assign requested"):
        MetricsListener(("192.0.2.1", 9)).__enter__()
