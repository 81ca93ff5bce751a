"""The laboratory that all rows run in, and what they ask its services."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtcrelay.client.demo.admin import Admin
from rtcrelay.lab.kernel import inside
from rtcrelay.lab.lab import Lab
from rtcrelay.lab.plan import DIRECT_PORT, HTTP_PORT, PUBLIC_PORT, Host, Plan
from rtcrelay.lab.world import world_text

FAR, NEAR, NEXT = "virginia", "sydney", "frankfurt"
"""Where the cluster is, where the client is, and where the other cluster is."""

HEALTHY_SECONDS = 30.0


@dataclass(frozen=True)
class Bed:
    """A laboratory that is up."""

    lab: Lab
    plan: Plan

    def host(self, name: str) -> Host:
        """The host of that name."""
        return self.lab.host(self.plan, name)

    def admin(self, name: str) -> Admin:
        """The admin socket of a host's service."""
        host = self.host(name)
        socket = f"transceiver-{name}.sock" if host.role == "transceiver" else f"{_PROGRAMS[host.role]}.sock"
        return Admin(self.plan.home(host) / socket)

    @property
    def token(self) -> str:
        """Of all signaling."""
        return self.text("token")

    def text(self, name: str) -> str:
        """A file of one line."""
        return Path(self.plan.directory, name).read_text().strip()

    def vip(self, name: str) -> tuple[str, int]:
        """Where clients enter at a relay, or at a coturn."""
        return str(self.host(name).public), PUBLIC_PORT

    @property
    def transceiver(self) -> Host:
        """The one that all calls of the table are with."""
        (host,) = self.plan.of("transceiver", region=FAR)
        return host

    @property
    def direct(self) -> tuple[str, int]:
        """Its address without any relay."""
        return str(self.transceiver.public), DIRECT_PORT

    @property
    def own_signaling(self) -> str:
        """Its own WHIP, without a front."""
        return f"http://{self.transceiver.public}:{HTTP_PORT}/whip"

    @property
    def front(self) -> str:
        """The signaling near the client."""
        url = self.lab.url(self.plan, NEAR)
        assert url is not None
        return url

    def pid(self, name: str) -> int:
        """Of a host's service, which runs."""
        (status,) = (each for each in self.lab.status() if each.host.name == name)
        assert status.running
        assert status.process is not None
        return status.process.pid

    async def kill(self, *names: str) -> None:
        """SIGKILL to services."""
        for name in names:
            self.lab.kill(self.host(name), 9)

    async def restart(self, *names: str) -> None:
        """Starts them again, and waits until signaling tells clients of every ingress."""
        for name in names:
            await asyncio.to_thread(self.lab.restart, self.host(name))
        deadline = time.monotonic() + HEALTHY_SECONDS
        while (await self.admin(f"{NEAR}-signaling").read("/v1/world"))["unhealthy"]:
            if time.monotonic() > deadline:
                raise TimeoutError("signaling does not see that an ingress is back")
            await asyncio.sleep(0.2)

    def links(self) -> list[dict[str, Any]]:
        """Inputs and counts."""
        return self.lab.links()


_PROGRAMS = {"ingress": "relay", "relay": "relay", "signaling": "signaling"}


@contextmanager
def laboratory(name: str) -> Iterator[Bed]:
    """The built-in world, with direct candidates in the far cluster as well; and this thread at the client's place."""
    text, origin = world_text(None)
    head = f'name = "{FAR}"\n'
    assert head in text
    lab = Lab(name)
    lab.up(text.replace(head, f"{head}direct = true\n", 1), origin)
    try:
        plan = lab.plan()
        with inside(lab.host(plan, NEAR).namespace):
            yield Bed(lab, plan)
    finally:
        lab.down()
