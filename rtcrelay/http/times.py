"""How long does signaling take, and how does it end? Counted for each request; no path and no address is kept."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Final

from aiohttp import web

from rtcrelay.http.problems import Handler
from rtcrelay.metrics.families import Histogram

METHODS: Final = ("POST", "PATCH", "DELETE")
"""Those of signaling; the others are not measured."""


class SignalingTimes:
    """Seconds by method, and requests by method and status."""

    def __init__(self) -> None:
        self.seconds = {method: Histogram() for method in METHODS}
        """From the end of the request's head to the response."""
        self.requests: dict[tuple[str, str], int] = defaultdict(int)
        """By method and status; a closed set, as we are who says the status, or an owner within the site."""

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The outermost one: it sees what the client gets."""
        began = time.perf_counter()
        response = await handler(request)
        seconds = self.seconds.get(request.method)
        if seconds is not None:
            seconds.observe(time.perf_counter() - began)
            self.requests[request.method, str(response.status)] += 1
        return response
