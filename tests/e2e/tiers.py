"""Global ingresses, the relays of a cluster and its transceiver: real processes on loopback, any of which may die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rtcrelay.client.caller import Caller
from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports, stop_all
from rtcrelay.keys import generate, write_key_file

from .nat import Nat

CLUSTER = 7


@dataclass
class Tier:
    """One relay."""

    daemon: Daemon
    admin: Admin
    public: tuple[str, int]
    internal: str

    async def stats(self) -> dict[str, Any]:
        """All that it says of itself."""
        return await self.admin.read("/v1/stats")


@dataclass
class Tiers:
    """All of them."""

    ingresses: list[Tier]
    """Each VIP's relays, one VIP after the other."""
    relays: dict[str, Tier]
    """The cluster's, by internal address."""
    transceiver: Daemon
    transceiver_admin: Admin
    media: tuple[str, int]
    """Its shared socket."""
    http: int

    @property
    def url(self) -> str:
        """Where calls come in."""
        return f"http://127.0.0.1:{self.http}/whip"

    @property
    def ingress(self) -> Tier:
        """The first one."""
        return self.ingresses[0]

    @property
    def daemons(self) -> list[Daemon]:
        """Every process."""
        return [tier.daemon for tier in (*self.ingresses, *self.relays.values())] + [self.transceiver]

    async def hop(self, ingress: Tier | None = None) -> str:
        """The next hop of an ingress's only flow: a relay of the cluster."""
        (flow,) = await (ingress or self.ingress).admin.flows()
        (claim,) = flow["claims"]
        assert claim["cluster"] == CLUSTER
        assert claim["next_hop"] in self.relays
        return str(claim["next_hop"])


@dataclass(frozen=True)
class Plan:
    """What is to be started."""

    vips: int = 1
    """Public addresses that the answer names."""
    hosts: int = 1
    """Ingress relays of each: at 127.0.0.1, 127.0.0.2 and so on, with one ingress id, as behind a load balancer."""
    relays: int = 2
    """Of the cluster."""
    redis: str | None = None
    """URL for all relays; then heartbeats are the table of clusters."""
    ingress_redis: str | None = None
    """URL for the ingresses alone, as at a site of their own; the table is a file then."""
    by_sites: bool = False
    """Whether the ingresses have no Redis, and a file of sites that names the cluster's."""
    told: tuple[str, ...] = ()
    """What the answer names in the place of the VIPs."""
    transceiver: tuple[str, ...] = field(default=())
    """More arguments for it."""


@asynccontextmanager
async def tiers(directory: Path, plan: Plan) -> AsyncIterator[Tiers]:
    """Starts them, and ends them with the block."""
    made = make_tiers(directory, plan)
    try:
        behind = {made.transceiver, *(tier.daemon for tier in made.relays.values())}
        await asyncio.gather(*(daemon.start() for daemon in behind))
        # Then the ingresses, whose first look at the heartbeats finds those of the cluster.
        await asyncio.gather(*(tier.daemon.start() for tier in made.ingresses))
        yield made
    finally:
        await stop_all(made.daemons)


@asynccontextmanager
async def behind_nat(directory: Path, plan: Plan) -> AsyncIterator[tuple[Tiers, Nat]]:
    """As `tiers`, and a NAT that passes on to one of the ingresses is what callers are told."""
    nat = Nat(("127.0.0.1", 9))
    await nat.open()
    try:
        async with tiers(directory, replace(plan, told=(f"127.0.0.1:{nat.address[1]}",))) as started:
            nat.target = started.ingress.public
            yield started, nat
    finally:
        nat.close()


def make_tiers(directory: Path, plan: Plan) -> Tiers:
    """Their command lines; the table of clusters, if they have one, is ``clusters.toml``."""
    media, http, *ports = free_ports(2 + 2 * plan.vips + 2 * plan.relays)
    write_key_file(directory / "keys.toml", generate())
    keys = ("--key-file", str(directory / "keys.toml"))
    vips, inner = ports[: plan.vips], ports[plan.vips : 2 * plan.vips]
    rest = ports[2 * plan.vips :]
    internals = [f"127.0.7.{number + 1}:{port}" for number, port in enumerate(rest[: plan.relays])]
    table: tuple[str, ...] = ("--redis", plan.redis or "none")
    if plan.redis is None:
        (directory / "clusters.toml").write_text(f"[clusters]\n{CLUSTER} = {internals}\n")
        table = ("--config", str(directory / "clusters.toml"))

    def relay(name: str, public: tuple[str, int], internal: str, *more: str) -> Tier:
        socket = directory / f"{name}.sock"
        arguments = ["relay", "-l", f"{public[0]}:{public[1]}", "--internal", internal, *keys, "--admin", str(socket)]
        return Tier(Daemon(name, [*arguments, *more], directory), Admin(socket), public, internal)

    of_ingress: tuple[str, ...] = ("--ingress-only", "--peers", "127.0.7.0/24", *table)
    if plan.ingress_redis is not None:
        of_ingress = (*of_ingress, "--redis", plan.ingress_redis)
    if plan.by_sites:
        site = f'[[clusters]]\nid = {CLUSTER}\nlatitude = 0\nlongitude = 0\nredis = "{plan.redis}"\n'
        (directory / "sites.toml").write_text(site)
        of_ingress = (*of_ingress[:-2], "--sites", str(directory / "sites.toml"))
    ingresses = [
        relay(f"ingress-{port}-{host}", (f"127.0.0.{host}", port), f"127.0.1.{host}:{inner[at]}", *of_ingress)
        for at, port in enumerate(vips)
        for host in range(1, plan.hosts + 1)
    ]
    of_cluster = ("--cluster", str(CLUSTER), "--transceivers", f"127.0.9.1:{media}", "--peers", "127.0.1.0/24", *table)
    pair = [
        relay(f"relay-{number}", ("127.0.0.1", port), internal, *of_cluster)
        for number, (port, internal) in enumerate(zip(rest[plan.relays :], internals, strict=True), 1)
    ]
    transceiver = ["transceiver", "--media", f"127.0.9.1:{media}", "--http", f"127.0.0.1:{http}", *keys]
    transceiver += [w for told in plan.told or [f"127.0.0.1:{port}" for port in vips] for w in ("--ingress", told)]
    transceiver += ["--cluster", str(CLUSTER), "--drain-timeout", "0s", *plan.transceiver]
    transceiver += ["--admin", str(directory / "transceiver.sock")]
    daemon = Daemon("transceiver", transceiver, directory)
    relays = {tier.internal: tier for tier in pair}
    return Tiers(ingresses, relays, daemon, Admin(directory / "transceiver.sock"), ("127.0.9.1", media), http)


async def more_audio(caller: Caller, packets: int, seconds: float) -> None:
    """Waits until so much more voice came back."""
    before = caller.call.counts(0.0).audio_received
    await caller.until(lambda: caller.call.counts(0.0).audio_received >= before + packets, "audio", seconds)
