"""What does an operator hear of drops and errors? Each kind at most once a minute, with a count, in one sentence.

Counts in, sentences out: no clock, no logger. What strangers can cause at will is not said at all, or only when it
comes in bulk: scans, foreign protocols and malformed packets are the Internet's weather, and are in the metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rtcrelay._dataplane import DROP_REASONS

WINDOW_SECONDS: Final = 60.0
"""Between two sentences of one kind (rule 10 of the relay)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is said about one count."""

    level: int = logging.WARNING
    """A level of `logging`."""
    at_least: int = 1
    """Counts within a window that are worth a sentence."""
    advice: str = ""
    """What follows from it, or what to look at."""
    sentence: str = ""
    """What happened so often, for a count that is no drop reason."""


_KEYS = "do the relay and its transceivers have the same keys?"
_BUFFERS = "see net.core.rmem_max, --workers, and the load of this machine"

KINDS: Final[Mapping[str, Kind]] = {
    # The kernel, or this machine.
    "send_buffer_full": Kind(advice="see net.core.wmem_max and the interface's queue"),
    "send_too_big": Kind(advice="between relays and transceivers an MTU of at least 1566 is needed"),
    "send_unreachable": Kind(advice="see 'ip route get' for the transceivers' addresses"),
    "send_failed": Kind(),
    "receive_errors": Kind(sentence="receiving failed"),
    "receive_overflows": Kind(sentence="a datagram found the socket's receive buffer full", advice=_BUFFERS),
    "gso_refused": Kind(
        logging.INFO,
        sentence="the kernel refused to take datagrams in a group, and they went one by one",
        advice="an MTU below 1500 or IPsec on the way to the transceivers does that, which costs processor time",
    ),
    "panics": Kind(
        logging.ERROR, sentence="a defect of rtcrelay stopped a worker's turn", advice="please report what stderr says"
    ),
    "table_full": Kind(advice="--max-flows allows more"),
    # Transceivers, and what was configured.
    "next_hop_dead": Kind(advice="a transceiver is gone, or does not take this relay's packets (its --relays)"),
    "endpoint_forbidden": Kind(advice="--transceivers does not hold an address that a valid ufrag names"),
    "cluster_unknown": Kind(advice="--cluster is another one than the transceivers'"),
    "node_unknown": Kind(advice="--nodes lacks a transceiver"),
    "ufrag_unknown_key": Kind(at_least=10, advice=_KEYS),
    "spp_direction": Kind(advice="is the sender in --transceivers or --peers, and is the proxy address a peer's?"),
    "spp_magic": Kind(advice="something else than rtcrelay sends to the internal address"),
    "spp_short": Kind(advice="something else than rtcrelay sends to the internal address"),
    "spp_client": Kind(logging.INFO),
    # Strangers, in bulk.
    "ufrag_forged": Kind(at_least=100, advice=f"somebody guesses, or: {_KEYS}"),
    "ufrag_revoked_key": Kind(logging.INFO, at_least=10),
    "admission_rate": Kind(logging.INFO, at_least=100, advice="a carrier's NAT may belong in --admission-exempt"),
    "no_route": Kind(logging.INFO, at_least=1000, advice="after a restart this is brief"),
    "oversize": Kind(logging.INFO, at_least=100),
}
"""The counts that are talked about."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to log."""

    level: int
    """A level of `logging`."""
    message: str
    """The sentence."""


class Digest:
    """Follows the counts of one relay. Give it every snapshot."""

    def __init__(self, kinds: Mapping[str, Kind] = KINDS) -> None:
        self._tallies = {name: _Tally(name, kind) for name, kind in kinds.items()}
        self._last: Mapping[str, int] = {}
        self._looked_at: float | None = None

    def handle_snapshot(self, counts: Mapping[str, int], now: float) -> list[Line]:
        """Takes all counts since start, of which it ignores some; returns what is to be said now.

        The first snapshot is compared with zeros, at its own time.
        """
        before = now if self._looked_at is None else self._looked_at
        lines = []
        for name, tally in self._tallies.items():
            added = counts.get(name, 0) - self._last.get(name, 0)
            line = tally.add(max(0, added), before, now)
            if line is not None:
                lines.append(line)
        self._last, self._looked_at = dict(counts), now
        return lines


class _Tally:
    """One kind's count since the last sentence about it."""

    def __init__(self, name: str, kind: Kind) -> None:
        self._name, self._kind = name, kind
        self._count = 0
        self._since = 0.0
        self._said_at = float("-inf")

    def add(self, added: int, before: float, now: float) -> Line | None:
        if self._count < self._kind.at_least and now - self._since >= WINDOW_SECONDS:
            self._count = 0  # too few in a whole window
        if added and self._count == 0:
            self._since = before
        self._count += added
        if self._count < self._kind.at_least or now - self._said_at < WINDOW_SECONDS:
            return None
        line = Line(self._kind.level, self._sentence(now - self._since))
        self._count, self._said_at = 0, now
        return line

    def _sentence(self, seconds: float) -> str:
        count, kind = self._count, self._kind
        within = f" within {max(1, round(seconds))} s"
        if kind.sentence:
            said = f"{kind.sentence}{f' {count} times' if count > 1 else ''}{within}"
        else:
            packets = "1 packet was" if count == 1 else f"{count} packets were"
            meaning = DROP_REASONS[self._name].rstrip(".")
            said = f"{packets} dropped{within} ({self._name}): {meaning[:1].lower()}{meaning[1:]}"
        return f"{said}; {kind.advice}" if kind.advice else said
