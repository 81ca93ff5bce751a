"""The connection to a service by its rules: tried again, given up, kept within bounds. Real sockets on loopback."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from cryptography import x509

from rtcrelay.transceiver.backends import find_backend
from rtcrelay.transceiver.backends import line as module
from rtcrelay.transceiver.backends.line import MAX_CONNECTIONS, Line, RubbishError, Service

from .test_tls import write
from .voices import SPEECH, Talk

Handler = Callable[[web.WebSocketResponse], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.01, 0.02))


class User:
    """Notes what a line tells."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.messages: list[str | bytes] = []
        self.room = True
        self.changed = asyncio.Event()

    def on_line(self, state: str, detail: str) -> None:
        self.states.append((state, detail))
        self.changed.set()

    def on_line_message(self, message: str | bytes) -> None:
        self.messages.append(message)
        self.changed.set()
        if message == "rubbish":
            raise RubbishError("it is rubbish")

    def has_room(self) -> bool:
        return self.room

    async def until(self, condition: Callable[[], Any], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @property
    def names(self) -> list[str]:
        return [state for state, _ in self.states]


@asynccontextmanager
async def service(
    handler: Handler, status: int | None = None, *, tls: ssl.SSLContext | None = None, autoping: bool = True
) -> AsyncIterator[tuple[Service, list[web.Request]]]:
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        if status is not None:
            return web.Response(status=status)
        socket = web.WebSocketResponse(autoping=autoping)
        await socket.prepare(request)
        await handler(socket)
        return socket

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    address = runner.addresses[0]
    try:
        yield Service(f"ws://127.0.0.1:{address[1]}/", {"Authorization": "Bearer a-token"}), requests
    finally:
        await runner.cleanup()


@asynccontextmanager
async def lined(to: Service) -> AsyncIterator[tuple[Line, User]]:
    user = User()
    line = Line(to, user, "test")
    try:
        yield line, user
    finally:
        line.close()
        await asyncio.gather(line._task, return_exceptions=True)


async def echo(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)


async def listen(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass


async def test_messages_pass_in_order_with_the_token_in_the_handshake() -> None:
    async with service(echo) as (where, requests), lined(where) as (line, user):
        assert not line.send("too early")
        await user.until(lambda: line.is_open)
        assert all(line.send(f"{n}") for n in range(100))
        assert line.send(b"bytes")
        await user.until(lambda: len(user.messages) == 101)
        assert user.messages == [*map(str, range(100)), b"bytes"]
        assert requests[0].headers["Authorization"] == "Bearer a-token"
        assert line.dropped == 1


@pytest.mark.parametrize("scheme", ["wss", "wss+pcm"])
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_service_with_tls_is_asked_for_a_certificate_before_it_gets_the_token(
    scheme: str, is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = write(tmp_path, names=(x509.IPAddress(ip_address("127.0.0.1")),))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    if is_trusted:  # as an operator names an authority of their own
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length")
    token.chmod(0o600)
    heard, ended = asyncio.Event(), asyncio.Event()

    async def hear(socket: web.WebSocketResponse) -> None:
        heard.set()
        await listen(socket)

    class Ended(Talk):
        def hang_up(self, *, lost: bool = False) -> None:
            super().hang_up(lost=lost)
            ended.set()

    async with service(hear, tls=tls) as (where, requests):
        talk = Ended()
        backend = find_backend(where.url.replace("ws:", f"{scheme}:"), token)(talk)
        await asyncio.wait_for((heard if is_trusted else ended).wait(), 20.0)
        backend.on_close()
    assert [request.headers["Authorization"] for request in requests] == ["Bearer a-token-of-some-length"] * is_trusted
    assert talk.end == (None if is_trusted else "lost")


async def test_a_service_that_closes_in_order_is_done() -> None:
    async def goodbye(socket: web.WebSocketResponse) -> None:
        await socket.close(code=1000)

    async with service(goodbye) as (where, requests), lined(where) as (_, user):
        await user.until(lambda: "ended" in user.names)
        assert user.names == ["connected", "ended"]
        assert len(requests) == 1


async def test_a_connection_that_breaks_is_made_again_but_not_for_ever() -> None:
    async def fail(socket: web.WebSocketResponse) -> None:
        await socket.close(code=1011)

    async with service(fail) as (where, requests), lined(where) as (_, user):
        await user.until(lambda: "lost" in user.names)
        assert user.names == ["connected", "broken"] * MAX_CONNECTIONS + ["lost"]
        assert "code 1011" in user.states[1][1]
        assert len(requests) == MAX_CONNECTIONS


async def test_a_service_that_dies_is_called_again_and_the_session_goes_on() -> None:
    first = True

    async def die_once(socket: web.WebSocketResponse) -> None:
        nonlocal first
        if first:
            first = False
            assert socket._req is not None
            transport = socket._req.transport
            assert transport is not None
            transport.abort()
            return
        await echo(socket)

    async with service(die_once) as (where, _), lined(where) as (line, user):
        await user.until(lambda: user.names == ["connected", "broken", "connected"])
        assert line.send("again")
        await user.until(lambda: user.messages == ["again"])


async def test_a_service_that_is_not_there_is_tried_three_times(unused_tcp_port: int) -> None:
    async with lined(Service(f"ws://127.0.0.1:{unused_tcp_port}/")) as (_, user):
        await user.until(lambda: user.states)
        assert user.names == ["lost"]
        assert "cannot be reached" in user.states[0][1]


@pytest.mark.parametrize(("status", "tries"), [(401, 1), (404, 1), (503, 3)])
async def test_a_service_that_refuses_is_not_asked_again_but_one_that_is_busy_is(status: int, tries: int) -> None:
    async with service(echo, status) as (where, requests), lined(where) as (_, user):
        await user.until(lambda: user.states)
        assert user.names == ["lost"]
        assert str(status) in user.states[0][1]
        assert "a-token" not in user.states[0][1]
        assert len(requests) == tries


async def test_rubbish_is_borne_a_few_times_and_then_it_is_a_break() -> None:
    async def talk_rubbish(socket: web.WebSocketResponse) -> None:
        for _ in range(9):
            await socket.send_str("rubbish")
        await socket.send_str("sense")
        await socket.receive()
        await socket.send_str("rubbish")
        await socket.receive()

    async with service(talk_rubbish) as (where, _), lined(where) as (line, user):
        await user.until(lambda: "sense" in user.messages)
        assert user.names == ["connected"]
        line.send("more")
        await user.until(lambda: "broken" in user.names)
        assert "made no sense" in user.states[1][1]


async def test_a_service_that_takes_nothing_is_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.2)

    async def sleep(socket: web.WebSocketResponse) -> None:
        await asyncio.sleep(3)

    async with service(sleep) as (where, _), lined(where) as (line, user):
        await user.until(lambda: line.is_open)
        accepted = 0
        while line.is_open:
            accepted += line.send(bytes(65_536))
            await asyncio.sleep(0.001)
        assert line._waiting_bytes <= module.MAX_WAITING_BYTES
        await user.until(lambda: "broken" in user.names)
        assert "took nothing" in user.states[1][1]


async def test_a_service_that_says_nothing_is_pinged_and_one_that_does_not_answer_is_a_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 0.1)
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.3)

    async def quiet(socket: web.WebSocketResponse) -> None:
        await socket.receive()  # answers pings

    async def deaf(socket: web.WebSocketResponse) -> None:
        await asyncio.sleep(2)

    async with service(quiet) as (where, _), lined(where) as (_, user):
        await asyncio.sleep(0.8)
        assert user.names == ["connected"]
    async with service(deaf) as (where, _), lined(where) as (_, user):
        await user.until(lambda: "broken" in user.names)
        assert "said nothing" in user.states[1][1]


