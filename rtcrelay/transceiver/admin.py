"""What can be asked of a running transceiver? HTTP on its Unix socket; health and metrics also where strangers ask."""

from __future__ import annotations

from aiohttp import web

from rtcrelay.admin.steering import add_steering, json_answer
from rtcrelay.metrics.pages import Pages
from rtcrelay.transceiver.control import Control
from rtcrelay.transceiver.counters import End
from rtcrelay.transceiver.report import describe_fully, describe_process, describe_session
from rtcrelay.transceiver.session import Session


def make_admin_app(control: Control, pages: Pages) -> web.Application:
    """The pages, ``/v1/stats``, ``/v1/sessions`` (see `report` for their fields), ``/v1/drain``, ``/v1/reload``."""
    served = web.Application(client_max_size=1024)
    pages.add_to(served)
    add_steering(served, control)
    routes = _Routes(control)
    served.add_routes(
        [
            web.get("/v1/stats", routes.stats),
            web.get("/v1/sessions", routes.sessions),
            web.get("/v1/sessions/{id}", routes.session),
            web.delete("/v1/sessions/{id}", routes.close),
        ]
    )
    return served


class _Routes:
    def __init__(self, control: Control) -> None:
        self._control, self._transceiver = control, control.transceiver

    async def stats(self, _: web.Request) -> web.Response:
        return json_answer(describe_process(self._transceiver) | {"keys": self._control.keys()})

    async def sessions(self, _: web.Request) -> web.Response:
        node, now = self._transceiver.settings.node, self._transceiver.now()
        rows = [describe_session(session, node, now) for session in self._transceiver.sessions()]
        return json_answer({"kind": "sessions", "v": 1, "sessions": rows})

    async def session(self, request: web.Request) -> web.Response:
        session = self._find(request)
        if session is None:
            return _no_session(request)
        return json_answer(describe_fully(session, self._transceiver.settings, self._transceiver.now()))

    async def close(self, request: web.Request) -> web.Response:
        """Ends a session, as its client could; the answer is the row as it was."""
        session = self._find(request)
        if session is None:
            return _no_session(request)
        row = describe_session(session, self._transceiver.settings.node, self._transceiver.now())
        session.close(End.OPERATOR, self._transceiver.now())
        return json_answer(row)

    def _find(self, request: web.Request) -> Session | None:
        wanted = request.match_info["id"]
        return next((session for session in self._transceiver.sessions() if session.id == wanted), None)


def _no_session(request: web.Request) -> web.Response:
    return json_answer({"error": f"there is no session {request.match_info['id']!r}"}, status=404)
