"""Serving HTTP on a socket that is bound already: signaling, the admin interface, metrics."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from rtcrelay.http.limits import Door, HttpLimits

_KEEPALIVE_SECONDS: Final = 75.0
"""From a response until the head of the next request is complete. Longer than the 60 s after which nginx and others
close a connection to us themselves: closing first would fail the request they may be sending."""


async def start_http(
    app: web.Application,
    listener: socket.socket,
    tls: ssl.SSLContext | None = None,
    limits: HttpLimits | None = None,
) -> Callable[[], Awaitable[None]]:
    """Serves an application on a listening socket; returns what ends it, after at most a second for open requests.

    ``limits`` are those of strangers, and the default ones if None. On a Unix socket there are none: who may open it
    is no stranger.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=_KEEPALIVE_SECONDS)
    await runner.setup()
    if listener.family == socket.AF_UNIX:
        await web.SockSite(runner, listener, ssl_context=tls).start()
        return runner.cleanup
    assert runner.server is not None
    door = Door(listener, runner.server, limits or HttpLimits(), tls)
    door.__enter__()

    async def end() -> None:
        door.__exit__()
        await runner.cleanup()

    return end