async def test_an_answer_within_a_tick_of_the_clock_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with uvloop, whose clock has milliseconds, and a service on the same machine."""
    loop = asyncio.get_running_loop()
    exactly = loop.time
    monkeypatch.setattr(loop, "time", lambda: int(exactly() * 20) / 20)
    monkeypatch.setattr(module, "PING_SECONDS", 0.1)
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.5)
    enough = asyncio.Event()

    async def quiet(socket: web.WebSocketResponse) -> None:
        for _ in range(5):
            assert (await socket.receive()).type is WSMsgType.PING
            await socket.pong()
        enough.set()
        await listen(socket)

    async with service(quiet, autoping=False) as (where, _), lined(where) as (_, user):
        await asyncio.wait_for(enough.wait(), 20)
        assert user.names == ["connected"]


async def test_nothing_is_read_while_there_is_no_room_and_that_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(module, "PING_SECONDS", 0.05)

    async def flood(socket: web.WebSocketResponse) -> None:
        for _ in range(200):
            await socket.send_bytes(bytes(65_536))
        await socket.receive()

    async with service(flood) as (where, _), lined(where) as (_, user):
        user.room = False
        await user.until(lambda: user.states)
        await asyncio.sleep(0.4)
        before = len(user.messages)
        assert before == 0
        assert user.names == ["connected"]
        user.room = True
        await user.until(lambda: len(user.messages) == 200)


async def test_a_flood_of_messages_is_read_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BURST", 50.0)

    async def flood(socket: web.WebSocketResponse) -> None:
        for n in range(2000):
            await socket.send_str(f"{n}")
        await socket.receive()

    async with service(flood) as (where, _), lined(where) as (_, user):
        await user.until(lambda: user.states)
        await asyncio.sleep(0.5)
        assert 50 <= len(user.messages) <= 500


async def test_a_closed_line_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with service(echo) as (where, _):
        async with lined(where) as (line, user):
            await user.until(lambda: line.is_open)
        assert not line.send("late")
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


@pytest.mark.parametrize("scheme", ["ws", "ws+pcm"])
async def test_what_a_session_had_is_free_as_soon_as_it_is_over(scheme: str) -> None:
    """Sound waits in it, and a full garbage collection may be long in coming."""
    gc.collect()
    gc.disable()
    try:
        async with service(listen) as (where, _):
            talk = Talk()
            backend = find_backend(scheme + where.url.removeprefix("ws"))(talk)
            await asyncio.sleep(0.1)
            talk.speak(backend, SPEECH[:10])
            kept = weakref.ref(backend)
            backend.on_close()
            talk.start_frames(lambda number: None)
            del backend
            await asyncio.sleep(0.2)
            assert kept() is None
    finally:
        gc.enable()
