"""What strangers can do to a server by holding connections open."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from rtcrelay.http.limits import HttpLimits, source_of
from rtcrelay.http.server import start_http

HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = 60.0


class Server:
    """A server's port, what it counted, and connections to it from addresses of 127.0.0.0/8."""

    def __init__(self, port: int, counts: Counter[str]) -> None:
        self.counts = counts
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, sent: bytes, source: str = "127.0.0.1") -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))
        self._writers.append(writer)
        writer.write(sent)
        return reader

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()


@asynccontextmanager
async def serving(connections: int = 8, share: int = 8, head_seconds: float = LONG) -> AsyncIterator[Server]:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    counts: Counter[str] = Counter()
    limits = HttpLimits(
        connections,
        share,
        head_seconds,
        on_refused=lambda: counts.update(["refused"]),
        on_late=lambda: counts.update(["late"]),
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        end = await start_http(app, listener, limits=limits)
        server = Server(listener.getsockname()[1], counts)
        yield server
        server.hang_up()
        await end()


async def is_answered(reader: asyncio.StreamReader) -> bool:
    """Whether a response comes before the connection is closed."""
    try:
        return b" 200 OK" in await reader.readline()
    except ConnectionError:
        return False


async def test_a_connection_whose_head_is_late_is_closed() -> None:
    async with serving(head_seconds=0.05) as server:
        for sent in (b"", HALF):
            assert not await is_answered(await server.connect(sent))
        assert server.counts == {"late": 2}


async def test_a_connection_whose_head_came_in_time_stays_for_the_next_request() -> None:
    async with serving(head_seconds=0.05) as server:
        reader = await server.connect(WHOLE)
        assert await is_answered(reader)
        assert not await is_answered(await server.connect(HALF))  # long enough for both
        assert await reader.readuntil(b"hello")
        assert not reader.at_eof()
        assert server.counts == {"late": 1}


async def test_the_end_of_a_head_is_seen_in_whatever_pieces_it_comes() -> None:
    async with serving(head_seconds=0.2) as server:
        reader = await server.connect(b"")
        (writer,) = server._writers
        for number in range(len(WHOLE)):
            writer.write(WHOLE[number : number + 1])
            await writer.drain()
        assert await is_answered(reader)


async def test_half_heads_from_one_source_leave_room_for_everybody_else() -> None:
    async with serving(connections=8, share=4) as server:
        slow = [await server.connect(HALF, "127.0.0.9") for _ in range(20)]
        assert await is_answered(await server.connect(WHOLE))
        for reader in slow[4:]:
            assert not await is_answered(reader)
        assert server.counts == {"refused": 16}


async def test_over_the_limit_connections_are_refused_until_others_end(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(connections=4, share=2) as server:
        for number in range(4):
            await server.connect(HALF, f"127.0.0.{number + 2}")
        with caplog.at_level(logging.WARNING, "rtcrelay.http"):
            for _ in range(3):
                assert not await is_answered(await server.connect(WHOLE))
        (record,) = caplog.records
        assert "are refused (1): 4 are open" in record.getMessage()
        assert server.counts == {"refused": 3}
        server.hang_up()
        while not await is_answered(await server.connect(WHOLE)):
            pass


async def test_a_client_that_leaves_before_its_head_is_no_late_one() -> None:
    async with serving(head_seconds=0.05) as server:
        await server.connect(HALF)
        server.hang_up()
        assert not await is_answered(await server.connect(HALF))
        assert server.counts == {"late": 1}


def test_the_connections_take_at_most_half_of_the_processs_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, expected in ((300, 150), (4096, 1024), (1, 1), (resource.RLIM_INFINITY, 1024)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert HttpLimits().most_connections == expected


@pytest.mark.parametrize(
    ("ip", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv4_address_and_an_ipv6_network_are_one_source_each(ip: str, source: str) -> None:
    assert source_of(ip) == source
