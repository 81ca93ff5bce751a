"""What can be asked of a running front? HTTP on its Unix socket; health and metrics also where strangers ask."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from rtcrelay.admin.steering import add_steering, json_answer
from rtcrelay.http.times import SignalingTimes
from rtcrelay.metrics.families import Metric, counter, counters, gauge, gauges, histograms
from rtcrelay.metrics.pages import Pages
from rtcrelay.signaling.control import Control
from rtcrelay.signaling.counters import Count
from rtcrelay.signaling.describe import describe_world

_SINGLE = {
    Count.UNPLACED: ("calls_unplaced", "Offers that no cluster took."),
    Count.UNREACHABLE: ("transceivers_unreachable", "Transceivers that were asked and did not answer."),
    Count.REFUSED: ("transceivers_refused", "Transceivers that were asked and had no room."),
    Count.PASSED_ON: ("requests_passed_on", "Requests about sessions, passed on to their owner."),
    Count.CONNECTIONS_REFUSED: ("connections_refused", "Connections that were over a limit."),
    Count.CONNECTIONS_LATE: ("connections_late", "Connections closed because no request came."),
    Count.HEARTBEAT_ERRORS: ("heartbeat_errors", "Times that heartbeats could not be read from Redis."),
    Count.HEARTBEATS_REFUSED: ("heartbeats_refused", "Heartbeats that make no sense or name a forbidden address."),
}


def make_admin_app(control: Control, pages: Pages) -> web.Application:
    """The pages, ``/v1/stats``, ``/v1/world`` (see `describe`), ``/v1/drain``, ``/v1/reload``."""
    routes = _Routes(control)
    app = web.Application(client_max_size=1024)
    pages.add_to(app)
    add_steering(app, control)
    app.add_routes(
        [
            web.get("/v1/stats", routes.stats),
            web.get("/v1/world", routes.world),
        ]
    )
    return app


class SignalingMetrics:
    """``rtcrelay_signaling_…``."""

    def __init__(self, control: Control, times: SignalingTimes) -> None:
        self._control, self._times = control, times

    def collect(self) -> Iterator[Metric]:
        """See `rtcrelay.metrics.pages.MetricsSource`."""
        counted, world = self._control.counters, self._control.world()
        yield counters(
            "rtcrelay_signaling_calls_total",
            "Calls that were placed, by cluster and by how the client's place was known.",
            ["cluster", "place"],
            dict(counted.placed),
        )
        for count, (name, help) in _SINGLE.items():
            yield counter(f"rtcrelay_signaling_{name}_total", help, counted.counts[count])
        yield histograms(
            "rtcrelay_signaling_duration_seconds",
            "Time from the head of a request to its response, by method.",
            ["method"],
            self._times.seconds,
        )
        yield counters(
            "rtcrelay_signaling_requests_total",
            "Requests, by method and status.",
            ["method", "status"],
            dict(self._times.requests),
        )
        names = {site.cluster: site.name for site in world.sites.clusters}
        rooms = {names[cluster]: sum(node.has_room for node in nodes) for cluster, nodes in world.transceivers.items()}
        yield gauges("rtcrelay_signaling_transceivers", "Transceivers with room, by cluster.", ["cluster"], rooms)
        answers = {ingress.name: ingress.name not in world.unhealthy for ingress in world.sites.ingresses}
        yield gauges("rtcrelay_signaling_ingress_up", "1 if the ingress answers, else 0.", ["ingress"], answers)
        help = "1 if the Redis of a site could be read, else 0; by the clusters it speaks for."
        yield gauges("rtcrelay_signaling_redis_up", help, ["clusters"], self._control.reader.serving)
        yield gauge("rtcrelay_signaling_draining", "1 if not ready, else 0.", self._control.is_draining)


class _Routes:
    def __init__(self, control: Control) -> None:
        self._control = control

    async def stats(self, _: web.Request) -> web.Response:
        return json_answer(self._control.describe())

    async def world(self, _: web.Request) -> web.Response:
        return json_answer(describe_world(self._control.world()))
