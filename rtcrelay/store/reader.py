"""Who is alive, by the heartbeats in one Redis or several: each is read by itself, every two seconds.

One that is slow, gone or lying costs a counter and a line in the log once a minute, and nothing of what the others say.
What was read last holds until something else is read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from rtcrelay.errors import BackendError
from rtcrelay.store.complaints import Complaints
from rtcrelay.store.directory import Nodes, read_nodes
from rtcrelay.store.late_store import LateStore, late_store
from rtcrelay.store.sources import Source

PERIOD_SECONDS: Final = 2.0
"""Nodes beat every five seconds and at once when their state changes; this adds at most two."""
_ROUND_SECONDS: Final = 5.0
"""What one round may take, whatever the store's own time-outs are."""


class Taker(Protocol):
    """Who wants to know. Nothing here may block."""

    def take(self, source: Source, nodes: Nodes) -> None:
        """Takes who is alive by one Redis: nodes of clusters it speaks for only."""

    def miss(self, source: Source) -> None:
        """One Redis could not be read."""

    def forget(self, source: Source) -> None:
        """One is no longer read."""


@dataclass(slots=True)
class _Reading:
    store: LateStore
    task: asyncio.Task[None]
    serves: bool = True


class NodesReader:
    """Reads from `arrange` to leaving the context."""

    def __init__(self, taker: Taker, log: logging.Logger, then: str) -> None:
        """``then`` ends the sentence about a Redis that cannot be read."""
        self._taker, self._log, self._then = taker, log, then
        self._readings: dict[Source, _Reading] = {}
        self._ended: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> NodesReader:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.arrange(())
        await asyncio.gather(*self._ended, return_exceptions=True)

    @property
    def serving(self) -> Mapping[str, bool]:
        """Whether each Redis could be read the last time, by its label."""
        return {source.label: reading.serves for source, reading in self._readings.items()}

    def arrange(self, sources: Iterable[Source]) -> None:
        """Reads these from now on; those that are read already go on."""
        wanted = dict.fromkeys(sources)
        for source in [source for source in self._readings if source not in wanted]:
            reading = self._readings.pop(source)
            reading.task.cancel()
            self._ended.add(reading.task)
            self._taker.forget(source)
        for source in wanted:
            if source not in self._readings:
                store = late_store(source.url, source.password)
                self._readings[source] = _Reading(store, asyncio.create_task(self._read(source, store)))

    async def _read(self, source: Source, store: LateStore) -> None:
        complaints = Complaints(self._log, "heartbeats could not be read (%d times): %s")
        try:
            while True:
                serves = await self._read_once(source, store, complaints)
                if source in self._readings:
                    self._readings[source].serves = serves
                await asyncio.sleep(PERIOD_SECONDS)
        finally:
            await store.close()

    async def _read_once(self, source: Source, store: LateStore, complaints: Complaints) -> bool:
        try:
            async with asyncio.timeout(_ROUND_SECONDS):
                nodes = await read_nodes(store)
            found = tuple(node for node in nodes.found if source.speaks_for(node.cluster))
            self._taker.take(source, Nodes(found, nodes.refused))
        except (BackendError, TimeoutError) as error:
            complaints.tell(f"in {source.name}: {str(error) or 'no answer in time'}; {self._then}")
        except Exception as defect:  # of ours, but the next round may do better
            complaints.tell(f"in {source.name}: {type(defect).__name__}: {defect}; {self._then}", traceback=True)
        else:
            return True
        self._taker.miss(source)
        return False
