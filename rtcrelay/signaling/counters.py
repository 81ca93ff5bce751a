"""What does the front count?"""

from __future__ import annotations

from collections import defaultdict
from enum import IntEnum, auto


class Count(IntEnum):
    """One counter each."""

    UNPLACED = 0
    """Offers that no cluster took."""
    UNREACHABLE = auto()
    """Transceivers asked that took no connection, or no answer came of it."""
    REFUSED = auto()
    """Transceivers asked that said 503."""
    PASSED_ON = auto()
    """Requests about sessions, passed on to their owner."""
    CONNECTIONS_REFUSED = auto()
    """Connections over a limit."""
    CONNECTIONS_LATE = auto()
    """Connections closed because no request came."""
    HEARTBEAT_ERRORS = auto()
    """Times that Redis did not serve."""
    HEARTBEATS_REFUSED = auto()
    """Heartbeats that made no sense, or name an address outside ``--signaling-peers``."""


class Counters:
    """Since the start."""

    def __init__(self) -> None:
        self.counts = [0] * len(Count)
        self.placed: dict[tuple[str, str], int] = defaultdict(int)
        """Calls by (cluster's name, how the client's place was known)."""
