"""A store that is played, nodes that show themselves through it, and the settings of a relay that looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtcrelay.config import RelaySettings
from rtcrelay.errors import BackendError
from rtcrelay.store.beacon import Pulse
from rtcrelay.store.node_entry import Heartbeat, HeldKey, Ingress, Load, Order, Process
from rtcrelay.store.redis_command import Command


class PlayedStore:
    """As much of Redis as heartbeats need."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.index: dict[bytes, float] = {}
        self.down = False
        self.asked: list[Command] = []
        self.before: Callable[[], Any] | None = None

    async def run(self, *commands: Command) -> list[object]:
        self.asked += commands
        if self.before is not None:
            await self.before()
        if self.down:
            raise BackendError("redis://played does not serve: down")
        return [self._run(*command) for command in commands]

    def _run(self, name: Any, key: Any, *rest: Any) -> object:
        if name == "GETRANGE":
            return self.values.get(key, b"")[rest[0] : rest[1] + 1]
        if name == "SET":
            self.values[key] = str(rest[0]).encode()
            return True
        if name == "ZADD":
            self.index[str(rest[1]).encode()] = rest[0]
            return 1
        if name == "ZREVRANGE":
            return sorted(self.index, key=lambda member: -self.index[member])[rest[0] : rest[1] + 1]
        if name == "ZREMRANGEBYSCORE":
            self.index = {member: score for member, score in self.index.items() if score > rest[1]}
            return 0
        if name == "DEL":
            return int(self.values.pop(key, None) is not None)
        assert name == "ZREM"
        return int(self.index.pop(str(rest[0]).encode(), None) is not None)


def heartbeat(**changes: Any) -> Heartbeat:
    """A transceiver's, with other values."""
    fields: dict[str, Any] = {
        "role": "transceiver",
        "node": "a",
        "cluster": 7,
        "state": "serving",
        "process": Process("00" * 8, "host", 1, "0.1.0", 1_000),
        "load": Load(3, 500, 0.25, 1.5),
        "beat_ms": 2_000,
        "keys": [HeldKey(0, "active", "0123abcd")],
        "media": "10.0.3.1:7000",
        "http": "10.0.3.1:8080",
    }
    return Heartbeat(**(fields | changes))


def relay_settings(**changes: Any) -> RelaySettings:
    """A relay's of cluster 7."""
    fields: dict[str, Any] = {
        "listeners": ((("0.0.0.0", 3478), ("10.0.0.5", 3479)),),
        "key_file": Path("keys.toml"),
        "transceivers": ("10.0.0.0/8:7000-7009",),
        "cluster": 7,
    }
    return RelaySettings(**(fields | changes))


def relay_heartbeat(internal: str, **changes: Any) -> Heartbeat:
    """A relay's with that internal address."""
    ingress = Ingress(int(internal.rpartition(":")[2]), "203.0.113.10:3478", internal)
    fields: dict[str, Any] = {"role": "relay", "node": internal, "ingresses": [ingress], "media": None, "http": None}
    return heartbeat(**(fields | changes))


@dataclass
class PlayedNode:
    """A node that shows itself."""

    node: str = "a"
    state: Any = "serving"
    orders: list[Order] = field(default_factory=list)

    def identity(self) -> tuple[int, str]:
        return 7, self.node

    def describe(self, pulse: Pulse) -> Heartbeat:
        return heartbeat(node=self.node, state=self.state, process=pulse.process, beat_ms=pulse.at_ms)

    def obey(self, order: Order) -> None:
        self.orders.append(order)
        self.state = order.state
