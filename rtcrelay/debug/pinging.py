"""When does a probe ask, what was answered, and what does it amount to? Without socket and clock.

`now` is in seconds of any monotonic clock. Memory is bounded: a request is forgotten when its time is over.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rtcrelay.debug.stun_probe import Answer, Probe, read_answer, transaction_of, write_probe

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

RFC_RTO_SECONDS: Final = 0.5
RFC_REQUESTS: Final = 7
RFC_LAST_FACTOR: Final = 16
"""RFC 8489 section 6.2.1: the first time-out, requests at most (Rc), and how many time-outs to wait after the last
(Rm)."""
MAX_BURST: Final = 64
"""Requests sent at once at most, when the clock went on without us."""
_MAX_WAITING: Final = 65_536
"""Requests under way at most: three seconds of the fastest flood. The oldest are given up for more."""
_MAX_ANSWERED: Final = 4096
"""Answered requests that are remembered, to know a second answer."""


@dataclass(frozen=True, slots=True)
class PingPlan:
    """How often to ask, and how long to wait."""

    probe: Probe
    count: int | None = 4
    """Requests; None: until told to end."""
    interval_seconds: float = 1.0
    timeout_seconds: float = 1.0
    """For each answer."""
    rfc_timers: bool = False
    """Repeat a request until it is answered, as RFC 8489 section 6.2.1 says, instead of the time-out."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, or that there was none."""

    number: int
    """Of the request, from 1."""
    transaction: bytes
    source: Address | None = None
    """Who answered; None: nobody in time."""
    rtt_seconds: float | None = None
    answer: Answer | None = None
    duplicate: bool = False

    @property
    def is_good(self) -> bool:
        """Whether it counts as received."""
        return self.answer is not None and self.answer.refused is None and not self.duplicate


@dataclass(slots=True)
class PingTally:
    """The summary."""

    sent: int = 0
    """Requests, without those sent again."""
    sent_again: int = 0
    received: int = 0
    """Answers that an ICE agent would believe, each request's first."""
    refused: int = 0
    duplicates: int = 0
    unanswered: int = 0
    min_seconds: float = math.inf
    max_seconds: float = 0.0
    _sum: float = 0.0
    _squares: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts a round trip."""
        self.received += 1
        self.min_seconds, self.max_seconds = min(self.min_seconds, seconds), max(self.max_seconds, seconds)
        self._sum += seconds
        self._squares += seconds * seconds

    @property
    def avg_seconds(self) -> float:
        """Mean round trip; 0 without any."""
        return self._sum / self.received if self.received else 0.0

    @property
    def mdev_seconds(self) -> float:
        """Standard deviation of the round trips, as ping(8) has it."""
        return math.sqrt(max(0.0, self._squares / self.received - self.avg_seconds**2)) if self.received else 0.0

    @property
    def loss_percent(self) -> float:
        """Requests without a good answer; 0 if none was sent."""
        return 100 * (self.sent - self.received) / self.sent if self.sent else 0.0


@dataclass(slots=True)
class _Request:
    """One under way."""

    number: int
    transaction: bytes
    message: bytes
    sent_at: float
    """The last time."""
    due_at: float
    """When it is sent again, or given up."""
    attempts: int = 1


@dataclass(slots=True)
class Pinger:
    """A run of requests. `random` makes transaction ids."""

    plan: PingPlan
    target: Address
    random: Callable[[int], bytes] = secrets.token_bytes
    tally: PingTally = field(default_factory=PingTally)
    _waiting: dict[bytes, _Request] = field(default_factory=dict)
    _answered: dict[bytes, tuple[int, float]] = field(default_factory=dict)
    _next_at: float | None = None
    _stopped: bool = False

    def poll_transmit(self, now: float) -> Iterator[bytes]:
        """The requests that are due, `MAX_BURST` new ones at most."""
        if self.plan.rfc_timers and self._waiting:  # one at a time
            [request] = self._waiting.values()
            if request.due_at <= now and request.attempts < RFC_REQUESTS:
                self._repeat(request, now)
                yield request.message
            return
        if self._next_at is None:
            self._next_at = now
        for _ in range(MAX_BURST):
            if not self._wants_more or self._next_at > now or (self.plan.rfc_timers and self._waiting):
                return
            self._next_at += self.plan.interval_seconds
            yield self._first(now)
        self._next_at = max(self._next_at, now)

    def poll_unanswered(self, now: float) -> Iterator[Reply]:
        """The requests whose time is over, and the oldest if too many wait."""
        while self._waiting:  # in the order in which they were sent
            request = next(iter(self._waiting.values()))
            is_over = request.due_at <= now and not (self.plan.rfc_timers and request.attempts < RFC_REQUESTS)
            if not is_over and len(self._waiting) <= _MAX_WAITING:
                return
            del self._waiting[request.transaction]
            self.tally.unanswered += 1
            yield Reply(request.number, request.transaction)

    def poll_timeout(self) -> float | None:
        """When one of the two above has something; None: it is over."""
        due = [next(iter(self._waiting.values())).due_at] if self._waiting else []
        if self._wants_more and not (self.plan.rfc_timers and self._waiting):
            due.append(self._next_at or 0.0)
        return min(due, default=None)

    def handle_datagram(self, datagram: bytes, source: Address, now: float) -> Reply | None:
        """Takes what came to the socket; None if it answers no request of ours."""
        transaction = transaction_of(datagram)
        if transaction is None:
            return None
        answer = read_answer(self.plan.probe, datagram, expected=source == self.target)
        request = self._waiting.get(transaction)
        if request is None:
            return self._again(transaction, source, answer, now)
        reply = Reply(request.number, transaction, source, now - request.sent_at, answer)
        if reply.is_good:
            del self._waiting[transaction]
            self.tally.add(now - request.sent_at)
            self._answered[transaction] = request.number, request.sent_at
            if len(self._answered) > _MAX_ANSWERED:
                del self._answered[next(iter(self._answered))]
        else:
            # It stays: the right answer may come yet, and who forges one must not end the wait.
            self.tally.refused += 1
        return reply

    def stop(self) -> None:
        """Asks no more, and waits no longer."""
        self._stopped = True
        self._waiting.clear()

    @property
    def _wants_more(self) -> bool:
        return not self._stopped and (self.plan.count is None or self.tally.sent < self.plan.count)

    def _first(self, now: float) -> bytes:
        transaction = self.random(12)
        message = write_probe(self.plan.probe, transaction)
        wait = RFC_RTO_SECONDS if self.plan.rfc_timers else self.plan.timeout_seconds
        self.tally.sent += 1
        self._waiting[transaction] = _Request(self.tally.sent, transaction, message, now, now + wait)
        return message

    def _repeat(self, request: _Request, now: float) -> None:
        request.attempts += 1
        request.sent_at = now
        last = request.attempts == RFC_REQUESTS
        request.due_at = now + RFC_RTO_SECONDS * (RFC_LAST_FACTOR if last else 2 ** (request.attempts - 1))
        self.tally.sent_again += 1

    def _again(self, transaction: bytes, source: Address, answer: Answer, now: float) -> Reply | None:
        if transaction not in self._answered:
            return None
        number, sent_at = self._answered[transaction]
        self.tally.duplicates += 1
        return Reply(number, transaction, source, now - sent_at, answer, duplicate=True)
