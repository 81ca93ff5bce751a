"""How does a client get a session? Signaling over HTTP in the shape of WHIP (RFC 9725), but two-way.

``POST /whip`` with an SDP offer makes a session, ``DELETE`` on its URL ends it. Errors are problem details
(RFC 9457). ``GET /`` is a page to call from.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Final

from aiohttp import web

from rtcrelay.rtc.sdp import MAX_BYTES, SdpError
from rtcrelay.transceiver.counters import Count, End
from rtcrelay.transceiver.transceiver import OverloadedError, Transceiver

log = logging.getLogger("rtcrelay.transceiver")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RETRY_AFTER_SECONDS: Final = 5
"""What an overloaded transceiver asks for. Chosen: calls end and nodes are added in minutes, not milliseconds."""
_BODY_SECONDS: Final = 10.0
"""A body that takes longer is not waited for."""
_EXPOSED: Final = "Location, ETag, Link, Retry-After, X-Rtcrelay-Node"
_TITLES: Final = {
    400: "Bad request",
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
    500: "Internal error",
    503: "Service unavailable",
}


class _Problem(Exception):
    """Ends a request with problem details."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def make_app(transceiver: Transceiver, token: str | None, cors_origins: Sequence[str]) -> web.Application:
    """The HTTP application. ``token`` None: no authorization is asked for."""
    signaling = _Signaling(transceiver, token)
    app = web.Application(middlewares=[_Cors(cors_origins).middleware, _problems])
    app.router.add_get("/", _page)
    app.router.add_post("/whip", signaling.post)
    app.router.add_delete("/whip/{resource}", signaling.delete)
    app.router.add_options("/whip", signaling.options)
    app.router.add_options("/whip/{resource}", signaling.options)
    return app


class _Signaling:
    def __init__(self, transceiver: Transceiver, token: str | None) -> None:
        self._transceiver = transceiver
        self._token = None if token is None else token.encode()

    async def post(self, request: web.Request) -> web.Response:
        """An offer: 201 with the answer."""
        self._authorize(request)
        try:
            offer = await _read_offer_body(request)
            accepted = self._transceiver.create_session(offer)
        except (SdpError, OverloadedError, _Problem) as error:
            self._transceiver.counters.counts[Count.OFFERS_REFUSED] += 1
            if isinstance(error, OverloadedError):
                raise _Problem(503, str(error), Retry_After=str(RETRY_AFTER_SECONDS)) from error
            if isinstance(error, SdpError):
                raise _Problem(422, str(error)) from error
            raise
        headers = {
            "Location": f"/whip/{accepted.resource}",
            "ETag": accepted.etag,
            "X-Rtcrelay-Node": self._transceiver.settings.node,
        }
        return web.Response(status=201, text=accepted.answer, content_type="application/sdp", headers=headers)

    async def delete(self, request: web.Request) -> web.Response:
        """The end of a session: 200."""
        self._authorize(request)
        session = self._transceiver.find_session(request.match_info["resource"])
        if session is None:
            raise _Problem(404, "there is no such session")
        session.close(End.DELETED, self._transceiver.now())
        return web.Response(status=200)

    async def options(self, request: web.Request) -> web.Response:
        """What may be posted (RFC 9725 section 4.2); without authorization, as CORS preflights come without."""
        is_session = "resource" in request.match_info
        headers = {"Allow": "DELETE, OPTIONS" if is_session else "POST, OPTIONS"}
        if not is_session:
            headers["Accept-Post"] = "application/sdp"
        return web.Response(status=204, headers=headers)

    def _authorize(self, request: web.Request) -> None:
        if self._token is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
        if scheme.lower() != "bearer" or not is_right:
            raise _Problem(401, "this needs the right Bearer token", WWW_Authenticate="Bearer")


async def _read_offer_body(request: web.Request) -> str:
    if request.content_type != "application/sdp":
        raise _Problem(415, "the body is expected to be application/sdp", Accept_Post="application/sdp")
    too_large = f"the offer has more than {MAX_BYTES} bytes"
    if request.content_length is not None and request.content_length > MAX_BYTES:
        raise _Problem(413, too_large)
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise _Problem(413, too_large)
    except TimeoutError:
        raise _Problem(408, "the offer took too long to come") from None
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise _Problem(422, "the offer is not UTF-8") from None


async def _page(request: web.Request) -> web.Response:
    page = resources.files("rtcrelay").joinpath("web/index.html")
    try:
        text = page.read_text("utf-8")
    except OSError:
        raise _Problem(404, "this installation has no page") from None
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-cache"})


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every failure into problem details, and a defect into a 500 that says nothing about itself."""
    try:
        return await handler(request)
    except _Problem as problem:
        return _problem_response(problem.status, problem.detail, problem.headers)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _problem_response(error.status, f"{request.method} {request.path}: {error.reason}", headers)
    except Exception:
        log.exception("a request failed")
        return _problem_response(500, "a defect of rtcrelay; its log says more", {})


def _problem_response(status: int, detail: str, headers: dict[str, str]) -> web.Response:
    body = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}
    return web.Response(status=status, text=json.dumps(body), content_type="application/problem+json", headers=headers)


class _Cors:
    """Says to browsers which pages may call (Fetch standard, section 3.2)."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Adds the headers to every response, also to errors: the page wants to read those too."""
        response = await handler(request)
        origin = request.headers.get("Origin")
        if origin is not None and self._origins:
            response.headers["Vary"] = "Origin"
            if "*" in self._origins or origin in self._origins:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Expose-Headers"] = _EXPOSED
                if request.method == "OPTIONS":
                    response.headers["Access-Control-Allow-Methods"] = "POST, DELETE, OPTIONS"
                    response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, If-Match"
                    response.headers["Access-Control-Max-Age"] = "86400"
        return response
