"""``rtcrelay serve parrot``: the parrot behind WebSockets, with realtime events and with plain PCM."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Final, TypeAlias

import uvloop
from aiohttp import WSMsgType, web

from rtcrelay.audio.parrot import Parrot
from rtcrelay.config import ParrotSettings
from rtcrelay.config.text import format_address
from rtcrelay.daemon import handle_end_signals, sd_notify
from rtcrelay.errors import ExitStatus
from rtcrelay.http.access import Access, read_token
from rtcrelay.http.problems import problems
from rtcrelay.http.server import bound, listen, start_http
from rtcrelay.parrot.agent import RealtimeParrot

log = logging.getLogger("rtcrelay.parrot")

REALTIME: Final = "/v1/realtime"
PLAIN: Final = "/pcm"
_PLAIN_PROTOCOL: Final = "rtcrelay.pcm.1"
_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_SPEAKING_BYTES: Final = 256 * 1024
"""Of plain PCM in one frame."""
_Speaking: TypeAlias = Callable[[web.Request, web.WebSocketResponse], Awaitable[None]]


def check(settings: ParrotSettings) -> str:
    """Does everything that `run` does before it binds; returns one line about what would run. Raises ConfigError."""
    read_token(settings.auth_token_file)
    return f"configuration is sound: parrot at {format_address(settings.http)}"


def run(settings: ParrotSettings, reread: Callable[[], ParrotSettings] | None = None) -> ExitStatus:
    """Serves until SIGTERM or SIGINT; nothing is read again, so ``reread``, which other services have, is not used.

    Raises ConfigError, and BackendError if the address cannot be had.
    """
    access = Access(read_token(settings.auth_token_file))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, access))
    return ExitStatus.OK


async def _serve(settings: ParrotSettings, access: Access) -> None:
    ended = asyncio.Event()
    handle_end_signals(asyncio.get_running_loop(), ended.set)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings.http))
        stack.push_async_callback(await start_http(make_app(access), listener))
        where = format_address(bound(listener))
        log.info("parrot at ws://%s%s (realtime) and ws+pcm://%s%s (plain)", where, REALTIME, where, PLAIN)
        sd_notify("READY=1")
        await ended.wait()
        sd_notify("STOPPING=1")


def make_app(access: Access) -> web.Application:
    """The HTTP application."""

    async def realtime(request: web.Request) -> web.WebSocketResponse:
        access.authorize(request)
        return await _until_gone(request, "realtime", _speak_realtime)

    async def plain(request: web.Request) -> web.WebSocketResponse:
        access.authorize(request)
        return await _until_gone(request, _PLAIN_PROTOCOL, _speak_plain)

    app = web.Application(middlewares=[problems])
    app.router.add_get(REALTIME, realtime)
    app.router.add_get(PLAIN, plain)
    return app


async def _until_gone(request: web.Request, protocol: str, speak: _Speaking) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=(protocol,), max_msg_size=_MAX_MESSAGE_BYTES, heartbeat=30)
    await socket.prepare(request)
    with suppress(ConnectionError):  # the client left in the middle of a word
        await speak(request, socket)
    return socket


async def _speak_realtime(request: web.Request, socket: web.WebSocketResponse) -> None:
    said: list[str] = []
    parrot = RealtimeParrot(said.append, model=request.query.get("model", "parrot"))
    await _send_all(socket, said)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            parrot.handle_event(message.data)
            await _send_all(socket, said)


async def _send_all(socket: web.WebSocketResponse, said: list[str]) -> None:
    for event in said:
        await socket.send_str(event)
    said.clear()


async def _speak_plain(_: web.Request, socket: web.WebSocketResponse) -> None:
    """See "Plain PCM over a WebSocket" in ``docs/backends.md``."""
    parrot = Parrot(24_000)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            parrot = _restart(message.data, parrot)
        elif message.type is WSMsgType.BINARY and len(message.data) % 2 == 0:
            turn = parrot.handle_pcm(message.data)
            if turn == "started":
                await socket.send_str('{"type": "clear"}')
            elif turn == "stopped":
                for at in range(0, len(parrot.utterance), _SPEAKING_BYTES):
                    await socket.send_bytes(parrot.utterance[at : at + _SPEAKING_BYTES])


def _restart(text: str, parrot: Parrot) -> Parrot:
    """``start`` says the rate; everything else is not for a parrot."""
    try:
        message = json.loads(text)
    except ValueError:
        return parrot
    rate = message.get("rate") if isinstance(message, dict) and message.get("type") == "start" else None
    return Parrot(rate) if isinstance(rate, int) and 8000 <= rate <= 48_000 else parrot
