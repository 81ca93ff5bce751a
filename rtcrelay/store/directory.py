"""Who is alive? The nodes of a site by their heartbeats, and orders to them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from rtcrelay.errors import BackendError
from rtcrelay.store.node_entry import (
    INDEX,
    MAX_BYTES,
    ORDER_PREFIX,
    PREFIX,
    Heartbeat,
    Order,
    member_of,
    read_heartbeat,
    read_member,
    write_entry,
)
from rtcrelay.store.redis_command import Command

MAX_NODES: Final = 4096
"""Nodes that are read at most, those heard of last."""
ORDER_SECONDS: Final = 30 * 86_400
"""An order outlives restarts of its node, and is gone a month after it was given."""
_BATCH: Final = 256


class Store(Protocol):
    """A `rtcrelay.store.redis_store.RedisStore`."""

    async def run(self, *commands: Command) -> list[object]:
        """The replies to commands. Raises BackendError."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The directory at one moment."""

    found: tuple[Heartbeat, ...]
    """By cluster, role and name; those without a cluster first."""
    refused: int
    """Entries that did not read as heartbeats."""

    def named(self, name: str, cluster: int | None = None) -> list[Heartbeat]:
        """The nodes with a name, of any or one cluster."""
        return [node for node in self.found if node.node == name and cluster in (None, node.cluster)]

    def meant(self, name: str, cluster: int | None = None) -> list[Heartbeat]:
        """As `named`; if there is none, the workers of the transceiver that was given this name."""
        worker = re.compile(re.escape(name) + r"-w\d{1,2}", re.ASCII)
        return self.named(name, cluster) or [
            node for node in self.found if worker.fullmatch(node.node) and cluster in (None, node.cluster)
        ]


async def read_nodes(store: Store) -> Nodes:
    """Reads the directory. Raises BackendError if nobody serves; what is there and makes no sense is counted."""
    (members,) = await store.run(("ZREVRANGE", INDEX, 0, MAX_NODES - 1))
    if isinstance(members, BackendError):
        raise members
    names = [read_member(member) for member in members] if isinstance(members, Sequence) else []
    known = [name for name in names if name is not None]
    refused, found = len(names) - len(known), list[Heartbeat]()
    for start in range(0, len(known), _BATCH):
        batch = known[start : start + _BATCH]
        values = await store.run(*(("GETRANGE", PREFIX + name, 0, MAX_BYTES - 1) for name in batch))
        for name, value in zip(batch, values, strict=True):
            if value == b"":
                continue  # it is dead
            heartbeat = read_heartbeat(name, value)
            if heartbeat is None:
                refused += 1
            else:
                found.append(heartbeat)
    return Nodes(tuple(sorted(found, key=_order)), refused)


def _order(node: Heartbeat) -> tuple[int, str, str]:
    return -1 if node.cluster is None else node.cluster, node.role, node.node


async def give_order(store: Store, node: Heartbeat, order: Order) -> None:
    """Tells a node what is wanted of it; it reads that with its next heartbeat. Raises BackendError."""
    key = ORDER_PREFIX + member_of(node.cluster, node.node)
    (reply,) = await store.run(("SET", key, write_entry(order), "EX", ORDER_SECONDS))
    if isinstance(reply, BackendError):
        raise reply


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
