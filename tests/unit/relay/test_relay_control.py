"""The control plane over a relay that is played: readiness, reload and what the admin interface shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rtcrelay import config, keys
from rtcrelay._dataplane import Policy, Relay
from rtcrelay.errors import ConfigError
from rtcrelay.metrics.pages import Pages
from rtcrelay.relay.admin import application
from rtcrelay.relay.control import Control


class PlayedRelay:
    """Says what the control plane asks, and keeps what it is told."""

    def __init__(self) -> None:
        self.workers = 2
        self.policies: list[Policy] = []

    def gauges(self) -> dict[str, int]:
        return {"workers": self.workers, "flows": 0, "next_hops": 0}

    def counters(self) -> dict[str, int]:
        return {"b": 1, "a": 2}

    def drops(self) -> dict[str, int]:
        return {}

    def listeners(self) -> list[Any]:
        return [(("::1", 3478), ("127.0.0.1", 3479))]

    def flows(self, cursor: int, limit: int) -> tuple[list[Any], int]:
        return [], cursor + limit

    def reload(self, policy: Policy) -> None:
        self.policies.append(policy)


@dataclasses.dataclass
class Scene:
    """A control plane and what surrounds it."""

    relay: PlayedRelay
    control: Control
    next: config.RelaySettings


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    path = tmp_path / "keys.toml"
    keys.write_key_file(path, keys.generate(1))
    settings = config.relay_settings({"key_file": str(path), "workers": "2"}, None, {})
    relay = PlayedRelay()
    made = Scene(relay, cast(Control, None), settings)
    made.control = Control(cast(Relay, relay), settings, keys.load_key_file(path), lambda: made.next)
    return made


def serve(control: Control) -> TestServer:
    return TestServer(application(control, Pages(control, [])))


def test_a_relay_is_well_while_every_worker_lives(scene: Scene) -> None:
    assert scene.control.unhealthy() is None
    assert scene.control.unready() is None
    scene.relay.workers = 1
    assert scene.control.unhealthy() == "1 of 2 workers live"


async def test_a_relay_that_lost_a_worker_is_neither_well_nor_ready(scene: Scene) -> None:
    scene.relay.workers = 1
    async with TestClient(serve(scene.control)) as client:
        for page in ("/readyz", "/healthz"):
            answer = await client.get(page)
            assert (answer.status, await answer.text()) == (503, "1 of 2 workers live\n")


async def test_a_draining_relay_is_well_but_not_ready_until_it_is_cancelled(scene: Scene) -> None:
    async with TestClient(serve(scene.control)) as client:
        answer = await client.post("/v1/drain")
        assert await answer.json() == {"kind": "drain", "v": 1, "draining": True, "flows": 0}
        assert await (await client.post("/v1/drain")).json() == await answer.json(), "twice is as good as once"
        ready = await client.get("/readyz")
        assert (ready.status, await ready.text()) == (503, "draining\n")
        assert (await client.get("/healthz")).status == 200
        assert scene.control.stats()["is_draining"] is True
        assert (await (await client.delete("/v1/drain")).json())["draining"] is False
        assert (await client.get("/readyz")).status == 200
        assert (await client.get("/v1/drain")).status == 405


async def test_a_page_of_flows_is_asked_with_its_cursor_and_limit(scene: Scene) -> None:
    async with TestClient(serve(scene.control)) as client:
        answer = await client.get("/v1/flows?cursor=5&limit=7")
        assert await answer.json() == {
            "kind": "flows",
            "v": 1,
            "relay": "127.0.0.1:3479",
            "flows": [],
            "next_cursor": 12,
        }


def test_stats_name_the_addresses_and_sort_the_counts(scene: Scene) -> None:
    stats = scene.control.stats()
    assert stats["listeners"] == [{"public": "[::1]:3478", "internal": "127.0.0.1:3479", "ingress": 3479}]
    assert list(stats["counters"]) == ["a", "b", "receive_overflows"]


def test_a_reload_takes_what_may_change_and_names_what_may_not(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.next = dataclasses.replace(scene.next, cluster=9, workers=3, max_flows=5)
    scene.control.reload()
    assert len(scene.relay.policies) == 1
    assert scene.control.stats()["cluster"] == 9
    assert "workers has changed, which takes effect at the next start" in caplog.text
    assert "max_flows has changed, which takes effect at the next start" in caplog.text
    assert scene.control.unhealthy() is None, "still judged by the workers that were started"


def test_a_reload_that_fails_leaves_everything(scene: Scene) -> None:
    before = scene.control.stats()["keys"]
    scene.next = dataclasses.replace(scene.next, cluster=9, key_file=Path("/nonexistent"))
    with pytest.raises(ConfigError, match="cannot read key file /nonexistent"):
        scene.control.reload()
    assert scene.relay.policies == []
    assert (scene.control.stats()["keys"], scene.control.stats()["cluster"]) == (before, 0)
