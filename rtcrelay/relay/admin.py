"""HTTP on the admin socket: health, counts, the path table, reload."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from rtcrelay.errors import RtcrelayError

if TYPE_CHECKING:
    from rtcrelay.relay.control import Control

log = logging.getLogger("rtcrelay.relay")

MAX_FLOWS = 10_000
"""Paths in one page at most: about 3 MB of JSON, made in some 50 ms during which nothing else is answered."""


async def start_admin(control: Control, listener: socket.socket) -> Callable[[], Awaitable[None]]:
    """Serves the admin interface on a listening socket; returns what ends it."""
    runner = web.AppRunner(application(control), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner.cleanup


def application(control: Control) -> web.Application:
    """The admin interface as aiohttp serves it."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if control.is_ready():
            return web.Response(text="ready\n")
        return web.Response(text="not every worker lives\n", status=503)

    async def stats(_: web.Request) -> web.Response:
        return _json(control.stats())

    async def flows(request: web.Request) -> web.Response:
        try:
            cursor = _number(request, "cursor", 0, 0, 2**63 - 1)
            limit = _number(request, "limit", 1000, 1, MAX_FLOWS)
        except ValueError as error:
            return _json({"error": str(error)}, status=400)
        return _json(control.flows(cursor, limit))

    async def reload(_: web.Request) -> web.Response:
        try:
            control.reload()
        except RtcrelayError as error:
            log.error("not reloaded, everything stays as it was: %s", error)
            return _json({"error": str(error)}, status=422)
        return _json({"kind": "reload", "v": 1, "keys": control.keys()})

    served = web.Application(client_max_size=1024)
    served.add_routes(
        [
            web.get("/healthz", health),
            web.get("/readyz", ready),
            web.get("/v1/stats", stats),
            web.get("/v1/flows", flows),
            web.post("/v1/reload", reload),
        ]
    )
    return served


def _number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and low <= int(text) <= high):
        raise ValueError(f"{name} is not a whole number from {low} to {high}")
    return int(text)


def _json(content: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content) + b"\n", content_type="application/json", status=status)
