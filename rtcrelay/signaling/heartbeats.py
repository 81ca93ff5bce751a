"""Which transceivers live? Those whose heartbeats are in a Redis: see `rtcrelay.store.reader`.

Laws: Redis is never waited for by a call; while one is out of reach, what was known of its clusters stays, and what the
front sees itself counts (see `directory`). Whoever can write Redis can write heartbeats, and offers come with the
site's token: so none goes to an address outside ``--signaling-peers``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from rtcrelay.config.text import address
from rtcrelay.signaling.counters import Count, Counters
from rtcrelay.signaling.steer import TransceiverState

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address
    from rtcrelay.signaling.directory import Directory
    from rtcrelay.store.directory import Nodes
    from rtcrelay.store.node_entry import Heartbeat
    from rtcrelay.store.sources import Source

_parse = address(concrete=True)


class Heartbeats:
    """Keeps a directory up to date, see `rtcrelay.store.reader.Taker`."""

    def __init__(self, directory: Directory, allows: Callable[[Address], bool], counters: Counters) -> None:
        """``allows`` says whether calls may go to an address."""
        self._directory, self._allows, self._counters = directory, allows, counters

    def take(self, source: Source, nodes: Nodes) -> None:
        """Those of one Redis."""
        self._counters.counts[Count.HEARTBEATS_REFUSED] += nodes.refused
        relays = Counter(node.cluster_id for node in nodes.found if node.role == "relay" and node.cluster is not None)
        self._directory.take_heartbeats(self._transceivers(nodes.found), relays, source.name)

    def miss(self, source: Source) -> None:
        """What was known stays."""
        self._counters.counts[Count.HEARTBEAT_ERRORS] += 1

    def forget(self, source: Source) -> None:
        """Its transceivers are no longer known by it."""
        self._directory.forget(source.name)

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
