"""Where do node ids in ufrags lead, beyond the settings? What transceivers' heartbeats say, as a hint.

A hint holds only within ``--transceivers`` and for nodes that the settings do not name. It outlives Redis: a node that
is heard of no more keeps its place for a while, since Redis may have been wiped and the node may be well.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from rtcrelay.config import Address, RelaySettings
from rtcrelay.config.text import network_of, ports_of
from rtcrelay.store.complaints import Complaints
from rtcrelay.store.node_entry import Heartbeat

log = logging.getLogger("rtcrelay.relay")

KEEP_SECONDS: Final = 300.0
"""How long a hint lives after the last heartbeat that said so."""
MAX_HINTS: Final = 4096


class NodeHints:
    """The hints of one relay."""

    def __init__(self) -> None:
        self.table: Mapping[int, Address] = {}
        """Node ids and their media addresses, those of the settings left out."""
        self.refused = 0
        """Heartbeats whose address was outside the networks, or whose id another, younger node had."""
        self._hints: dict[int, tuple[Address, float]] = {}
        self._forbidden = Complaints(log, "heartbeats name addresses outside --transceivers (%d times): %s")
        self._doubles = Complaints(log, "two transceivers have one --node-id (%d times): %s")

    def handle_nodes(self, nodes: Iterable[Heartbeat], settings: RelaySettings, now: float) -> bool:
        """Takes who is alive at ``now``; returns whether `table` is another one."""
        heard: dict[int, Heartbeat] = {}
        for node in nodes:
            if node.node_id is not None and node.cluster == settings.cluster and self._may_be(node, settings):
                self._hear(node.node_id, node, heard)
        for node_id, node in heard.items():
            if node.media_address is not None and (node_id in self._hints or len(self._hints) < MAX_HINTS):
                self._hints[node_id] = node.media_address, now
        self._hints = {node_id: hint for node_id, hint in self._hints.items() if now - hint[1] < KEEP_SECONDS}
        table = {n: where for n, (where, _) in self._hints.items() if n not in (settings.nodes or {})}
        changed, self.table = table != self.table, table
        return changed

    def _hear(self, node_id: int, node: Heartbeat, heard: dict[int, Heartbeat]) -> None:
        other = heard.get(node_id)
        if other is not None:
            self.refused += 1
            self._doubles.tell(f"{node_id} is {other.node}'s and {node.node}'s; the one started last has it")
        if other is None or other.process.started_ms < node.process.started_ms:
            heard[node_id] = node

    def _may_be(self, node: Heartbeat, settings: RelaySettings) -> bool:
        address = node.media_address
        if address is None:
            return False
        ip = ipaddress.ip_address(address[0])
        if any(ip in network_of(text) and address[1] in ports_of(text) for text in settings.transceivers):
            return True
        self.refused += 1
        self._forbidden.tell(f"{node.node} at {node.media}")
        return False
