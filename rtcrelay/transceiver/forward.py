"""How does a request reach the owner of its session? Passed on once, as it is, to where its token says.

Laws: `owner` decides where to; a request that was passed on already is not passed on again; how much is read, and
for how long, is bounded.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import web

from rtcrelay.config.text import format_address
from rtcrelay.http.problems import Problem
from rtcrelay.rtc.sdp import MAX_BYTES
from rtcrelay.transceiver.owner import Owner, Owners

if TYPE_CHECKING:
    from rtcrelay.http.tls import Tls

log = logging.getLogger("rtcrelay.transceiver")

HOP: Final = "X-Rtcrelay-Hop"
"""The header that says that a request was passed on; its value is 1."""
CONNECT_SECONDS: Final = 1.0
"""An owner within the site answers in less than a millisecond; one whose address is gone, never."""
ANSWER_SECONDS: Final = 5.0
MAX_UNDER_WAY: Final = 64
"""Connections to owners at once; more wait for their turn, up to `CONNECT_SECONDS`."""
_REQUEST_HEADERS: Final = ("Authorization", "Content-Type", "If-Match")
_RESPONSE_HEADERS: Final = ("Content-Type", "ETag", "Allow", "Accept-Patch", "Retry-After", "WWW-Authenticate")
_NODE: Final = "X-Rtcrelay-Node"
_LOG_PAUSE_SECONDS: Final = 60.0
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""As sessions' URLs have it, and nothing that could lead to another path of the owner's."""
GONE: Final = "there is no such session"


class Forwarder:
    """Passes requests on. A context manager: connections are kept open between requests."""

    def __init__(self, owners: Owners, tls: Tls | None, on_passed: Callable[[], None] = lambda: None) -> None:
        """``tls``: that of this site's signaling, None for plain HTTP. ``on_passed`` is called for each request."""
        self._owners, self._tls, self._on_passed = owners, tls, on_passed
        self._http: aiohttp.ClientSession | None = None
        self._logged_at = -_LOG_PAUSE_SECONDS

    async def __aenter__(self) -> Forwarder:
        # No cookies, no redirects, no proxies of the environment: what an owner says is for the client only.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_UNDER_WAY),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, connect=CONNECT_SECONDS),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def pass_on(self, request: web.Request, resource: str, body: bytes) -> web.Response:
        """The owner's answer about a session that is not ours. Raises Problem: 404 if there is no owner or it is
        gone, 502 if it answers nothing that makes sense."""
        token, _, secret = resource.partition(".")
        owner = None if HOP in request.headers else self._owners.find(token)
        if owner is None or self._http is None or not _SECRET.fullmatch(secret):
            raise Problem(404, GONE)
        if not owner.is_allowed:
            self._complain(f"a session of {format_address(owner.address)}, which is outside --signaling-peers")
            raise Problem(404, GONE)
        self._on_passed()
        try:
            return await self._ask(self._http, owner, request, f"/whip/{token}.{secret}", body)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            self._complain(f"the owner at {format_address(owner.address)} over TLS: {error}")
            raise Problem(502, "the owner of this session cannot be trusted") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Problem(404, GONE) from error  # its process, pod or machine is gone, and the session with it
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Problem(502, "the owner of this session did not answer") from error

    async def _ask(
        self, http: aiohttp.ClientSession, owner: Owner, request: web.Request, path: str, body: bytes
    ) -> web.Response:
        scheme = "https" if self._tls else "http"
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        async with http.request(
            request.method,
            f"{scheme}://{format_address(owner.address)}{path}",
            data=body or None,
            headers={**headers, HOP: "1"},
            allow_redirects=False,
            ssl=self._tls.client if self._tls else True,
            server_hostname=self._tls.peer_name if self._tls else None,
        ) as answer:
            content = await answer.content.read(MAX_BYTES + 1)
            while len(content) <= MAX_BYTES and (more := await answer.content.read(MAX_BYTES)):
                content += more
            if len(content) > MAX_BYTES:
                raise Problem(502, "the owner of this session answered too much")
            kept = {name: answer.headers[name] for name in (*_RESPONSE_HEADERS, _NODE) if name in answer.headers}
            return web.Response(status=answer.status, body=content, headers=kept)

    def _complain(self, what: str) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_PAUSE_SECONDS:
            self._logged_at = now
            log.warning("not passed on: a request about %s", what)
