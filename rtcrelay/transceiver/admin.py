"""What can be asked of a running transceiver? HTTP on its Unix socket."""

from __future__ import annotations

import msgspec
from aiohttp import web

from rtcrelay.transceiver.report import describe_process, describe_session
from rtcrelay.transceiver.transceiver import Transceiver


def make_admin_app(transceiver: Transceiver) -> web.Application:
    """``/healthz``, ``/readyz``, ``/v1/stats``, ``/v1/sessions``; see `report` for their fields."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if transceiver.is_draining:
            return web.Response(text="draining\n", status=503)
        return web.Response(text="ready\n")

    async def stats(_: web.Request) -> web.Response:
        return _json(describe_process(transceiver))

    async def sessions(_: web.Request) -> web.Response:
        now = transceiver.now()
        rows = [describe_session(session, now) for session in transceiver.sessions()]
        return _json({"kind": "sessions", "v": 1, "sessions": rows})

    app = web.Application(client_max_size=1024)
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/v1/stats", stats)
    app.router.add_get("/v1/sessions", sessions)
    return app


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content) + b"\n", content_type="application/json")
