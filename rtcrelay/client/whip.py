"""Signaling as a client sees it: WHIP's POST and DELETE (RFC 9725), one shot each; or the calls of a realtime API,
which differ in how they end.

The answer may be large or never come, and the server may be anybody's: sizes and times are bounded.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias
from urllib.parse import urljoin

import aiohttp

from rtcrelay.errors import BackendError, ExitStatus, PeerError
from rtcrelay.rtc.offer_answer import IceCredentials
from rtcrelay.rtc.trickle import read_fragment

Api: TypeAlias = Literal["whip", "realtime"]
"""Realtime: as OpenAI's ``/v1/realtime/calls``, where a session is ended by POST of ``…/hangup``."""

ANSWER_LIMIT_BYTES = 65_536
"""Larger answers are refused; chosen, an answer of ours has about 1 kB."""
SAID_LIMIT = 300
"""Characters of a server's own words that are passed on."""
_HINTS = MappingProxyType(
    {
        401: "give the server's token with a token file",
        403: "give the server's token with a token file",
        404: "is the path right? rtcrelay's is /whip",
        405: "is the path right? rtcrelay's is /whip",
        503: "the server is full or draining: try again later",
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    sdp: str = field(repr=False)
    """The SDP answer, with the server's ice-pwd."""
    session_url: str | None = field(repr=False)
    """Where DELETE ends the session; None if the server named none."""
    node: str | None
    """Who answered, if the server says so (`X-Rtcrelay-Node`)."""


async def post_offer(
    http: aiohttp.ClientSession, url: str, offer: str, *, token: str | None = None, timeout_seconds: float = 10.0
) -> Answer:
    """Sends the offer. PeerError on any answer but 201, BackendError if there is no server."""
    headers = {"Content-Type": "application/sdp", **_bearer(token)}
    limit = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with http.post(url, data=offer.encode(), headers=headers, timeout=limit) as response:
            body = await response.content.read(ANSWER_LIMIT_BYTES + 1)
            while len(body) <= ANSWER_LIMIT_BYTES and (more := await response.content.read(ANSWER_LIMIT_BYTES)):
                body += more
            return _read_answer(response, body)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(url, error, timeout_seconds) from error


async def restart_ice(
    http: aiohttp.ClientSession,
    url: str,
    ice: IceCredentials,
    *,
    token: str | None = None,
    timeout_seconds: float = 5.0,
) -> IceCredentials:
    """Offers new credentials for a session and returns the server's (RFC 9725 section 4.4). PeerError on any answer
    but 200 with a fragment, BackendError if there is no server."""
    lines = (f"a=ice-ufrag:{ice.ufrag}", f"a=ice-pwd:{ice.password}", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0")
    headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*", **_bearer(token)}
    limit = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with http.patch(url, data="\r\n".join(lines) + "\r\n", headers=headers, timeout=limit) as response:
            text = (await response.content.read(ANSWER_LIMIT_BYTES)).decode("utf-8", "replace")
            if response.status != 200:
                raise PeerError(f"{url} answered {response.status} to the ICE restart, expected 200")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(url, error, timeout_seconds) from error
    answered = read_fragment(text).ice
    if answered is None:
        raise PeerError(f"{url} answered the ICE restart without an ice-pwd")
    return answered


async def delete_session(
    http: aiohttp.ClientSession, url: str, *, token: str | None = None, api: Api = "whip", timeout_seconds: float = 5.0
) -> int:
    """Ends the session and returns the HTTP status. BackendError if there is no server."""
    limit = aiohttp.ClientTimeout(total=timeout_seconds)
    method, url = ("DELETE", url) if api == "whip" else ("POST", f"{url.rstrip('/')}/hangup")
    try:
        async with http.request(method, url, headers=_bearer(token), timeout=limit) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(url, error, timeout_seconds) from error


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _read_answer(response: aiohttp.ClientResponse, body: bytes) -> Answer:
    if response.status != 201:
        raise PeerError(
            f"{response.url} answered {response.status} {response.reason} to the offer, expected 201{_said(body)}",
            hint=_HINTS.get(response.status),
        )
    if len(body) > ANSWER_LIMIT_BYTES:
        raise PeerError(f"{response.url} answered with more than {ANSWER_LIMIT_BYTES} bytes")
    location = response.headers.get("Location")
    return Answer(
        sdp=body.decode("utf-8", "replace"),
        session_url=urljoin(str(response.url), location) if location else None,
        node=response.headers.get("X-Rtcrelay-Node"),
    )


def _said(body: bytes) -> str:
    """What the server says is wrong, of an error as JSON (RFC 9457, or a realtime API's), as a part of a sentence."""
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    error = problem.get("error") if isinstance(problem, dict) else None
    said = error.get("message") if isinstance(error, dict) else None
    if isinstance(problem, dict) and not isinstance(said, str):
        said = problem.get("detail") or problem.get("title")
    if not isinstance(said, str):
        return ""
    return ": " + "".join(c if c.isprintable() else " " for c in said[:SAID_LIMIT]).strip()


def _unreachable(url: str, error: Exception, timeout_seconds: float) -> BackendError:
    if isinstance(error, TimeoutError):
        return BackendError(f"{url} did not answer within {timeout_seconds:g} seconds", status=ExitStatus.UNAVAILABLE)
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None) or 0
    # asyncio's words name its calls; a resolver's numbers are below zero.
    reason = os.strerror(number) if number > 0 else getattr(cause, "strerror", None) or str(error)
    return BackendError(f"cannot reach {url}: {reason.lower()}", status=ExitStatus.UNAVAILABLE)
