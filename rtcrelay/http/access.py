"""Who may use signaling? The Bearer token, and the web origins whose pages may call (Fetch standard, section 3.2).

By default no other origin than the page's own: without ``--cors-origin`` no CORS header is ever sent.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from rtcrelay.errors import ConfigError
from rtcrelay.http.problems import Handler, Problem
from rtcrelay.secret_files import read_secret_file

_MIN_TOKEN_CHARACTERS: Final = 16
"""Chosen: a shorter token can be guessed."""
_MAX_TOKEN_BYTES: Final = 4096
_MAKE_ONE: Final = "umask 077; openssl rand -base64 24"
_EXPOSED: Final = "Location, ETag, Link, Retry-After, Accept-Patch, X-Rtcrelay-Node"


class Access:
    """The rules as they are now; a reload replaces them for the next request."""

    def __init__(self, token: str | None = None, cors_origins: Sequence[str] = ()) -> None:
        """``token`` None: no authorization is asked for."""
        self.reload(token, cors_origins)

    def reload(self, token: str | None, cors_origins: Sequence[str]) -> None:
        """Takes other rules."""
        self._token = None if token is None else token.encode()
        self._origins = frozenset(cors_origins)

    def authorize(self, request: web.Request) -> None:
        """Raises Problem (401) unless the request has the token, compared in constant time."""
        if self._token is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
        if scheme.lower() != "bearer" or not is_right:
            raise Problem(401, "this needs the right Bearer token", {"WWW-Authenticate": "Bearer"})

    @web.middleware
    async def cors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Adds the CORS headers to every response, also to errors: the page wants to read those too."""
        response = await handler(request)
        origin = request.headers.get("Origin")
        if self._origins:
            response.headers["Vary"] = "Origin"
        if origin is not None and ("*" in self._origins or origin in self._origins):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = "POST, PATCH, DELETE, OPTIONS"
                response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, If-Match"
                response.headers["Access-Control-Max-Age"] = "86400"
        return response


def read_token(path: Path | None) -> str | None:
    """The Bearer token of a file, without white space around it; None for no file. Raises ConfigError."""
    if path is None:
        return None
    content = read_secret_file(path, "token file", _MAX_TOKEN_BYTES, hint=f"{_MAKE_ONE} > {path}")
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"token file {path} holds other characters than ASCII") from error
    if not _MIN_TOKEN_CHARACTERS <= len(token) <= _MAX_TOKEN_BYTES or len(token.split()) != 1:
        raise ConfigError(
            f"token file {path} must hold one token of at least {_MIN_TOKEN_CHARACTERS} characters",
            hint=f"{_MAKE_ONE} > {path}",
        )
    return token
