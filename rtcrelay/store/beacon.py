"""How does a node show that it is alive? It writes a heartbeat every five seconds, and reads its orders with it.

Nothing waits for a heartbeat: Redis that is slow, gone or lying costs a counter and a line in the log once a minute.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Final, Protocol

import rtcrelay
from rtcrelay.errors import BackendError
from rtcrelay.store.complaints import Complaints
from rtcrelay.store.directory import Nodes, Store, now_ms, read_nodes
from rtcrelay.store.node_entry import (
    INDEX,
    MAX_BYTES,
    ORDER_PREFIX,
    PREFIX,
    Heartbeat,
    Order,
    Process,
    member_of,
    read_heartbeat,
    read_order,
    write_entry,
)

log = logging.getLogger("rtcrelay.heartbeat")

BEAT_SECONDS: Final = 5.0
"""Between two heartbeats, give or take a tenth so that nodes do not beat together."""
EXPIRE_SECONDS: Final = 15
"""A node without a heartbeat for so long is dead."""
FORGET_SECONDS: Final = 3600
"""After this time the index forgets a dead node."""
_ROUND_SECONDS: Final = 2.0
"""What one beat may take, whatever the store's own time-outs are."""
_LEAVE_SECONDS: Final = 0.5


@dataclass(slots=True)
class BeaconCounts:
    """What happened since start."""

    written: int = 0
    """Heartbeats written."""
    errors: int = 0
    """Beats that the store did not take."""
    refused: int = 0
    """Entries and orders read that were malformed."""
    orders: int = 0
    """Orders obeyed."""
    nodes: int = 0
    """Nodes alive at the last look; of transceivers, which do not look, 0."""

    def items(self) -> list[tuple[str, int]]:
        """Name and value of each."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


@dataclass(frozen=True, slots=True)
class Pulse:
    """What every heartbeat says of the process."""

    process: Process
    cpu: float
    """Processors that were busy since the last one."""
    at_ms: int
    """When it is, in milliseconds since 1970."""


class Presence(Protocol):
    """The node that shows itself. Nothing here may block."""

    def identity(self) -> tuple[int | None, str]:
        """Its cluster, if it has one, and its name."""

    def describe(self, pulse: Pulse) -> Heartbeat:
        """How it is at this moment; asked once for each heartbeat."""

    def obey(self, order: Order) -> None:
        """Takes an order that is new."""


class Beacon:
    """Beats from entering the context to leaving it; then the node is no longer alive."""

    def __init__(
        self,
        store: Store,
        presence: Presence,
        on_nodes: Callable[[Nodes], None] | None = None,
    ) -> None:
        """``on_nodes``, if it is wanted, hears who else is alive, after each heartbeat."""
        self.counts = BeaconCounts()
        self.leaves = True
        """Whether the heartbeat goes with the process; False if a successor goes on under the name."""
        instance, host = secrets.token_hex(8), os.uname().nodename or "localhost"
        self._process = Process(instance, host[:100], os.getpid(), rtcrelay.__version__, now_ms())
        self._store, self._presence, self._on_nodes = store, presence, on_nodes
        self._order: Order | None = None
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._clocks = time.monotonic(), time.process_time()
        self._trouble = Complaints(log, "no heartbeat was written (%d times): %s; everything else goes on")
        self._conflicts = Complaints(log, "another process calls itself as this one does (%d times): %s")
        self._defects = Complaints(log, "a heartbeat failed (%d times): %s; everything else goes on")
        self._rounds = 0

    async def __aenter__(self) -> Beacon:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self.leaves and self.counts.written:
            member = member_of(*self._presence.identity())
            with suppress(BackendError, TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self._store.run(("DEL", PREFIX + member), ("ZREM", INDEX, member))

    def beat_soon(self) -> None:
        """Has others know at once that something changed."""
        self._soon.set()

    def stats(self) -> dict[str, int]:
        """The counts by name."""
        return dict(self.counts.items())

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_ROUND_SECONDS):
                    await self._beat()
            except BackendError as error:
                self.counts.errors += 1
                self._trouble.tell(error)
            except TimeoutError:
                self.counts.errors += 1
                self._trouble.tell("no answer in time")
            except Exception as error:  # a defect of ours must not end the heartbeats
                self.counts.errors += 1
                self._defects.tell(f"{type(error).__name__}: {error}", traceback=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS * random.uniform(0.9, 1.1)):  # noqa: S311  # no secret
                    await self._soon.wait()
            self._soon.clear()

    async def _beat(self) -> None:
        member = member_of(*self._presence.identity())
        wanted, before = await self._store.run(
            ("GETRANGE", ORDER_PREFIX + member, 0, MAX_BYTES - 1), ("GETRANGE", PREFIX + member, 0, MAX_BYTES - 1)
        )
        self._consider(wanted)
        self._look_for_a_double(read_heartbeat(member, before))
        heartbeat = self._presence.describe(self._pulse())
        commands = [
            ("SET", PREFIX + member, write_entry(heartbeat), "EX", EXPIRE_SECONDS),
            ("ZADD", INDEX, heartbeat.beat_ms, member),
        ]
        if self._rounds % 12 == 0:  # about once a minute
            commands.append(("ZREMRANGEBYSCORE", INDEX, "-inf", heartbeat.beat_ms - 1000 * FORGET_SECONDS))
        for reply in await self._store.run(*commands):
            if isinstance(reply, BackendError):
                raise reply
        self._rounds += 1
        self.counts.written += 1
        if self._on_nodes is not None:
            nodes = await read_nodes(self._store)
            self.counts.nodes = len(nodes.found)
            self.counts.refused += nodes.refused
            self._on_nodes(nodes)

    def _consider(self, wanted: object) -> None:
        if isinstance(wanted, BackendError):
            raise wanted
        if wanted == b"":
            return
        order = read_order(wanted)
        if order is None:
            self.counts.refused += 1
            return
        if order != self._order and order.instance in (None, self._process.instance):
            self._order = order
            self.counts.orders += 1
            self._presence.obey(order)

    def _look_for_a_double(self, other: Heartbeat | None) -> None:
        # Before our first beat, or after a while without Redis, it is a process that was here before us.
        if self._rounds and other is not None and other.process.instance != self._process.instance:
            self._conflicts.tell(f"{other.role} {other.node} on {other.process.host}, process {other.process.pid}")

    def _pulse(self) -> Pulse:
        wall, cpu = time.monotonic(), time.process_time()
        before_wall, before_cpu = self._clocks
        self._clocks = wall, cpu
        share = (cpu - before_cpu) / max(wall - before_wall, 0.001)
        return Pulse(self._process, round(max(0.0, share), 4), now_ms())
