"""Sends packets again: each source from a socket of its own, at the recorded times or others, and hears the answers.

At top speed everything is in memory before the first packet is sent: the loop is then one `send` a packet.
"""

from __future__ import annotations

import errno
import math
import resource
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from rtcrelay.debug.probe_socket import bound_socket
from rtcrelay.debug.stun_probe import transaction_of
from rtcrelay.errors import BackendError, DataError

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address
    from rtcrelay.debug.replay_source import Replayed

PRELOADED_PACKETS: Final = 262_144
"""Kept in memory at most: about 300 MB of full-sized packets. More are read in between."""
_LISTEN_EVERY: Final = 256
"""Packets at top speed between two looks at what came back."""
_BUFFER_BYTES: Final = 4_194_304
_MAX_PENDING: Final = 1_000_000
_REQUEST: Final = b"\x00\x01"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast: exactly one of the three."""

    multiplier: float | None = None
    """Of the recorded speed."""
    packets_per_second: float | None = None
    top_speed: bool = False

    def due(self, index: int, since_first_ns: int) -> float:
        """Seconds after the start at which a packet is to be sent."""
        if self.packets_per_second is not None:
            return index / self.packets_per_second
        return 0.0 if self.multiplier is None else since_first_ns / 1e9 / self.multiplier


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop."""

    packets: int | None = None
    seconds: float | None = None
    loops: int | None = 1
    """Times the capture is sent; None: until told to end."""


@dataclass(slots=True)
class SourceTally:
    """What one source sent and heard."""

    local: Address
    packets: int = 0
    bytes: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    replies: int = 0


