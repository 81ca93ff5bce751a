"""How does a request reach the owner of its session? Passed on once, as it is, to where its token says.

Laws: `owners` decides where to; a request that was passed on already is not passed on again.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from rtcrelay.config.text import format_address
from rtcrelay.http.courier import Courier, DistrustError, UnreachableError
from rtcrelay.http.owners import Owners
from rtcrelay.http.problems import Problem

log = logging.getLogger("rtcrelay.http")

HOP: Final = "X-Rtcrelay-Hop"
"""The header that says that a request was passed on; its value is 1."""
GONE: Final = "there is no such session"
_LOG_PAUSE_SECONDS: Final = 60.0
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""As sessions' names have it, and nothing that could lead to another path of the owner's."""


class Forwarder:
    """Passes requests on."""

    def __init__(self, owners: Owners, courier: Courier, on_passed: Callable[[], None] = lambda: None) -> None:
        """``on_passed`` is called for each request."""
        self._owners, self._courier, self._on_passed = owners, courier, on_passed
        self._logged_at = -_LOG_PAUSE_SECONDS

    async def pass_on(self, request: web.Request, resource: str, body: bytes) -> web.Response:
        """The owner's answer to a request with ``resource``, a session's name, in its path, about a session that is
        not ours. Raises Problem: 404 if there is no owner or it is gone, 502 if it answers nothing that makes sense."""
        token, _, secret = resource.partition(".")
        owner = None if HOP in request.headers else self._owners.find(token)
        if owner is None or not _SECRET.fullmatch(secret):
            raise Problem(404, GONE)
        where = format_address(owner.address)
        if not owner.is_allowed:
            self._complain(f"a session of {where}, which is outside --signaling-peers")
            raise Problem(404, GONE)
        self._on_passed()
        try:
            return await self._courier.carry(request, owner.address, request.path, body, {HOP: "1"})
        except DistrustError as error:
            self._complain(f"the owner at {where} over TLS: {error}")
            raise Problem(502, "the owner of this session cannot be trusted") from error
        except UnreachableError as error:
            raise Problem(404, GONE) from error  # and the session with it

    def _complain(self, what: str) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_PAUSE_SECONDS:
            self._logged_at = now
            log.warning("not passed on: a request about %s", what)
