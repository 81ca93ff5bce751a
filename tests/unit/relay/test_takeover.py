"""One relay takes another over, in one process and with real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rtcrelay._dataplane import SPP_HEADER, Policy, Relay, RelayConfig, SppHeader, pack_spp
from rtcrelay._dataplane import KeyRing as Ring
from rtcrelay.relay import takeover
from rtcrelay.relay.takeover import TakeoverError

RTP = b"\x80\x6f" + bytes(50)


class Site:
    """A running relay with one path, and what a successor needs."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "relay.takeover"
        self.transceiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.transceiver.bind(("127.0.0.1", 0))
        self.transceiver.settimeout(2)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.bind(("127.0.0.1", 0))
        self.client.settimeout(2)
        port = self.transceiver.getsockname()[1]
        self.policy = Policy(Ring([(0, bytes(16), "active")]), cluster=1, transceivers=[f"127.0.0.1/32:{port}"])
        self.old = Relay(RelayConfig([(("127.0.0.1", 0), ("127.0.0.1", 0))], self.policy, workers=2))
        self.old.start()
        self.vip, self.internal = self.old.listeners()[0]
        header = pack_spp(SppHeader(self.client.getsockname(), self.internal))
        self.transceiver.sendto(header + RTP, self.internal)  # founds the path
        assert self.client.recv(2048) == RTP
        self.listener = takeover.listen(self.path)
        self.listener.settimeout(5)
        self.threads = ThreadPoolExecutor(2)

    def successor(self, **changes: Any) -> Relay:
        listeners = changes.pop("listeners", [(self.vip, self.internal)])
        return Relay(RelayConfig(listeners, self.policy, workers=3, **changes))

    def hand_over(self) -> Future[bool]:
        """Lets the old relay serve one successor."""

        def serve() -> bool:
            connection, _ = self.listener.accept()
            with connection:
                return takeover.hand_over(connection, self.old, self.old.listeners())

        return self.threads.submit(serve)

    def close(self) -> None:
        self.threads.shutdown()
        self.old.stop()
        for sock in (self.transceiver, self.client, self.listener):
            sock.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5)
    connection.connect(str(path))
    return connection


def test_under_load_no_packet_is_lost_and_the_counters_go_on(site: Site) -> None:
    site.transceiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    stop, sent = threading.Event(), 0

    def load() -> None:
        nonlocal sent
        while not stop.wait(0.0002):
            site.client.sendto(b"\x80\x6f" + sent.to_bytes(8, "big") + bytes(50), site.vip)
            sent += 1

    loader = threading.Thread(target=load)
    loader.start()
    time.sleep(0.1)
    done = site.hand_over()
    new = site.successor()
    try:
        takeover.take_over(site.path, new, [(site.vip, site.internal)])
        assert done.result(5)
        site.old.stop()
        time.sleep(0.1)
        stop.set()
        loader.join()
        numbers = [int.from_bytes(site.transceiver.recv(2048)[SPP_HEADER + 2 :][:8], "big") for _ in range(sent)]
        assert sorted(numbers) == list(range(sent))
        assert sent > 100
        deadline = time.monotonic() + 5
        while new.counters()["routed_by_path"] < sent and time.monotonic() < deadline:
            time.sleep(0.001)
        assert new.counters()["routed_by_path"] == sent
        assert new.drops()["no_route"] == 0
    finally:
        stop.set()
        new.stop()


def test_only_the_owner_may_connect(site: Site) -> None:
    assert site.path.stat().st_mode & 0o777 == 0o600


def test_without_a_predecessor_there_is_nothing_to_take_over(site: Site, tmp_path: Path) -> None:
    with pytest.raises(TakeoverError, match=r"no relay answers at .*: no such file") as refused:
        takeover.take_over(tmp_path / "nobody", site.successor(), [(site.vip, site.internal)])
    assert refused.value.status == 69
    assert refused.value.hint == "start without --takeover if none runs"


def test_other_listeners_are_refused_and_the_old_relay_goes_on(site: Site) -> None:
    done = site.hand_over()
    other = (("127.0.0.1", 9), ("127.0.0.1", 10))
    with pytest.raises(TakeoverError, match="its listeners are others"):
        takeover.take_over(site.path, site.successor(listeners=[other]), [other])
    assert done.result(5) is False
    assert serves(site)


def serves(site: Site) -> bool:
    site.client.sendto(RTP, site.vip)
    return site.transceiver.recv(2048)[SPP_HEADER:] == RTP


def hello(site: Site) -> dict[str, Any]:
    listeners = [[list(site.vip), list(site.internal)]]
    return {"version": takeover.VERSION, "pid": os.getpid(), "listeners": listeners}


