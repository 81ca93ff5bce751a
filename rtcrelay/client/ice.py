"""The controlling end of ICE on one UDP socket (RFC 8445), as much as a client of an ICE-lite server needs.

Checks every candidate of the answer, nominates the first that answers, keeps consent fresh (RFC 7675), goes on with
another candidate when that one falls silent, and answers the server's own checks. Law: no socket and no clock here.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtcrelay._dataplane import StunMessage, read_stun
from rtcrelay.rtc import stun

if TYPE_CHECKING:  # an alias of the stub, not of the module
    from rtcrelay._dataplane import Address

SETUP_SECONDS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""When the checks before the first answer are sent, as browsers do; after that every second."""
FAST_SECONDS = 0.5
"""Between checks once one was not answered, and how long an answer is awaited where there is another candidate; chosen,
browsers are faster still."""
SETUP_LIMIT_SECONDS = 15.0
"""No answer until then: failed. What Chromium allows (measured: `failed` after 15 to 17.5 s)."""
CONSENT_LIMIT_SECONDS = 30.0
"""RFC 7675 section 5.1."""
_PENDING_LIMIT = 64
_HOST_PRIORITY = 2_130_706_431
"""A host candidate, component 1, highest local preference (RFC 8445 section 5.1.2.1)."""


@dataclass(frozen=True, slots=True)
class IceCounts:
    """What the agent sent and received, in messages."""

    sent: int
    answered: int
    validations: int
    refused: int


