"""A data plane that a test plays: what it tells, and what it is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from rtcrelay._dataplane import Event

Address = tuple[str, int]
NEXT_HOP: Address = ("10.0.3.1", 7000)


@dataclass
class PlayedEvent:
    """As `rtcrelay._dataplane.Event`."""

    what: str
    client: Address
    ingress: int = 3479
    next_hop: Address | None = NEXT_HOP
    alone: bool = True


class PlayedRelay:
    """As `rtcrelay._dataplane.Relay`, as far as events and routes go."""

    def __init__(self) -> None:
        self.told, self._tell = os.pipe()
        os.set_blocking(self.told, False)
        self.waiting: list[PlayedEvent] = []
        self.lost = 0
        self.listening: list[tuple[bool, bool]] = []
        self.restored: list[tuple[Address, int, Address]] = []
        self.allowed: Callable[[Address], bool] = lambda next_hop: True

    def tell(self, *events: PlayedEvent) -> None:
        """Has them waiting, and wakes the reader."""
        self.waiting += events
        os.write(self._tell, b"!")

    def listen(self, listening: bool, *, route_cache: bool = False) -> int:
        self.listening.append((listening, route_cache))
        return self.told

    def events(self, limit: int = 4096) -> tuple[list[Event], int]:
        with suppress(BlockingIOError):
            os.read(self.told, 4096)
        taken, self.waiting = self.waiting, []
        return cast(list[Event], taken), self.lost

    def restore(self, routes: Sequence[tuple[Address, int, Address]]) -> int:
        taken = [route for route in routes if self.allowed(route[2])]
        self.restored += taken
        return len(taken)

    def close(self) -> None:
        os.close(self.told)
        os.close(self._tell)
