"""What is there to be seen at a moment? Who runs, and how many packets have passed each leg, as the processes say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from rtcrelay._dataplane import KeyRing, UfragError, open_ufrag
from rtcrelay.client.demo.admin import Stats
from rtcrelay.client.demo.world import Conversation, World
from rtcrelay.config.text import format_address
from rtcrelay.errors import RtcrelayError

READ_SECONDS = 0.2
"""Between two questions to every process; chosen: fast for the eye, about 1 % of a core."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One transceiver, and the call to it. Counts are 0 before the call."""

    node: str
    media: str
    """The transceiver's address."""
    runs: bool
    """Whether its process lives."""
    sessions: int
    client: str | None
    """The client's address; None before it has one."""
    ufrag: str | None
    """The route, as the client got it; None before the answer."""
    route: str | None
    """What the relay's own key makes of the ufrag."""
    sent: int
    """Speech packets that the client sent."""
    received: int
    """Speech packets that came back to it."""
    relay_in: int
    """Packets of this client that the present relay process has taken."""
    relay_out: int
    """Packets that it has sent to this client."""
    node_in: int
    """Datagrams that the transceiver has received."""
    node_out: int
    """Datagrams that it has sent."""
    arrivals: tuple[float, ...]
    """When the last packets came back, in seconds of the scene's clock."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The whole site at a moment."""

    now: float
    """In seconds of the loop's clock, like every time in here."""
    vip: str
    relay_pid: int | None
    """None: no relay is ready."""
    counters: dict[str, int]
    """Of the present relay process; empty if it has not answered yet."""
    lanes: tuple[Lane, ...]
    killed_at: float | None
    """When the relay was killed; None: not yet."""
    ready_at: float | None
    """When the next relay was ready; None: not yet."""


class Observer:
    """Asks the processes from time to time; what it does not hear in time stays as it was."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ring = KeyRing([(0, world.site.options.relay_secret, "active")])
        self._relay: Stats | None = None
        self._flows: dict[str, dict[str, Any]] = {}
        self._nodes: dict[str, Stats] = {}

    async def watch(self) -> None:
        """Asks until it is cancelled."""
        while True:
            await self._read()
            await asyncio.sleep(READ_SECONDS)

    def scene(self) -> Scene:
        """The site now: our own processes and calls as of this moment, the rest as last heard."""
        world, site = self._world, self._world.site
        pid = site.relay.daemon.pid
        relay = self._relay if self._relay is not None and self._relay.pid == pid else None
        killed_at = world.killed_at or None
        ready_at = killed_at + world.down_ms / 1000 if killed_at and world.down_ms else None
        calls = {call.node.name: call for call in world.calls}
        return Scene(
            now=asyncio.get_running_loop().time(),
            vip=format_address(site.relay.vip),
            relay_pid=None if killed_at and not ready_at else pid,
            counters=relay.counters if relay else {},
            lanes=tuple(
                self._lane(index, calls.get(node.name), relay is not None)
                for index, node in enumerate(site.transceivers)
            ),
            killed_at=killed_at,
            ready_at=ready_at,
        )

    def _lane(self, index: int, call: Conversation | None, relay_known: bool) -> Lane:
        node = self._world.site.transceivers[index]
        stats = self._nodes.get(node.name)
        counters = stats.counters if stats else {}
        client = call.client if call and call.caller.local else None
        flow = self._flows.get(client or "", {}) if relay_known else {}
        counts = call.call.counts(asyncio.get_running_loop().time()) if call else None
        ufrag = call.call.remote_ufrag if call else None
        return Lane(
            node=node.name,
            media=format_address(node.media),
            runs=node.daemon.pid is not None,
            sessions=counters.get("sessions_created", 0) - (sum(stats.ends.values()) if stats else 0),
            client=client,
            ufrag=ufrag,
            route=self._route(ufrag) if ufrag else None,
            sent=counts.audio_sent if counts else 0,
            received=counts.audio_received if counts else 0,
            relay_in=int(flow.get("packets_in", 0)),
            relay_out=int(flow.get("packets_out", 0)),
            node_in=counters.get("datagrams_in", 0),
            node_out=counters.get("datagrams_out", 0),
            arrivals=call.call.recent_arrivals() if call else (),
        )

    def _route(self, ufrag: str) -> str:
        try:
            route = open_ufrag(self._ring, ufrag)
        except UfragError as error:
            return f"no route: {error.args[0]}"
        where = format_address((route.ip, route.port)) if route.ip else f"node {route.node}"
        return f"cluster {route.cluster}, {where}"

    async def _read(self) -> None:
        relay = self._world.site.relay.admin
        try:
            stats = await relay.stats()
            flows = await relay.flows()
        except RtcrelayError:
            self._relay, self._flows = None, {}
        else:
            self._relay, self._flows = stats, {str(flow.get("client")): flow for flow in flows}
        for node in self._world.site.transceivers:
            try:
                self._nodes[node.name] = await node.admin.stats()
            except RtcrelayError:
                continue  # it starts or ends
