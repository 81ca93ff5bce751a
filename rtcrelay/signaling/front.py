"""How does a call get to a transceiver? The front takes the offer, asks the rule, and carries it there.

``POST /whip`` and ``POST /v1/realtime/calls`` go to the nearest cluster that takes them, with the ingresses that the
client is to be told; what follows goes to the session's owner, whom its URL names. The front keeps nothing of a call.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from rtcrelay.config.sites import ClusterSite
from rtcrelay.config.text import format_address
from rtcrelay.http.access import Access
from rtcrelay.http.body import read_body
from rtcrelay.http.courier import Courier, DistrustError, UnreachableError
from rtcrelay.http.forward import Forwarder
from rtcrelay.http.ingresses import INGRESS_HEADER, write_ingresses
from rtcrelay.http.problems import Problem, problems
from rtcrelay.http.times import SignalingTimes
from rtcrelay.signaling.counters import Count, Counters
from rtcrelay.signaling.directory import Directory
from rtcrelay.signaling.locate import Locator
from rtcrelay.signaling.steer import TransceiverState, choose_transceiver, steer

log = logging.getLogger("rtcrelay.signaling")

CALLS: Final = ("/whip", "/v1/realtime/calls")
"""Where calls begin; what follows has the session's name behind it."""
TRIES_PER_CLUSTER: Final = 2
"""Transceivers asked in one cluster before the next one is. Chosen: one may have died or filled up since its last
heartbeat; two in a row mean that the cluster is in trouble."""
MOST_TRIES: Final = 6
MOST_SECONDS: Final = 8.0
"""What a caller is kept waiting until it is told no; browsers give up much later, people do not."""
RETRY_AFTER_SECONDS: Final = 5
_MAX_BODY_BYTES: Final = 65_536
"""As the transceivers have it."""
_MAX_RETRY_CHARACTERS: Final = 6


@dataclass(frozen=True, slots=True)
class Parts:
    """What the front works with."""

    access: Access
    locator: Locator
    directory: Directory
    courier: Courier
    forwarder: Forwarder
    counters: Counters
    ingresses_told: Callable[[], int]
    """How many ingresses a client is told at most."""
    now: Callable[[], float] = time.monotonic


def make_app(parts: Parts, times: SignalingTimes | None = None) -> web.Application:
    """The HTTP application."""
    front = _Front(parts)
    times = times or SignalingTimes()
    app = web.Application(middlewares=[times.middleware, parts.access.cors, problems])
    for calls in CALLS:
        app.router.add_post(calls, front.place)
        app.router.add_options(calls, front.options)
        app.router.add_route("*", calls + "/{resource}", front.follow)
        app.router.add_route("*", calls + "/{resource}/{action:[a-z]{1,16}}", front.follow)
    return app


class _Front:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def place(self, request: web.Request) -> web.Response:
        """An offer: the answer of the first transceiver that takes it."""
        parts = self._parts
        parts.access.authorize(request)
        body = await read_body(request, _MAX_BODY_BYTES)
        began = parts.now()
        client = parts.locator.locate(request.remote or "", request.headers, request.query.get("at"))
        world = parts.directory.world(began)
        decision = steer(world, client.place, client.address)
        told = decision.told(parts.ingresses_told())
        headers = {INGRESS_HEADER: write_ingresses(ingress.address for ingress in told)} if told else {}
        call = _Call(request, body, headers, began)
        for site in decision.tried():
            answer = await self._try(call, site, world.transceivers[site.cluster])
            if answer is not None:
                parts.counters.placed[site.name, client.source] += 1
                return answer
        parts.counters.counts[Count.UNPLACED] += 1
        raise Problem(503, "no cluster takes calls at the moment", {"Retry-After": str(RETRY_AFTER_SECONDS)})

    async def follow(self, request: web.Request) -> web.Response:
        """Whatever concerns a session that there is: its owner's answer."""
        if request.method == "OPTIONS":
            return await self.options(request)
        self._parts.access.authorize(request)
        body = await read_body(request, _MAX_BODY_BYTES)
        return await self._parts.forwarder.pass_on(request, request.match_info["resource"], body)

    async def options(self, request: web.Request) -> web.Response:
        """A CORS preflight or a question of RFC 9725 section 4.2; without authorization, as preflights come so."""
        if "resource" in request.match_info:
            return web.Response(
                status=204,
                headers={"Allow": "POST, PATCH, DELETE, OPTIONS", "Accept-Patch": "application/trickle-ice-sdpfrag"},
            )
        return web.Response(status=204, headers={"Allow": "POST, OPTIONS", "Accept-Post": "application/sdp"})

    async def _try(
        self, call: _Call, site: ClusterSite, transceivers: tuple[TransceiverState, ...]
    ) -> web.Response | None:
        """The answer of a transceiver of the cluster; None if none takes the call, or time is up."""
        parts, passed = self._parts, set[str]()
        for _ in range(TRIES_PER_CLUSTER):
            if call.tries >= MOST_TRIES or parts.now() - call.began >= MOST_SECONDS:
                return None
            node = choose_transceiver(transceivers, random.randrange, frozenset(passed))
            if node is None:
                return None
            passed.add(node.node)
            call.tries += 1
            answer = await self._ask(call, site, node)
            if answer is not None:
                return answer
        return None

    async def _ask(self, call: _Call, site: ClusterSite, node: TransceiverState) -> web.Response | None:
        parts = self._parts
        try:
            answer = await parts.courier.carry(
                call.request, node.address, call.request.path_qs, call.body, call.headers
            )
        except (UnreachableError, DistrustError, Problem) as error:
            # Also one that took the offer and said nothing: if it made a session, that ends by itself.
            parts.directory.note_unreachable(node.address, parts.now())
            parts.counters.counts[Count.UNREACHABLE] += 1
            log.info("%s of %s does not take calls: %s", format_address(node.address), site.name, error)
            return None
        if answer.status != 503:
            if answer.status == 201:
                parts.directory.note_placed(node.address)
            return answer
        parts.directory.note_refused(node.address, _seconds(answer.headers.get("Retry-After")), parts.now())
        parts.counters.counts[Count.REFUSED] += 1
        return None


@dataclass(slots=True)
class _Call:
    """One offer on its way."""

    request: web.Request
    body: bytes
    headers: dict[str, str]
    began: float
    tries: int = 0


def _seconds(retry_after: str | None) -> float:
    if retry_after is None or not retry_after.isascii() or not retry_after.isdecimal():
        return RETRY_AFTER_SECONDS
    return float(retry_after[:_MAX_RETRY_CHARACTERS])