class IceAgent:
    """One component, one socket, several remote candidates."""

    def __init__(
        self, ufrag: str, password: str, *, check_interval_seconds: float | None = 2.5, nominates_again: bool = True
    ) -> None:
        self.ufrag = ufrag
        self.password = password
        self.selected: Address | None = None
        """The remote address that answered first, or another one since it fell silent; media goes there."""
        self.failed = False
        """No consent (any more): nothing may be sent."""
        self.round_trip_seconds: float | None = None
        """Of the last answered check."""
        self._interval, self._nominates_again = check_interval_seconds, nominates_again
        self._tie_breaker = secrets.token_bytes(8)
        self._remote_ufrag = self._remote_password = ""
        self._remotes: list[Address] = []
        self._pending: OrderedDict[bytes, tuple[Address, float, bool]] = OrderedDict()
        self._out: deque[tuple[bytes, Address]] = deque()
        self._started_at = self._last_answer_at = 0.0
        self._unanswered_since: float | None = None
        """When the first check was sent that the selected address did not answer yet."""
        self._next_check_at: float | None = None
        self._rounds = 0
        self._nominated = self._was_nominated = False
        self._sent = self._answered = self._validations = self._refused = 0

    @property
    def counts(self) -> IceCounts:
        """So far."""
        return IceCounts(self._sent, self._answered, self._validations, self._refused)

    def start(self, remote_ufrag: str, remote_password: str, remotes: list[Address], now: float) -> None:
        """Takes what the answer said and begins with the checks."""
        self._remote_ufrag, self._remote_password = remote_ufrag, remote_password
        self._remotes = list(remotes)
        self._started_at = self._last_answer_at = now
        self._next_check_at = now
        self.handle_timer(now)

    def restart(self, ufrag: str, password: str, remote_ufrag: str, remote_password: str, now: float) -> None:
        """Takes both ends' new credentials (RFC 8445 section 9) and checks with them at once; media goes on."""
        self.ufrag, self.password = ufrag, password
        self._remote_ufrag, self._remote_password = remote_ufrag, remote_password
        self._pending.clear()
        self._nominated = self._was_nominated = False
        self._last_answer_at = self._next_check_at = now
        self.handle_timer(now)

    def handle_moved(self, now: float) -> None:
        """The socket has another address now: the selected pair is checked at once, and so nominated there."""
        if self.selected is not None and not self.failed:
            self._nominated = False
            self._next_check_at = now
            self.handle_timer(now)

    def poll_transmit(self) -> tuple[bytes, Address] | None:
        """The next datagram to send, or None."""
        return self._out.popleft() if self._out else None

    def poll_timeout(self) -> float | None:
        """When `handle_timer` wants to be called next."""
        return self._next_check_at

    def handle_timer(self, now: float) -> None:
        """Sends the checks that are due."""
        if self._next_check_at is None or now < self._next_check_at or self.failed:
            return
        limit = SETUP_LIMIT_SECONDS if self.selected is None else CONSENT_LIMIT_SECONDS
        if now - self._last_answer_at > limit:
            self.failed, self._next_check_at = True, None
            return
        if self.selected is None:
            for remote in self._remotes:
                self._check(remote, now)
            self._rounds += 1
            at = SETUP_SECONDS[self._rounds] if self._rounds < len(SETUP_SECONDS) else now - self._started_at + 1.0
            self._next_check_at = self._started_at + at
        else:
            # Whoever is silent may be dead, or the way there: the first other one that answers takes its place.
            for remote in self._remotes if self._is_silent(now) else [self.selected]:
                self._check(remote, now)
            self._next_check_at = self._after_check(now)

    def handle_datagram(self, data: bytes, source: Address, now: float) -> bool:
        """Takes a STUN datagram; False if it was refused (malformed, not authenticated, unknown)."""
        message = read_stun(data)
        accepted = False
        if message is not None and not stun.fingerprint_is_wrong(data, message):
            if message.kind == stun.BINDING_REQUEST:
                accepted = self._on_request(data, message, source)
            elif message.kind == stun.BINDING_SUCCESS:
                accepted = self._on_success(data, message, source, now)
        self._refused += not accepted
        return accepted

    def _check(self, remote: Address, now: float) -> None:
        transaction = secrets.token_bytes(12)
        # As browsers do with a lite server: first checks name no pair, the chosen one is named in each check.
        nominate = remote == self.selected and (self._nominates_again or not self._was_nominated)
        check = stun.IceCheck(_HOST_PRIORITY, True, self._tie_breaker, nominate)
        username = f"{self._remote_ufrag}:{self.ufrag}"
        request = stun.write_binding_request(transaction, username, self._remote_password, check)
        self._pending[transaction] = (remote, now, nominate)
        while len(self._pending) > _PENDING_LIMIT:
            self._pending.popitem(last=False)
        self._sent += 1
        if remote == self.selected and self._unanswered_since is None:
            self._unanswered_since = now
        self._out.append((request, remote))

    def _after_check(self, now: float) -> float | None:
        if not self._nominated:
            return now + 0.1
        if self._interval is None:
            return None
        if self._has_choice:
            return now + min(FAST_SECONDS, self._interval)  # an answer puts it off
        overdue = now - self._last_answer_at > self._interval + FAST_SECONDS
        return now + (min(FAST_SECONDS, self._interval) if overdue else self._interval)

    @property
    def _has_choice(self) -> bool:
        """Whether there is another candidate to go on with. Who nominates once and for all goes down with his."""
        return self._nominates_again and self._interval is not None and len(self._remotes) > 1

    def _is_silent(self, now: float) -> bool:
        since = self._unanswered_since
        return self._has_choice and since is not None and now - since >= FAST_SECONDS

    def _select(self, remote: Address, now: float) -> None:
        """Nominates it at once."""
        self.selected, self._nominated, self._unanswered_since = remote, False, None
        self._next_check_at = now
        self.handle_timer(now)

    def _on_request(self, data: bytes, message: StunMessage, source: Address) -> bool:
        """The server validates a path (or is a full agent): answered if it knows our password."""
        if stun.split_username(message) != (self.ufrag.encode(), self._remote_ufrag.encode()):
            return False
        if stun.verified_attributes(data, message, self.password.encode()) is None:
            return False
        self._validations += 1
        self._out.append((stun.write_binding_success(message.transaction, source, self.password), source))
        return True

    def _on_success(self, data: bytes, message: StunMessage, source: Address, now: float) -> bool:
        pending = self._pending.get(message.transaction)
        # RFC 8445 section 7.2.5.2.1: the answer must come from where the check went.
        if pending is None or pending[0] != source:
            return False
        if stun.verified_attributes(data, message, self._remote_password.encode()) is None:
            return False
        del self._pending[message.transaction]
        remote, sent_at, nominating = pending
        self._answered += 1
        self._last_answer_at = now
        self.round_trip_seconds = now - sent_at
        if self.selected is None or (remote != self.selected and self._is_silent(now)):
            self._select(remote, now)
            return True
        if remote == self.selected:
            self._unanswered_since = None
            if self._has_choice and self._nominated and self._interval is not None:
                self._next_check_at = max(now, sent_at + self._interval)
        if not self._nominated and (nominating or (self._was_nominated and not self._nominates_again)):
            self._nominated = self._was_nominated = True
            self._next_check_at = None if self._interval is None else now + self._interval
        return True
