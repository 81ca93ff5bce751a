"""``rtcrelay serve transceiver``: from settings to a running process, and to its clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop
from aiohttp import web

import rtcrelay
from rtcrelay.config import TransceiverSettings
from rtcrelay.daemon import sd_notify
from rtcrelay.errors import ConfigError, ExitStatus
from rtcrelay.keys import load_key_file, refuse_demo_key
from rtcrelay.relay.admin_socket import AdminSocket
from rtcrelay.transceiver.admin import make_admin_app
from rtcrelay.transceiver.counters import End
from rtcrelay.transceiver.shared_socket import SharedSocket, bind_error
from rtcrelay.transceiver.timer_driver import TimerDriver
from rtcrelay.transceiver.transceiver import Transceiver
from rtcrelay.transceiver.whip import make_app

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

log = logging.getLogger("rtcrelay.transceiver")

_MIN_TOKEN_CHARACTERS: Final = 16
"""Chosen: a shorter token can be guessed."""


def run(settings: TransceiverSettings) -> ExitStatus:
    """Runs a transceiver until SIGTERM or SIGINT; every session is told then.

    Raises ConfigError before anything is bound, and BackendError if an address cannot be had.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))
    return ExitStatus.OK


async def serve(settings: TransceiverSettings) -> None:
    """As `run`, on a running loop."""
    keys = load_key_file(settings.key_file)
    refuse_demo_key(keys, settings.addresses)
    token = _read_token(settings.auth_token_file)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # Not the loop's time: uvloop's is rounded to milliseconds and as old as the turn. Both are CLOCK_MONOTONIC.
    transceiver = Transceiver(settings, keys, time.monotonic)
    async with AsyncExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
            stack.callback(loop.remove_signal_handler, number)
        admin_socket = stack.enter_context(AdminSocket(settings.admin_socket))
        http_socket = stack.enter_context(_listen(settings.http))
        http = _bound(http_socket)
        _open_media(transceiver, http, loop, stack)
        stack.enter_context(TimerDriver(transceiver, loop))
        await _start_http(make_app(transceiver, token, settings.cors_origins), http_socket, stack)
        if admin_socket is not None:
            await _start_http(make_admin_app(transceiver), admin_socket, stack)
        log.info("rtcrelay %s, transceiver %s, signaling on %s", rtcrelay.__version__, settings.node, _text(http))
        sd_notify("READY=1")
        await stop.wait()
        sd_notify("STOPPING=1")
        transceiver.is_draining = True
        transceiver.close_all(End.SHUTDOWN)


def _open_media(
    transceiver: Transceiver, http: Address, loop: asyncio.AbstractEventLoop, stack: AsyncExitStack
) -> None:
    """Binds the shared socket and the direct one, and opens the transceiver with them."""
    settings = transceiver.settings
    shared = _socket_of(transceiver, settings.relays)
    stack.callback(shared.close)
    media = shared.open(settings.media, loop)
    direct: tuple[Address, SharedSocket] | None = None
    if settings.direct is not None:
        plain = _socket_of(transceiver, None)
        stack.callback(plain.close)
        direct = plain.open(settings.direct, loop), plain
    transceiver.open(media, http, shared, direct)
    log.info("media on %s%s", _text(media), f", without a relay on {_text(direct[0])}" if direct else "")


def _socket_of(transceiver: Transceiver, relays: tuple[str, ...] | None) -> SharedSocket:
    # The router exists once the addresses are known; the loop reads nothing before that.
    return SharedSocket(
        transceiver.counters,
        lambda arrival, payload, now: transceiver.router.handle_payload(arrival, payload, now),
        lambda key: transceiver.router.knows_path(key),
        relays,
    )


async def _start_http(app: web.Application, listener: socket.socket, stack: AsyncExitStack) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listener).start()


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise bind_error(address, "tlpn", error) from error
    return listener


def _bound(listener: socket.socket) -> Address:
    ip, port = listener.getsockname()[:2]
    return str(ip), int(port)


def _read_token(path: Path | None) -> str | None:
    """The Bearer token of a file, without white space around it. Raises ConfigError."""
    if path is None:
        return None
    try:
        token = path.read_text("ascii").strip()
    except OSError as error:
        raise ConfigError(f"cannot read token file {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"token file {path} holds other characters than ASCII") from error
    if len(token) < _MIN_TOKEN_CHARACTERS or len(token.split()) != 1:
        raise ConfigError(
            f"token file {path} must hold one token of at least {_MIN_TOKEN_CHARACTERS} characters",
            hint=f"openssl rand -base64 24 > {path}",
        )
    return token


def _text(address: Address) -> str:
    ip, port = address
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
