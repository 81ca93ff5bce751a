"""How is a request's body read? With a bounded length and for a bounded time, whoever sends it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from rtcrelay.http.problems import Problem

_BODY_SECONDS: Final = 10.0
"""A body that takes longer is not waited for."""


async def read_body(request: web.Request, most: int) -> bytes:
    """A body of at most ``most`` bytes. Raises Problem: 413, 408, or 400 if it does not come to its end."""
    too_large = f"the body has more than {most} bytes"
    if request.content_length is not None and request.content_length > most:
        raise Problem(413, too_large)
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most:
                    raise Problem(413, too_large)
    except TimeoutError:
        raise Problem(408, "the body took too long to come") from None
    except (ConnectionError, web.RequestPayloadError):  # the client left, or its chunks are none
        raise Problem(400, "the body did not come to its end") from None
    return body


def require_type(request: web.Request, content_type: str, headers: Mapping[str, str]) -> None:
    """Raises Problem (415, with ``headers``) unless the body is of that type."""
    if request.content_type != content_type:
        raise Problem(415, f"the body is expected to be {content_type}", headers)
