"""Which transceivers live? Those whose heartbeats are in Redis, read every few seconds.

Laws: Redis is never waited for by a call; while it is out of reach, what was known stays, and what the front sees
itself counts (see `directory`). Whoever can write Redis can write heartbeats, and offers come with the site's token:
so none goes to an address outside ``--signaling-peers``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rtcrelay.config.text import address
from rtcrelay.errors import BackendError
from rtcrelay.signaling.counters import Count, Counters
from rtcrelay.signaling.steer import TransceiverState
from rtcrelay.store.complaints import Complaints
from rtcrelay.store.directory import Store, read_nodes
from rtcrelay.store.node_entry import Heartbeat

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address
    from rtcrelay.signaling.directory import Directory

PERIOD_SECONDS: Final = 2.0
"""Nodes beat every five seconds and at once when their state changes; this adds at most two."""

_parse = address(concrete=True)
_complaints = Complaints(
    logging.getLogger("rtcrelay.signaling"),
    "heartbeats could not be read (%d times): %s; calls go to the transceivers that were known",
)


class HeartbeatReader:
    """Keeps a directory up to date."""

    def __init__(
        self, store: Store, directory: Directory, allows: Callable[[Address], bool], counters: Counters
    ) -> None:
        """``allows`` says whether calls may go to an address."""
        self._store, self._directory, self._allows, self._counters = store, directory, allows, counters

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            try:
                nodes = await read_nodes(self._store)
            except BackendError as error:
                self._counters.counts[Count.HEARTBEAT_ERRORS] += 1
                _complaints.tell(error)
            except Exception as defect:  # of ours, but calls go on
                self._counters.counts[Count.HEARTBEAT_ERRORS] += 1
                _complaints.tell(defect, traceback=True)
            else:
                self._counters.counts[Count.HEARTBEATS_REFUSED] += nodes.refused
                self._directory.take_heartbeats(self._transceivers(nodes.found))
            await asyncio.sleep(PERIOD_SECONDS)

    def _transceivers(self, nodes: Iterable[Heartbeat]) -> dict[int, list[TransceiverState]]:
        found: defaultdict[int, list[TransceiverState]] = defaultdict(list)
        for node in nodes:
            if node.role != "transceiver" or node.http is None:
                continue
            try:
                where = _parse(node.http)
            except ValueError:
                where = None
            if where is None or not self._allows(where):
                self._counters.counts[Count.HEARTBEATS_REFUSED] += 1
                continue
            found[node.cluster_id].append(TransceiverState(node.node, where, node.state, node.load.used, node.load.max))
        return {cluster: _by_address(states) for cluster, states in found.items()}


def _by_address(states: Iterable[TransceiverState]) -> list[TransceiverState]:
    """The workers of a machine as one: they share its address, and spread the calls that come there."""
    found: dict[Address, TransceiverState] = {}
    for one in states:
        other = found.get(one.address)
        if other is not None and "serving" in (one.state, other.state):
            rest = [each for each in (other, one) if each.state == "serving"]
            sessions, most = sum(each.sessions for each in rest), sum(each.max_sessions for each in rest)
            one = replace(other, state="serving", sessions=sessions, max_sessions=most)
        found[one.address] = one
    return list(found.values())
