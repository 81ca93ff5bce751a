"""Which ingresses count as healthy: by what they answered."""

from __future__ import annotations

import asyncio
import socket

import pytest

from rtcrelay._dataplane import read_stun
from rtcrelay.config.sites import Ingress, Place
from rtcrelay.signaling import ingress_health
from rtcrelay.signaling.ingress_health import MISSED, IngressHealth, IngressProber

FRA = Ingress("fra", ("203.0.113.1", 3478), Place(0, 0))
IAD = Ingress("iad", ("203.0.113.2", 3478), Place(0, 0))


def answer(request: bytes) -> bytes:
    return b"\x01\x01" + request[2:]


def test_three_questions_without_an_answer_make_it_unhealthy_and_one_answer_healthy() -> None:
    health = IngressHealth()
    for _ in range(MISSED):
        assert health.unhealthy == frozenset()
        _, (iad, request) = health.poll([FRA, IAD])
        health.handle(answer(request), iad)
    health.poll([FRA, IAD])
    assert health.unhealthy == {"fra"}
    (fra, request), _ = health.poll([FRA, IAD])
    health.handle(answer(request), fra)
    assert health.unhealthy == frozenset()


def test_only_the_answer_to_the_question_from_where_it_was_asked_counts() -> None:
    health = IngressHealth()
    for _ in range(MISSED + 1):
        ((fra, request),) = health.poll([FRA])
    for datagram, source in [
        (answer(request), ("203.0.113.9", 3478)),
        (answer(request[:8] + bytes(12)), fra),
        (request, fra),
        (answer(request)[:19], fra),
        (b"", fra),
    ]:
        health.handle(datagram, source)
        assert health.unhealthy == {"fra"}


def test_an_ingress_that_is_no_longer_in_the_file_is_forgotten() -> None:
    health = IngressHealth()
    for _ in range(MISSED + 1):
        health.poll([FRA])
    health.poll([IAD])
    assert health.unhealthy == frozenset()


def test_the_question_is_a_binding_request() -> None:
    ((_, request),) = IngressHealth().poll([FRA])
    assert request[:8] == b"\x00\x01\x00\x00\x21\x12\xa4\x42"
    message = read_stun(request)
    assert message is not None
    assert not message.attributes


async def test_the_prober_asks_over_sockets_and_tells_what_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress_health, "PERIOD_SECONDS", 0.01)
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        with IngressProber(lambda: [Ingress("here", server.getsockname(), Place(0, 0))], told.put_nowait):
            assert await asyncio.wait_for(told.get(), 5) == {"here"}

            def reply() -> None:
                request, source = server.recvfrom(100)
                server.sendto(answer(request), source)

            loop.add_reader(server, reply)
            assert await asyncio.wait_for(told.get(), 5) == frozenset()
            loop.remove_reader(server)
