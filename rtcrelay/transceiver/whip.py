"""How does a client get a session? Signaling over HTTP in the shape of WHIP (RFC 9725), but two-way.

``POST /whip`` with an SDP offer makes a session; on its URL ``PATCH`` trickles candidates or restarts ICE, and
``DELETE`` ends it. Errors are problem details (RFC 9457). ``GET /`` is a page to call from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import web

from rtcrelay.http.access import Access
from rtcrelay.http.body import read_body, require_type
from rtcrelay.http.forward import GONE, Forwarder
from rtcrelay.http.ingresses import INGRESS_HEADER, read_ingresses
from rtcrelay.http.problems import Problem, problems
from rtcrelay.http.times import SignalingTimes
from rtcrelay.rtc.sdp import MAX_BYTES, SdpError
from rtcrelay.transceiver.counters import Count, End
from rtcrelay.transceiver.page import add_page
from rtcrelay.transceiver.realtime_calls import CALLS, CallRequest, read_call_request
from rtcrelay.transceiver.transceiver import OverloadedError, Transceiver
from rtcrelay.transceiver.whip_patch import FRAGMENT_TYPE, answer_patch

if TYPE_CHECKING:
    from rtcrelay.transceiver.workers.siblings import Siblings

RETRY_AFTER_SECONDS: Final = 5
"""What an overloaded transceiver asks for. Chosen: calls end and nodes are added in minutes, not milliseconds."""
_OFFER_TYPE: Final = "application/sdp"
_ACCEPT_PATCH: Final = {"Accept-Patch": FRAGMENT_TYPE}


@dataclass(frozen=True, slots=True)
class Front:
    """What signaling answers with."""

    transceiver: Transceiver
    access: Access
    times: SignalingTimes = field(default_factory=SignalingTimes)
    siblings: Siblings | None = None
    """The other workers; None: there are none, and all calls are this process's."""


def make_app(front: Front, forwarder: Forwarder | None = None) -> web.Application:
    """The HTTP application. Without a ``forwarder`` other transceivers' sessions are unknown."""
    signaling = _Signaling(front, forwarder)
    app = web.Application(middlewares=[front.times.middleware, front.access.cors, problems])
    add_page(app)
    app.router.add_post("/whip", signaling.post)
    app.router.add_patch("/whip/{resource}", signaling.patch)
    app.router.add_delete("/whip/{resource}", signaling.delete)
    app.router.add_options("/whip", signaling.options)
    app.router.add_options("/whip/{resource}", signaling.options)
    for calls in (CALLS, "/v1/realtime"):  # the second one is where earlier clients post their offers
        app.router.add_post(calls, signaling.call)
        app.router.add_options(calls, signaling.options)
    app.router.add_delete(CALLS + "/{resource}", signaling.delete)
    app.router.add_patch(CALLS + "/{resource}", signaling.patch)
    app.router.add_post(CALLS + "/{resource}/hangup", signaling.delete)
    app.router.add_options(CALLS + "/{resource}", signaling.options)
    app.router.add_options(CALLS + "/{resource}/hangup", signaling.options)
    return app


_Reader: TypeAlias = Callable[[web.Request, bytes], CallRequest]


class _Signaling:
    def __init__(self, front: Front, forwarder: Forwarder | None) -> None:
        self._transceiver, self._access = front.transceiver, front.access
        self._forwarder, self._siblings = forwarder, front.siblings

    async def post(self, request: web.Request) -> web.Response:
        """An offer: 201 with the answer."""
        return await self._accept(request, "/whip", _read_offer)

    async def call(self, request: web.Request) -> web.Response:
        """The same in the shape of OpenAI's interface, see `realtime_calls`."""
        return await self._accept(request, CALLS, read_call_request)

    async def _accept(self, request: web.Request, place: str, read: _Reader) -> web.Response:
        self._access.authorize(request)
        counts = self._transceiver.counters.counts
        try:
            body = await read_body(request, MAX_BYTES)
            if self._siblings is not None and (answer := await self._siblings.offer(request, body)) is not None:
                return answer
            offer, session = read(request, body)
            ingresses = read_ingresses(request.headers.get(INGRESS_HEADER, ""))
            accepted = self._transceiver.create_session(offer, ingresses, session)
        except (SdpError, OverloadedError, Problem) as error:
            counts[Count.OFFERS_REFUSED] += 1
            if isinstance(error, OverloadedError):
                counts[Count.OFFERS_UNPLACED] += 1
                raise Problem(503, str(error), {"Retry-After": str(RETRY_AFTER_SECONDS)}) from error
            if isinstance(error, SdpError):
                raise Problem(422, str(error)) from error
            raise
        headers = {"Location": f"{place}/{accepted.resource}", "ETag": accepted.etag, **_ACCEPT_PATCH, **self._node()}
        return web.Response(status=201, text=accepted.answer, content_type=_OFFER_TYPE, headers=headers)

    async def patch(self, request: web.Request) -> web.Response:
        """A fragment: 204 for candidates, 200 for an ICE restart."""
        self._access.authorize(request)
        require_type(request, FRAGMENT_TYPE, _ACCEPT_PATCH)
        text = _text(await read_body(request, MAX_BYTES), 400)
        resource = request.match_info["resource"]
        placed = self._transceiver.find(resource)
        if placed is None:
            return await self._pass_on(request, resource, text.encode())
        response = answer_patch(self._transceiver, placed, request.headers.get("If-Match"), text)
        response.headers.update(self._node())
        return response

    async def delete(self, request: web.Request) -> web.Response:
        """The end of a session: 200."""
        self._access.authorize(request)
        resource = request.match_info["resource"]
        placed = self._transceiver.find(resource)
        if placed is None:
            return await self._pass_on(request, resource, b"")
        placed.session.close(End.DELETED, self._transceiver.now())
        return web.Response(status=200, headers=self._node())

    async def options(self, request: web.Request) -> web.Response:
        """What may be posted (RFC 9725 section 4.2); without authorization, as CORS preflights come without."""
        if "resource" in request.match_info:
            headers = {"Allow": "PATCH, DELETE, OPTIONS", **_ACCEPT_PATCH}
        else:
            headers = {"Allow": "POST, OPTIONS", "Accept-Post": _OFFER_TYPE}
        return web.Response(status=204, headers=headers)

    async def _pass_on(self, request: web.Request, resource: str, body: bytes) -> web.Response:
        if self._siblings is not None:
            answer = await self._siblings.pass_on(request, resource, body)
            if answer is not None:
                return answer
        if self._forwarder is None:
            raise Problem(404, GONE)
        return await self._forwarder.pass_on(request, resource, body)

    def _node(self) -> dict[str, str]:
        return {"X-Rtcrelay-Node": self._transceiver.settings.node}


def _read_offer(request: web.Request, body: bytes) -> CallRequest:
    require_type(request, _OFFER_TYPE, {"Accept-Post": _OFFER_TYPE})
    return CallRequest(_text(body, 422), None)


def _text(body: bytes, status: int) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(status, "the body is not UTF-8") from None