@pytest.mark.parametrize(
    "behave",
    [
        lambda connection, site: None,
        lambda connection, site: connection.sendall(b"\xff\xff\xff\xff"),
        lambda connection, site: connection.sendall(b"\x00\x00\x00\x02[]"),
        lambda connection, site: connection.sendall((1 << 19).to_bytes(4, "big") + b"[" * (1 << 19)),
        lambda connection, site: takeover._send_word(connection, {"listeners": {"a": 1}, "version": [1]}),
        lambda connection, site: takeover._send_word(connection, hello(site) | {"version": 99}),
        lambda connection, site: takeover._send_word(connection, hello(site)),
        lambda connection, site: _as_far_as_ready(connection, site),
    ],
    ids=["silent", "too long", "no object", "deep", "other types", "another version", "no ready", "no serving"],
)
def test_a_successor_that_breaks_off_leaves_the_old_relay_serving(
    site: Site, behave: Callable[[socket.socket, Site], None]
) -> None:
    done = site.hand_over()
    with closing(connect(site.path)) as connection:
        behave(connection, site)
    assert done.result(5) is False
    assert serves(site)
    assert site.old.gauges()["workers"] == 2


def _as_far_as_ready(connection: socket.socket, site: Site) -> None:
    takeover._send_word(connection, hello(site))
    offer = takeover._receive_word(connection)
    for descriptor in takeover._receive_descriptors(connection, 2 * len(offer["listeners"])):
        os.close(descriptor)
    takeover._receive_bytes(connection, offer["snapshot"])
    takeover._send_word(connection, {"word": "ready"})
    assert "counters" in takeover._receive_word(connection)


def test_a_stalled_successor_is_left_after_its_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "WORD_SECONDS", 0.2)
    done = site.hand_over()
    with closing(connect(site.path)) as connection:
        _as_far_as_ready(connection, site)
        assert done.result(5) is False
    assert serves(site)


def test_a_successor_listens_where_its_predecessor_did(site: Site) -> None:
    with closing(takeover.listen(site.path)) as second, closing(connect(site.path)):
        second.settimeout(2)
        accepted, _ = second.accept()
        accepted.close()
    assert list(site.path.parent.iterdir()) == [site.path]


OFFER = {"version": takeover.VERSION, "listeners": [0, 0], "snapshot": 0}


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        ({}, "it did not say whose sockets it passes"),
        (OFFER | {"listeners": 2}, "it did not say whose sockets it passes"),
        (OFFER | {"listeners": []}, "it did not say whose sockets it passes"),
        (OFFER | {"listeners": [0, "0"]}, "it did not say whose sockets it passes"),
        (OFFER | {"listeners": [0, 1]}, "it did not say whose sockets it passes"),
        (OFFER | {"listeners": [0, -1]}, "it did not say whose sockets it passes"),
        (OFFER | {"listeners": [0] * 2000}, "it did not say whose sockets it passes"),
        (OFFER | {"snapshot": None}, "it did not say how long its snapshot is"),
        (OFFER | {"snapshot": True}, "it did not say how long its snapshot is"),
        (OFFER | {"snapshot": -1}, "it did not say how long its snapshot is"),
        (OFFER | {"snapshot": 2**70}, "it did not say how long its snapshot is"),
        (OFFER, "it broke off among its descriptors"),
        (OFFER | {"descriptors": 2}, "it broke off among its descriptors"),
        (OFFER | {"descriptors": 6}, "it passed 6 descriptors and not 4"),
        (OFFER | {"descriptors": 4, "snapshot": 9}, "cannot take over: "),
        (OFFER | {"descriptors": 4, "snapshot": 1 << 20}, "it broke off"),
    ],
    ids=str,
)
def test_a_predecessor_that_says_what_makes_no_sense_leaves_nothing_open(
    tmp_path: Path, offer: dict[str, Any], message: str
) -> None:
    """It passes as many descriptors as ``descriptors`` says, and 64 bytes of rubbish."""
    offered, count = dict(offer), offer.get("descriptors", 0)
    with closing(takeover.listen(tmp_path / "takeover")) as listener, ThreadPoolExecutor(1) as threads:
        relay = Relay(RelayConfig([(("127.0.0.1", 0), ("127.0.0.1", 0))], Policy(Ring([(0, bytes(16), "active")]))))
        before = open_descriptors()
        done = threads.submit(play_predecessor, listener, offered, count)
        with pytest.raises(TakeoverError, match=message):
            takeover.take_over(tmp_path / "takeover", relay, [(("127.0.0.1", 1), ("127.0.0.1", 2))])
        done.result(5)
        del relay  # it has two of its own, for as long as it is there
        assert open_descriptors() == before


def play_predecessor(listener: socket.socket, offer: dict[str, Any], count: int) -> None:
    connection, _ = listener.accept()
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    with connection:
        takeover._receive_word(connection)
        takeover._send_word(connection, offer)
        if sockets:
            takeover._send_descriptors(connection, [sock.fileno() for sock in sockets])
            with contextlib.suppress(ConnectionError):  # the successor may have seen enough
                connection.sendall(bytes(64))
    for sock in sockets:
        sock.close()


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_descriptors_that_do_not_fit_are_an_error_and_leave_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        takeover._send_descriptors(theirs, [0, 1, 2, 0])
        monkeypatch.setattr(takeover, "_SPACE", socket.CMSG_LEN(2 * 4))
        before = open_descriptors()
        with pytest.raises(TakeoverError, match=r"not all descriptors came, for example because of 'ulimit -n'"):
            takeover._receive_descriptors(ours, 4)
        assert open_descriptors() == before


def test_descriptors_are_not_inherited_by_children() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        takeover._send_descriptors(theirs, [0])
        (descriptor,) = takeover._receive_descriptors(ours, 1)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
