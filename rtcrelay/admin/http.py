"""Serving HTTP on a socket that is bound already: the admin interface, metrics."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web


async def start_http(
    app: web.Application, listener: socket.socket, tls: ssl.SSLContext | None = None
) -> Callable[[], Awaitable[None]]:
    """Serves an application on a listening socket; returns what ends it, after at most a second for open requests."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=tls).start()
    return runner.cleanup
