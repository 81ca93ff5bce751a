"""``/metrics``, ``/healthz`` and ``/readyz``: what probes and Prometheus ask, and nothing that changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from rtcrelay.metrics.families import Metric


class MetricsSource(Protocol):
    """What has numbers to show."""

    def collect(self) -> Iterable[Metric]:
        """Its metric families as they are now, each name once; called for every scrape."""


class Condition(Protocol):
    """What knows how a process fares. Neither answer depends on Redis or any other service."""

    def unhealthy(self) -> str | None:
        """Why the process ought to be restarted, in a few words; None: it is well."""

    def unready(self) -> str | None:
        """Why nothing new should be sent to it, in a few words; None: it is ready."""


class Pages:
    """The three pages of one process."""

    def __init__(
        self, condition: Condition, sources: Sequence[MetricsSource], labels: Mapping[str, str] | None = None
    ) -> None:
        """Takes who answers for the process, and whose families make up ``/metrics``, in that order; every series gets
        ``labels`` besides its own."""
        self._condition = condition
        self._all = _All(sources, labels or {})

    def add_to(self, app: web.Application) -> None:
        """Adds the pages to an application, for example the admin socket's."""
        self.add_health_to(app)
        app.router.add_get("/metrics", self._metrics)

    def add_health_to(self, app: web.Application) -> None:
        """Adds all but ``/metrics``."""
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)

    def application(self) -> web.Application:
        """An application that has nothing else, for an address that strangers may reach."""
        app = web.Application(client_max_size=1024)
        self.add_to(app)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return _verdict("ok", self._condition.unhealthy())

    async def _ready(self, _: web.Request) -> web.Response:
        return _verdict("ready", self._condition.unhealthy() or self._condition.unready())

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """(``/metrics`` in the form that somebody accepts, its content type)."""
        encode, content_type = choose_encoder(accept)
        return encode(self._all), content_type

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self.exposition(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


class _All(Collector):
    """The sources as the one that the encoder takes; no registry, whose checks would collect a second time."""

    def __init__(self, sources: Sequence[MetricsSource], labels: Mapping[str, str]) -> None:
        self._sources, self._labels = tuple(sources), labels

    def collect(self) -> Iterator[Metric]:
        for source in self._sources:
            for family in source.collect():
                if self._labels:
                    family.samples = [
                        sample._replace(labels={**self._labels, **sample.labels}) for sample in family.samples
                    ]
                yield family


def _verdict(well: str, reason: str | None) -> web.Response:
    return web.Response(text=f"{reason or well}\n", status=503 if reason else 200)
