"""HTTP on the admin socket: counts, the path table, reload, drain. Health and metrics also where strangers may ask."""

from __future__ import annotations

import logging
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from rtcrelay.admin.steering import add_steering, json_answer
from rtcrelay.config.text import address, format_address
from rtcrelay.http.server import start_http
from rtcrelay.metrics.pages import MetricsSource, Pages
from rtcrelay.metrics.process import ProcessMetrics
from rtcrelay.relay.cache_metrics import CacheMetrics
from rtcrelay.relay.capture import Captures
from rtcrelay.relay.cluster_metrics import ClusterMetrics
from rtcrelay.relay.flow_events import FlowEvents
from rtcrelay.relay.flow_sample import FlowSample
from rtcrelay.relay.metrics import RelayMetrics
from rtcrelay.store.beacon_metrics import BeaconMetrics

if TYPE_CHECKING:
    from rtcrelay.config import Address
    from rtcrelay.relay.control import Control

log = logging.getLogger("rtcrelay.relay")

MAX_FLOWS = 10_000
"""Paths in one page at most: about 3 MB of JSON, made in some 50 ms during which nothing else is answered."""

_MAX_BODY = 1 << 20
"""Of a request: 10,000 paths to kill are 0.6 MB."""


class _Path(msgspec.Struct):
    client: str
    ingress: int

    @property
    def key(self) -> tuple[Address, int]:
        return address()(self.client), self.ingress


async def start_admin(
    control: Control,
    admin_socket: socket.socket | None,
    metrics_socket: socket.socket | None,
    stack: AsyncExitStack,
) -> None:
    """Serves what each listening socket may show, until ``stack`` is left."""
    process = ProcessMetrics("relay", lambda: control.key_file)
    sources: list[MetricsSource] = [
        process,
        _relay_metrics(control),
        FlowSample(control.relay),
        ClusterMetrics(control.table, lambda: control.other_sites.serving),
    ]
    if control.route_cache is not None:
        sources.append(CacheMetrics(control.route_cache))
    if control.beacon is not None:
        sources.append(BeaconMetrics(control.beacon, looks=True))
    pages = Pages(control, sources)
    if admin_socket is not None:
        stack.push_async_callback(await start_http(application(control, pages), admin_socket))
    if metrics_socket is not None:
        stack.push_async_callback(await start_http(pages.application(), metrics_socket))
        log.info("metrics and health on %s", format_address(metrics_socket.getsockname()[:2]))


def _relay_metrics(control: Control) -> RelayMetrics:
    return RelayMetrics(
        control.relay,
        workers=control.workers,
        max_flows=control.settings.max_flows,
        is_draining=lambda: control.is_draining,
        overflows=control.receive_overflows,
        takeovers_failed=control.takeovers_failed,
    )


def application(control: Control, pages: Pages) -> web.Application:
    """The admin interface as aiohttp serves it."""

    async def stats(_: web.Request) -> web.Response:
        return json_answer(control.stats())

    async def flows(request: web.Request) -> web.Response:
        try:
            cursor = _number(request, "cursor", 0, 0, 2**63 - 1)
            limit = _number(request, "limit", 1000, 1, MAX_FLOWS)
        except ValueError as error:
            return json_answer({"error": str(error)}, status=400)
        return json_answer(control.flows(cursor, limit))

    async def kill(request: web.Request) -> web.Response:
        try:
            paths = [path.key for path in msgspec.json.decode(await request.read(), type=list[_Path])]
            killed = control.relay.kill(paths)
        except ValueError as error:  # also msgspec's
            return json_answer({"error": str(error)}, status=400)
        log.info("killed %d of %d paths, as asked on the admin socket", killed, len(paths))
        return json_answer({"kind": "kill", "v": 1, "relay": control.name, "killed": killed})

    events, captures = FlowEvents(control.feed, control.name), Captures(control)
    served = web.Application(client_max_size=_MAX_BODY)
    served.on_shutdown.extend([events.end, captures.end])
    pages.add_to(served)
    add_steering(served, control)
    served.add_routes(
        [
            web.get("/v1/stats", stats),
            web.get("/v1/flows", flows),
            web.get("/v1/flows/events", events.handle),
            web.post("/v1/flows/kill", kill),
            web.get("/v1/capture", captures.handle),
        ]
    )
    return served


def _number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and low <= int(text) <= high):
        raise ValueError(f"{name} is not a whole number from {low} to {high}")
    return int(text)
