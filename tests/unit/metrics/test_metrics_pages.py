"""The three pages that a process shows to probes and to Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

import rtcrelay
from rtcrelay import keys
from rtcrelay.metrics.families import Metric, counter, gauge
from rtcrelay.metrics.pages import Pages
from rtcrelay.metrics.process import ProcessMetrics


class Condition:
    """A process that fares as it is told."""

    def __init__(self) -> None:
        self.ill: str | None = None
        self.busy: str | None = None

    def unhealthy(self) -> str | None:
        return self.ill

    def unready(self) -> str | None:
        return self.busy


class Source:
    """Counts its scrapes."""

    def __init__(self) -> None:
        self.scrapes = 0

    def collect(self) -> Iterable[Metric]:
        self.scrapes += 1
        return [counter("rtcrelay_scrapes_total", "Scrapes.", self.scrapes)]


class Other:
    def collect(self) -> Iterable[Metric]:
        return [gauge("rtcrelay_other", "Other.", 5)]


async def test_health_and_readiness_say_why_not() -> None:
    condition = Condition()
    async with TestClient(TestServer(Pages(condition, []).application())) as client:

        async def ask(page: str) -> tuple[int, str]:
            answer = await client.get(page)
            return answer.status, await answer.text()

        assert await ask("/healthz") == (200, "ok\n")
        assert await ask("/readyz") == (200, "ready\n")
        condition.busy = "draining"
        assert await ask("/healthz") == (200, "ok\n")
        assert await ask("/readyz") == (503, "draining\n")
        condition.ill = "dead"
        assert await ask("/healthz") == (503, "dead\n")
        assert await ask("/readyz") == (503, "dead\n"), "the graver reason first"


async def test_metrics_come_from_every_source_once_a_scrape() -> None:
    source = Source()
    async with TestClient(TestServer(Pages(Condition(), [source, Other()]).application())) as client:
        await client.get("/metrics")
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in read_text(await answer.text())}
    assert source.scrapes == 2
    assert families["rtcrelay_scrapes"].samples[0].value == 2
    assert families["rtcrelay_other"].samples[0].value == 5


async def test_openmetrics_is_given_to_whoever_asks_for_it() -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    async with TestClient(TestServer(Pages(Condition(), [Source()]).application())) as client:
        answer = await client.get("/metrics", headers={"Accept": accept})
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        text = await answer.text()
    assert text.endswith("# EOF\n")
    read = read_openmetrics(text)  # type: ignore[no-untyped-call]  # the library has no types here
    assert [family.name for family in read] == ["rtcrelay_scrapes"]


async def test_nothing_else_can_be_read_and_nothing_written() -> None:
    async with TestClient(TestServer(Pages(Condition(), []).application())) as client:
        for page in ("/", "/v1/stats", "/v1/flows"):
            assert (await client.get(page)).status == 404
        for page in ("/metrics", "/healthz", "/readyz"):
            assert (await client.post(page)).status == 405
        assert (await client.post("/v1/drain")).status == 404


async def test_the_pages_can_be_added_to_another_application() -> None:
    app = web.Application()
    Pages(Condition(), [Other()]).add_to(app)
    async with TestClient(TestServer(app)) as client:
        assert "rtcrelay_other 5.0" in await (await client.get("/metrics")).text()


def test_a_process_shows_its_version_and_its_keys_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    keys.write_key_file(path, keys.generate(3))
    held = keys.load_key_file(path)
    shown = {metric.name: metric for metric in ProcessMetrics("relay", lambda: held).collect()}
    build = shown["rtcrelay_build"].samples[0].labels
    assert (build["version"], build["role"]) == (rtcrelay.__version__, "relay")
    (key,) = shown["rtcrelay_key"].samples
    assert key.labels == {"id": "3", "state": "active", "fingerprint": held.keys[0].fingerprint}
    assert shown["process_cpu_seconds"].samples[0].value > 0
    assert held.keys[0].secret.hex() not in str(shown)
