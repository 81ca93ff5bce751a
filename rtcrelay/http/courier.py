"""How is a request carried to a transceiver? As it is, without what is not its business, and within bounds.

Laws: what goes on is the method, the body and the headers that signaling needs; what comes back likewise. No cookies,
no redirects, no proxies of the environment. How much is read, and for how long, is bounded.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import aiohttp
from aiohttp import web

from rtcrelay.config.text import format_address
from rtcrelay.http.problems import Problem

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

CONNECT_SECONDS: Final = 1.0
"""A transceiver within the site answers in less than a millisecond; one whose address is gone, never."""
ANSWER_SECONDS: Final = 3.0
"""It takes milliseconds and a round trip, 0.3 s around the world. A region that was cut off does not refuse: its calls
wait for so long before they go elsewhere, and that is less than a heartbeat's period."""
KEPT_SECONDS: Final = 60.0
"""For which an idle connection is kept open, less than the server's end keeps it: the next call saves a round trip to
another region."""
MAX_UNDER_WAY: Final = 64
"""Connections at once; more wait for their turn, up to `CONNECT_SECONDS`."""
MAX_ANSWER_BYTES: Final = 65_536
"""As much as a session description may have."""
_REQUEST_HEADERS: Final = ("Authorization", "Content-Type", "If-Match")
_RESPONSE_HEADERS: Final = (
    *("Content-Type", "ETag", "Link", "Allow", "Accept-Patch", "Accept-Post", "Retry-After"),
    *("WWW-Authenticate", "X-Rtcrelay-Node"),
)  # fmt: skip

TlsPeer: TypeAlias = tuple[ssl.SSLContext, str]
"""How https is spoken to transceivers: by which certificates, and the name that theirs must hold."""


class UnreachableError(Exception):
    """Nobody took the connection: the process, pod or machine is gone."""


class DistrustError(Exception):
    """Somebody took it who is not whom we expect. ``str()`` says why."""


class Courier:
    """Carries requests. A context manager: connections are kept open between requests."""

    def __init__(self, tls: Callable[[], TlsPeer | None] = lambda: None, *, most_bytes: int = MAX_ANSWER_BYTES) -> None:
        """``tls`` is asked for every request; None: plain HTTP. ``most_bytes``: what an answer may have."""
        self._tls, self._most_bytes = tls, most_bytes
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Courier:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_UNDER_WAY, keepalive_timeout=KEPT_SECONDS),
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

    async def carry(
        self, request: web.Request, address: Address, path: str, body: bytes, more: Mapping[str, str]
    ) -> web.Response:
        """The answer of the transceiver at ``address`` to the request with the headers of ``more`` added.

        Raises UnreachableError, DistrustError, or Problem (502) if nothing comes back that makes sense.
        """
        try:
            return await self._ask(request, address, path, body, more)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            raise DistrustError(str(error)) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnreachableError(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Problem(502, "the transceiver did not answer") from error

    async def _ask(
        self, request: web.Request, address: Address, path: str, body: bytes, more: Mapping[str, str]
    ) -> web.Response:
        assert self._http is not None, "a courier is entered before it carries"
        context, name = self._tls() or (None, None)
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        async with self._http.request(
            request.method,
            f"{'https' if context else 'http'}://{format_address(address)}{path}",
            data=body or None,
            headers={**headers, **more},
            allow_redirects=False,
            ssl=context or True,
            server_hostname=name,
        ) as answer:
            content = await answer.content.read(self._most_bytes + 1)
            while len(content) <= self._most_bytes and (part := await answer.content.read(self._most_bytes)):
                content += part
            if len(content) > self._most_bytes:
                raise Problem(502, "the transceiver answered too much")
            kept = {name: answer.headers[name] for name in _RESPONSE_HEADERS if name in answer.headers}
            if answer.status == 201 and "Location" in answer.headers:  # not a redirect's
                kept["Location"] = answer.headers["Location"]
            return web.Response(status=answer.status, body=content, headers=kept)
