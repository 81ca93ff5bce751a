"""Serving HTTP: signaling, the admin interface, metrics."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from rtcrelay.config.text import format_address
from rtcrelay.errors import bind_error
from rtcrelay.http.limits import Door, HttpLimits

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

_KEEPALIVE_SECONDS: Final = 75.0
"""From a response until the head of the next request is complete. Longer than the 60 s after which nginx and others
close a connection to us themselves: closing first would fail the request they may be sending."""


def listen(address: Address) -> socket.socket:
    """A listening TCP socket. Raises BackendError if the address cannot be had."""
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
        raise bind_error(format_address(address), "tlpn", error) from error
    return listener


def bound(listener: socket.socket) -> Address:
    """Where it listens."""
    ip, port = listener.getsockname()[:2]
    return str(ip), int(port)


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
