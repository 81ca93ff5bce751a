"""What one-shot commands make of services' admin sockets: the answers of played ones, in virtual time."""

from __future__ import annotations

import copy
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from rtcrelay.admin.client import AdminClient
from rtcrelay.admin.drain import drain, wait_until_empty
from rtcrelay.admin.status import status_of, statuses
from rtcrelay.errors import BackendError, ExitStatus, PeerError

RELAY: dict[str, Any] = {
    "role": "relay",
    "version": "1.2.3",
    "pid": 7,
    "uptime_s": 1.5,
    "cluster": 3,
    "gauges": {"flows": 4, "workers": 1},
    "drops": {"a": 1, "b": 2},
    "is_draining": False,
}
TRANSCEIVER: dict[str, Any] = {
    "role": "transceiver",
    "node": "a",
    "pid": 8,
    "uptime_s": 2.5,
    "cluster": 3,
    "gauges": {"sessions": 5, "paths": 6},
    "drops": {},
    "is_draining": False,
}


class Service:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, stats: dict[str, Any]) -> None:
        self.stats: Any = copy.deepcopy(stats)
        self.asked: list[str] = []
        self.health = (200, "ok\n")
        self.ready = (200, "ready\n")
        self.drains = True

    def answer(self, method: str, path: str) -> tuple[int, str]:
        self.asked.append(f"{method} {path}")
        if path == "/v1/drain" and self.drains:
            self.stats["is_draining"] = method == "POST"
            self.ready = (503, "draining\n") if method == "POST" else (200, "ready\n")
            return 200, "{}"
        pages = {"/healthz": self.health, "/readyz": self.ready, "/v1/stats": (200, json.dumps(self.stats))}
        return pages.get(path, (404, "404: Not Found"))


@contextmanager
def served(service: Service, path: Path) -> Iterator[AdminClient]:
    """The service behind a Unix socket."""

    class Handler(BaseHTTPRequestHandler):
        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def reply(self) -> None:
            status, text = service.answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = reply

    with ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield AdminClient(path)
        server.shutdown()
        thread.join()
    path.unlink()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[tuple[Service, AdminClient]]:
    service = Service(RELAY)
    with served(service, tmp_path / "relay.sock") as admin:
        yield service, admin


def test_a_relays_row_and_a_transceivers_have_the_same_fields(
    relay: tuple[Service, AdminClient], tmp_path: Path
) -> None:
    with served(Service(TRANSCEIVER), tmp_path / "t.sock") as transceiver:
        rows, errors = statuses([relay[1].socket, transceiver.socket])
    assert errors == []
    assert list(rows[0]) == list(rows[1])
    assert rows[0] == {
        "kind": "status",
        "v": 1,
        "role": "relay",
        "node": None,
        "state": "ready",
        "reason": None,
        "version": "1.2.3",
        "pid": 7,
        "uptime_s": 1.5,
        "cluster": 3,
        "flows": 4,
        "sessions": None,
        "dropped_packets": 3,
        "socket": str(relay[1].socket),
    }
    assert (rows[1]["node"], rows[1]["uptime_s"], rows[1]["sessions"]) == ("a", 2.5, 5)


def test_the_state_is_the_gravest_one_with_its_reason(relay: tuple[Service, AdminClient]) -> None:
    service, admin = relay
    service.ready = (503, "no socket\n")
    assert (status_of(admin)["state"], status_of(admin)["reason"]) == ("unready", "no socket")
    service.stats["is_draining"], service.ready = True, (503, "draining\n")
    assert status_of(admin)["state"] == "draining"
    service.health = (503, "0 of 1 workers live\n")
    assert (status_of(admin)["state"], status_of(admin)["reason"]) == ("unhealthy", "0 of 1 workers live")


def test_one_that_cannot_be_reached_does_not_hide_the_others(
    relay: tuple[Service, AdminClient], tmp_path: Path
) -> None:
    rows, (error,) = statuses([tmp_path / "none.sock", relay[1].socket])
    assert [row["pid"] for row in rows] == [7]
    assert str(error) == f"cannot reach the admin socket {tmp_path}/none.sock: no such file or directory"
    assert error.status == ExitStatus.UNAVAILABLE


def test_one_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()
        with pytest.raises(BackendError, match=r"deaf\.sock: no answer$"):
            AdminClient(tmp_path / "deaf.sock", timeout=0.01).ask("/healthz")


@pytest.mark.parametrize("stats", [{}, [], {"role": "relay", "gauges": None}, {**RELAY, "drops": 5}])
def test_another_form_of_answer_is_the_services_fault(relay: tuple[Service, AdminClient], stats: Any) -> None:
    relay[0].stats = stats
    with pytest.raises(PeerError, match=r"relay\.sock answered "):
        status_of(relay[1])


def test_draining_is_told_to_each_and_can_be_cancelled(relay: tuple[Service, AdminClient]) -> None:
    service, admin = relay
    (row,), errors = drain([admin])
    assert (row["state"], errors, service.asked[0]) == ("draining", [], "POST /v1/drain")
    (row,), _ = drain([admin], cancel=True)
    assert row["state"] == "ready"


def test_one_that_cannot_drain_does_not_keep_the_others_from_it(
    relay: tuple[Service, AdminClient], tmp_path: Path
) -> None:
    old = Service(TRANSCEIVER)
    old.drains = False
    with served(old, tmp_path / "t.sock") as transceiver:
        rows, (error,) = drain([transceiver, relay[1]])
    assert [row["role"] for row in rows] == ["relay"]
    assert str(error) == f"{tmp_path}/t.sock answered 404 to POST /v1/drain: 404: Not Found"


class Passing:
    """Time that passes only while somebody sleeps, and what happens then."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.now = 50.0
        self._events = list(events)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self._events:
            self._events.pop(0)()


def test_waiting_ends_when_nothing_is_left_and_tells_every_change(relay: tuple[Service, AdminClient]) -> None:
    service, admin = relay
    gauges = service.stats["gauges"]
    time = Passing(
        lambda: None, lambda: gauges.update(flows=1), lambda: gauges.update(flows=2), lambda: gauges.update(flows=0)
    )
    told: list[int] = []
    wait_until_empty([admin], told.append, clock=lambda: time.now, sleep=time.sleep)
    assert told == [4, 1, 2]
    assert time.now == 54.0


def test_waiting_ends_at_its_time_limit_with_what_is_left(relay: tuple[Service, AdminClient]) -> None:
    time = Passing()
    with pytest.raises(BackendError) as caught:
        wait_until_empty([relay[1]], lambda _: None, timeout=2.5, clock=lambda: time.now, sleep=time.sleep)
    assert (str(caught.value), caught.value.status) == (
        "4 flows or sessions are left after 2s500ms",
        ExitStatus.TEMPORARY,
    )
    assert time.now == 52.5


def test_one_that_ends_while_it_drains_has_nothing_left(tmp_path: Path) -> None:
    wait_until_empty([AdminClient(tmp_path / "gone.sock")], lambda _: None, sleep=lambda _: pytest.fail("why wait?"))
