"""Where does a session send, and who can change that?

Pure rules, no socket and no clock. Laws: a repeated check moves nothing; media goes to an address only after
that address proved that it wants it, but for three bytes per byte that came from there.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

PathKey: TypeAlias = tuple[str, int, int]
"""(client ip, client port, ingress id); ingress id 0 is the direct socket."""

MAX_PATHS: Final = 8
"""Paths of one session."""
FRESH_TRANSACTIONS: Final = 64
"""Transaction ids remembered: a check with one of them is a repetition. At 2.5 s a check: 160 s."""
CHECKS_TO_MOVE: Final = 2
"""Fresh checks in a row that move a session whose selected path is silent (for clients that never nominate again)."""
AMPLIFICATION: Final = 3
"""Bytes sent per byte received on a path that is not validated (the ratio of RFC 9000 section 8)."""
OLD_PATH_SECONDS: Final = 2.0
"""How long media stays on the last validated path after a move to one that is not."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How to reach the client on a path."""

    header: bytes
    """The SPP header as it came, 38 bytes; empty on the direct socket."""
    destination: tuple[str, int] | tuple[str, int, int, int]
    """The socket address of the relay (or client) that delivered the packet, as the kernel gave it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a packet came from."""

    key: PathKey
    reply: Reply


@dataclass(slots=True)
class Path:
    """One path of one session."""

    key: PathKey
    reply: Reply
    validated: bool = False
    checks_in_a_row: int = 0
    """Fresh checks since the selected path was last heard of."""
    bytes_in: int = 0
    """Payload received, while not validated."""
    bytes_out: int = 0
    """Payload sent, while not validated."""
    last_heard_at: float = 0.0
    authenticated_at: float | None = None
    """When SRTP, SRTCP or DTLS last authenticated here; None: never."""

    def may_send(self, size: int) -> bool:
        """True if a packet of ``size`` bytes may go there."""
        return self.validated or self.bytes_out + size <= AMPLIFICATION * self.bytes_in


class CheckKind(Enum):
    """What a valid check was to its session."""

    REPEATED = "repeated"
    """Its transaction id is known: answer it, change nothing."""
    FRESH = "fresh"
    MOVED = "moved"
    """Fresh, and it selected its path."""


class PathBook:
    """The paths of one session, and which of them is selected."""

    def __init__(self) -> None:
        self.selected: Path | None = None
        self.moves = 0
        """Times that the selected path changed, the first selection left out."""
        self.forgotten: PathKey | None = None
        """The path that the last check pushed out."""
        self._paths: dict[PathKey, Path] = {}
        self._last_validated: Path | None = None
        self._moved_at = 0.0
        self._transactions: OrderedDict[bytes, None] = OrderedDict()
        self._handshake_key: PathKey | None = None
        self._handshake_is_spread = False
        self._somebody_counts = False

    def __len__(self) -> int:
        return len(self._paths)

    def all_keys(self) -> list[PathKey]:
        """The keys of all paths that had a valid check."""
        return list(self._paths)

    def all_paths(self) -> list[Path]:
        """The same paths themselves, oldest first."""
        return list(self._paths.values())

    def find(self, key: PathKey) -> Path | None:
        """The path with this key; None if it never had a valid check."""
        return self._paths.get(key)

    # -- what came in

    def handle_check(
        self, arrival: Arrival, transaction: bytes, *, nominated: bool, connected: bool, now: float
    ) -> CheckKind:
        """A check with the session's password. ``connected``: DTLS is complete.

        A new path may push out the one that is longest silent; it is in `forgotten` then.
        """
        self.forgotten = None
        if transaction in self._transactions:
            return CheckKind.REPEATED
        self._remember(transaction)
        path = self._paths.get(arrival.key)
        if path is None:
            path = self._add(arrival)
        path.reply = arrival.reply
        path.last_heard_at = now
        if path is self.selected:
            self._selected_was_heard()
            return CheckKind.FRESH
        path.checks_in_a_row += 1
        self._somebody_counts = True
        if self.selected is None or nominated or (connected and path.checks_in_a_row >= CHECKS_TO_MOVE):
            self._select(path, now)
            return CheckKind.MOVED
        return CheckKind.FRESH

    def handle_authenticated(self, path: Path, reply: Reply, *, is_newest: bool, connected: bool, now: float) -> bool:
        """A packet that passed SRTP or DTLS authentication. ``is_newest``: SRTP or SRTCP newer than any seen.

        Returns True if that selected its path.
        """
        path.reply = reply
        path.last_heard_at = path.authenticated_at = now
        if path is self.selected:
            self._selected_was_heard()
        elif is_newest and connected:
            self._select(path, now)
            return True
        return False

    def handle_bytes(self, path: Path, size: int) -> None:
        """A packet of ``size`` bytes came on the path, authentic or not: it may be answered threefold."""
        if not path.validated:
            path.bytes_in += size

    # -- what proves an address

    def handle_handshake_sent(self, path: Path) -> None:
        """A datagram of our DTLS handshake went to the path."""
        if self._handshake_key not in (None, path.key):
            self._handshake_is_spread = True
        self._handshake_key = path.key

    def handle_handshake_proof(self, path: Path) -> None:
        """The peer's signature over our random, or its Finished, came on the path.

        That proves the address if the handshake went nowhere else. The peer could otherwise read it at one
        address and answer with another's as the source.
        """
        if self._handshake_key == path.key and not self._handshake_is_spread:
            self.validate(path)

    def validate(self, path: Path) -> None:
        """The path answered what only its owner could have read."""
        path.validated = True
        if path is self.selected:
            self._last_validated = path

    # -- where to send

    def media_path(self, now: float) -> Path | None:
        """Where media goes: the selected path, or for a short time after a move the last validated one."""
        if self.selected is None or self.selected.validated:
            return self.selected
        if self._last_validated is not None and now - self._moved_at < OLD_PATH_SECONDS:
            return self._last_validated
        return self.selected

    # -- inside

    def _remember(self, transaction: bytes) -> None:
        self._transactions[transaction] = None
        if len(self._transactions) > FRESH_TRANSACTIONS:
            self._transactions.popitem(last=False)

    def _add(self, arrival: Arrival) -> Path:
        if len(self._paths) >= MAX_PATHS:
            idle = [path for path in self._paths.values() if path not in (self.selected, self._last_validated)]
            self.forgotten = min(idle, key=lambda path: path.last_heard_at).key
            del self._paths[self.forgotten]
        path = self._paths[arrival.key] = Path(arrival.key, arrival.reply)
        return path

    def _select(self, path: Path, now: float) -> None:
        if self.selected is not None:
            self.moves += 1
        self.selected = path
        self._moved_at = now
        if path.validated:
            self._last_validated = path
        self._selected_was_heard()

    def _selected_was_heard(self) -> None:
        if self._somebody_counts:
            self._somebody_counts = False
            for path in self._paths.values():
                path.checks_in_a_row = 0
