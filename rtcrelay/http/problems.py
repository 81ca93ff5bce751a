"""How are failures told to HTTP clients? As problem details (RFC 9457), whatever failed."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from aiohttp import web

log = logging.getLogger("rtcrelay.http")

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_TYPE: Final = "application/problem+json"
_TITLES: Final = {
    400: "Bad request",
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Content too large",
    415: "Unsupported media type",
    417: "Expectation failed",
    422: "Unprocessable content",
    428: "Precondition required",
    500: "Internal error",
    502: "Bad gateway",
    503: "Service unavailable",
}


class Problem(Exception):
    """Ends a request with problem details."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = dict(headers or {})


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every failure into problem details, and a defect into a 500 that says nothing about itself."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem_response(problem.status, problem.detail, problem.headers)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return problem_response(error.status, f"{request.method} {request.path}: {error.reason}", headers)
    except Exception:
        log.exception("a request failed")
        return problem_response(500, "a defect of rtcrelay; its log says more", {})


def problem_response(status: int, detail: str, headers: Mapping[str, str]) -> web.Response:
    """Problem details of the type that says no more than the status does."""
    body = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}
    return web.Response(status=status, text=json.dumps(body), content_type=CONTENT_TYPE, headers=headers)