@dataclass(slots=True)
class ReplayTally:
    """The whole run."""

    packets: int = 0
    bytes: int = 0
    refused: int = 0
    """Packets that the kernel did not take, with the reason in `troubles`."""
    replies: int = 0
    reply_bytes: int = 0
    requests: int = 0
    """Binding requests sent."""
    answered: int = 0
    """Of these, by their transaction ids."""
    seconds: float = 0.0
    """From the first packet to the last."""
    latest_seconds: float = 0.0
    """How late the latest packet was."""
    loops: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    sources: dict[Address, SourceTally] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Packets per second."""
        return self.packets / self.seconds if self.seconds else float(self.packets)


class Sockets:
    """One connected socket for each captured source, made when it is first needed."""

    def __init__(self, target: Address, local_of: Callable[[Address], Address], tally: ReplayTally) -> None:
        """``local_of`` says where a captured source is bound here; port 0 is any."""
        self._target, self._local_of, self._tally = target, local_of, tally
        self._sockets: dict[Address, socket.socket] = {}
        self._sources: dict[int, tuple[socket.socket, SourceTally]] = {}
        self._poll = select.epoll()
        self._pending: dict[bytes, int] = {}
        _raise_file_limit()

    def sender(self, source: Address) -> Callable[[bytes], int]:
        """What sends a source's packets. Raises BackendError."""
        found = self._sockets.get(source)
        if found is None:
            found = self._open(source)
        return found.send

    def note(self, packet: Replayed) -> None:
        """Counts a packet as sent."""
        tally, mine = self._tally, self._tally.sources[packet.source]
        size = len(packet.payload)
        tally.packets += 1
        tally.bytes += size
        mine.packets += 1
        mine.bytes += size
        mine.classes[packet.name] += 1
        if packet.payload[:2] == _REQUEST and packet.name == "stun":
            tally.requests += 1
            transaction = packet.payload[8:20]
            self._pending[transaction] = self._pending.get(transaction, 0) + 1
            if len(self._pending) > _MAX_PENDING:
                del self._pending[next(iter(self._pending))]

    def listen(self, seconds: float) -> None:
        """Waits at most so long, then takes what there is, a few thousand packets at most."""
        for descriptor, _ in self._poll.poll(max(0.0, seconds)):
            bound, mine = self._sources[descriptor]
            for _ in range(_LISTEN_EVERY):
                try:
                    datagram = bound.recv(65_535, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                except OSError as error:
                    self._tally.troubles[_reason(error)] += 1
                    continue
                mine.replies += 1
                self._count(datagram)

    @property
    def awaits(self) -> bool:
        """Whether a request has no answer yet."""
        return self._tally.answered < self._tally.requests

    def close(self) -> None:
        """Gives all sockets back."""
        self._poll.close()
        for bound in self._sockets.values():
            bound.close()

    def _count(self, datagram: bytes) -> None:
        self._tally.replies += 1
        self._tally.reply_bytes += len(datagram)
        transaction = transaction_of(datagram)
        if transaction is not None and self._pending.get(transaction, 0):
            self._pending[transaction] -= 1
            self._tally.answered += 1

    def _open(self, source: Address) -> socket.socket:
        try:
            bound = bound_socket(self._local_of(source))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            bound.connect(self._target)
            self._poll.register(bound, select.EPOLLIN | select.EPOLLERR)
        except OSError as error:
            hint = "ulimit -n raises the number of sockets" if error.errno == errno.EMFILE else None
            raise BackendError(f"no socket for source {len(self._sockets) + 1}: {_reason(error)}", hint=hint) from error
        self._sockets[source] = bound
        mine = self._tally.sources[source] = SourceTally(bound.getsockname()[:2])
        self._sources[bound.fileno()] = bound, mine
        return bound


class Replay:
    """One run. ``read`` gives the packets anew for each loop."""

    def __init__(self, read: Callable[[], Iterable[Replayed]], sockets: Sockets, tally: ReplayTally) -> None:
        self._read, self._sockets, self._tally = read, sockets, tally
        self._began = self._last = 0.0
        self._kept: list[Replayed] | None = None

    def run(self, pace: Pace, limits: Limits) -> None:
        """Sends until a limit is reached or the packets end. Ctrl-C passes through, with the tally right."""
        self._began = self._last = time.monotonic()
        try:
            while limits.loops is None or self._tally.loops < limits.loops:
                sent = self._once(pace, limits)
                self._tally.loops += 1
                if not sent or self._is_over(limits):
                    return
        finally:
            self._tally.seconds = self._last - self._began

    def wait(self, seconds: float) -> None:
        """Hears late answers, until there is one for every request."""
        until = time.monotonic() + seconds
        while self._sockets.awaits and (left := until - time.monotonic()) > 0:
            self._sockets.listen(left)

    def _once(self, pace: Pace, limits: Limits) -> int:
        """One reading of the capture; returns how many packets were sent."""
        before = self._tally.packets + self._tally.refused
        if pace.top_speed:
            for some in self._chunks(limits):
                self._blast(some, limits)
        else:
            self._timed(pace, limits)
        return self._tally.packets + self._tally.refused - before

    def _chunks(self, limits: Limits) -> Iterator[Sequence[Replayed]]:
        if self._kept is not None:
            yield self._kept
            return
        packets = iter(self._read())
        first = self._tally.loops == 0
        while not self._is_over(limits) and (some := list(islice(packets, PRELOADED_PACKETS))):
            if first and len(some) < PRELOADED_PACKETS:
                self._kept = some
            first = False
            if not self._tally.packets:
                self._began = time.monotonic()
            yield some

    def _blast(self, packets: Sequence[Replayed], limits: Limits) -> None:
        """As fast as it goes; what came back is looked at now and then."""
        if limits.packets is not None:
            packets = packets[: limits.packets - self._tally.packets]
        sends = [(self._sockets.sender(packet.source), packet.payload) for packet in packets]
        if not self._tally.packets:
            self._began = time.monotonic()
        for start in range(0, len(sends), _LISTEN_EVERY):
            some = sends[start : start + _LISTEN_EVERY]
            refused = self._send_all(some)
            self._last = time.monotonic()
            for number, packet in enumerate(packets[start : start + _LISTEN_EVERY]):
                if number not in refused:
                    self._sockets.note(packet)
            self._sockets.listen(0.0)
            if limits.seconds is not None and self._last - self._began >= limits.seconds:
                return

    def _send_all(self, sends: Sequence[tuple[Callable[[bytes], int], bytes]]) -> set[int]:
        """Sends all; returns which ones the kernel did not take."""
        refused: set[int] = set()
        number = 0
        while number < len(sends):
            try:
                for send, payload in sends[number:] if number else sends:
                    send(payload)
                    number += 1
            except OSError as error:
                self._refuse(error)
                refused.add(number)
                number += 1
        return refused

    def _timed(self, pace: Pace, limits: Limits) -> None:
        """At its times. A packet that is late is sent at once, and how late is remembered."""
        start: float | None = None
        first_ns = 0
        for index, packet in enumerate(self._read()):
            send = self._sockets.sender(packet.source)
            now = time.monotonic()
            if start is None:
                start, first_ns = now, packet.time_ns
                if not self._tally.packets:
                    self._began = now
            due = start + max(0.0, pace.due(index, packet.time_ns - first_ns))
            end = self._began + (math.inf if limits.seconds is None else limits.seconds)
            while (now := time.monotonic()) < due:
                if now >= end:
                    return
                self._sockets.listen(min(due, end) - now)
            try:
                send(packet.payload)
                self._sockets.note(packet)
            except OSError as error:
                self._refuse(error)
            self._last = time.monotonic()
            self._tally.latest_seconds = max(self._tally.latest_seconds, self._last - due)
            if index % 16 == 0:
                self._sockets.listen(0.0)
            if self._is_over(limits):
                return

    def _refuse(self, error: OSError) -> None:
        self._tally.refused += 1
        self._tally.troubles[_reason(error)] += 1

    def _is_over(self, limits: Limits) -> bool:
        done = limits.packets is not None and self._tally.packets >= limits.packets
        return done or (limits.seconds is not None and time.monotonic() - self._began >= limits.seconds)


def again(read: Callable[[], Iterable[Replayed]]) -> Callable[[], Iterable[Replayed]]:
    """Has a stream that can be read only once, such as stdin, read any number of times. Raises DataError if it is too
    long for that."""
    kept = list(islice(read(), PRELOADED_PACKETS + 1))
    if len(kept) > PRELOADED_PACKETS:
        raise DataError(f"stdin has over {PRELOADED_PACKETS} packets, too many to be sent more than once")
    return lambda: kept


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
