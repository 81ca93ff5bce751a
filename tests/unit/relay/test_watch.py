"""The control plane's regular look at the data plane."""

from __future__ import annotations

import asyncio
import socket

import pytest

from rtcrelay.metrics.kernel import receive_overflows
from rtcrelay.relay.watch import INTERVAL_SECONDS, Watch


class Scene:
    """A relay that fares as it is told, and a service manager."""

    def __init__(self, watchdog_seconds: float | None) -> None:
        self.failure: str | None = None
        self.counts: dict[str, int] = {}
        self.told: list[str] = []
        self.watch = Watch(lambda: self.failure, lambda: self.counts, self.told.append, watchdog_seconds)


def test_the_watchdog_is_patted_while_the_workers_live_and_not_after() -> None:
    scene = Scene(watchdog_seconds=10.0)
    assert scene.watch.look(0.0) is None
    assert scene.told == ["WATCHDOG=1"]
    scene.failure = "1 of 2 workers live"
    assert scene.watch.look(2.0) == "1 of 2 workers live"
    assert scene.told == ["WATCHDOG=1"]


def test_without_a_watchdog_nobody_is_told() -> None:
    scene = Scene(watchdog_seconds=None)
    scene.watch.look(0.0)
    assert scene.told == []


@pytest.mark.parametrize(("watchdog", "interval"), [(None, INTERVAL_SECONDS), (60.0, INTERVAL_SECONDS), (1.0, 0.5)])
def test_it_looks_at_least_twice_within_the_watchdogs_time(watchdog: float | None, interval: float) -> None:
    assert Scene(watchdog).watch.interval == interval


def test_what_went_wrong_is_logged_also_in_the_last_look(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(None)
    scene.watch.look(0.0)
    scene.counts, scene.failure = {"panics": 2}, "0 of 1 workers live"
    scene.watch.look(2.0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "stopped a worker's turn 2 times within 2 s" in caplog.text


async def test_it_looks_until_the_relay_must_be_restarted() -> None:
    scene = Scene(watchdog_seconds=0.000001)
    looking = asyncio.ensure_future(scene.watch.until_failure())
    async with asyncio.timeout(10):
        while len(scene.told) < 3:  # noqa: ASYNC110  # it looks every half microsecond
            await asyncio.sleep(0)
    assert not looking.done()
    scene.failure = "0 of 1 workers live"
    assert await looking == "0 of 1 workers live"


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_datagrams_that_a_full_socket_lost_are_counted(ip: str) -> None:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as full, socket.socket(family, socket.SOCK_DGRAM) as sender:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        full.bind((ip, 0))
        address = full.getsockname()[:2]
        assert receive_overflows([address]) == 0
        for _ in range(100):
            sender.sendto(bytes(1000), ("::1" if ":" in ip else "127.0.0.1", address[1]))
        received = 0
        full.setblocking(False)
        try:
            while True:
                full.recv(2000)
                received += 1
        except BlockingIOError:
            pass
        assert received < 100
        assert receive_overflows([address, address]) == 100 - received
        assert receive_overflows([]) == 0
