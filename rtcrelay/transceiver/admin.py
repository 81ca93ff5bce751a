"""What can be asked of a running transceiver? HTTP on its Unix socket; health and metrics also where strangers ask."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec
from aiohttp import web

from rtcrelay.errors import RtcrelayError
from rtcrelay.metrics.pages import Pages
from rtcrelay.transceiver.control import Control
from rtcrelay.transceiver.counters import End
from rtcrelay.transceiver.report import describe_process, describe_session
from rtcrelay.transceiver.session import Session

log = logging.getLogger("rtcrelay.transceiver")


def make_admin_app(control: Control, pages: Pages) -> web.Application:
    """The pages, ``/v1/stats``, ``/v1/sessions`` (see `report` for their fields), ``/v1/drain``, ``/v1/reload``."""
    served = web.Application(client_max_size=1024)
    pages.add_to(served)
    routes = _Routes(control)
    served.add_routes(
        [
            web.get("/v1/stats", routes.stats),
            web.get("/v1/sessions", routes.sessions),
            web.get("/v1/sessions/{id}", routes.session),
            web.delete("/v1/sessions/{id}", routes.close),
            web.post("/v1/drain", routes.drain),
            web.delete("/v1/drain", routes.drain),
            web.post("/v1/reload", routes.reload),
        ]
    )
    return served


class _Routes:
    def __init__(self, control: Control) -> None:
        self._control, self._transceiver = control, control.transceiver

    async def stats(self, _: web.Request) -> web.Response:
        return _json(describe_process(self._transceiver))

    async def sessions(self, _: web.Request) -> web.Response:
        now = self._transceiver.now()
        rows = [describe_session(session, now) for session in self._transceiver.sessions()]
        return _json({"kind": "sessions", "v": 1, "sessions": rows})

    async def session(self, request: web.Request) -> web.Response:
        session = self._find(request)
        return _no_session(request) if session is None else _json(describe_session(session, self._transceiver.now()))

    async def close(self, request: web.Request) -> web.Response:
        """Ends a session, as its client could; the answer is the row as it was."""
        session = self._find(request)
        if session is None:
            return _no_session(request)
        row = describe_session(session, self._transceiver.now())
        session.close(End.OPERATOR, self._transceiver.now())
        return _json(row)

    async def drain(self, request: web.Request) -> web.Response:
        try:
            return _json(self._control.drain(request.method == "POST"))
        except RtcrelayError as error:
            return _json({"error": str(error)}, status=409)

    async def reload(self, _: web.Request) -> web.Response:
        try:
            self._control.reload()
        except RtcrelayError as error:
            log.error("not reloaded, everything stays as it was: %s", error)
            return _json({"error": str(error)}, status=422)
        return _json({"kind": "reload", "v": 1, "keys": describe_process(self._transceiver)["keys"]})

    def _find(self, request: web.Request) -> Session | None:
        wanted = request.match_info["id"]
        return next((session for session in self._transceiver.sessions() if session.id == wanted), None)


def _no_session(request: web.Request) -> web.Response:
    return _json({"error": f"there is no session {request.match_info['id']!r}"}, status=404)


def _json(content: Mapping[str, object], *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content) + b"\n", content_type="application/json", status=status)
