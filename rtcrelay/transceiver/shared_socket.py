"""How do packets get from the kernel to the sessions and back? One UDP socket for all of them.

Plain non-blocking sockets on the loop's reader instead of asyncio's datagram transport: that one queues without
bound what the kernel does not take, and asyncio's own is slower (measured: 27 against 181 thousand packets a
second). Work per turn is bounded, so that a flood does not starve timers and HTTP. `read_pacing` says when it is read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from rtcrelay._dataplane import MAX_PAYLOAD, SPP_HEADER, unpack_spp
from rtcrelay.config.text import format_address
from rtcrelay.errors import bind_error
from rtcrelay.transceiver.counters import Count, Counters, Drop
from rtcrelay.transceiver.paths import Arrival, PathKey, Reply
from rtcrelay.transceiver.read_pacing import PacedReader

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

log = logging.getLogger("rtcrelay.transceiver")

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
Receiver: TypeAlias = Callable[[Arrival, bytes, float], None]
"""Takes where a payload came from, the payload and the time."""

DATAGRAMS_PER_TURN: Final = 64
"""Read at most per turn of the loop."""
BUFFER_BYTES: Final = 4_194_304
"""Asked for in each direction: 80 ms of 500 sessions' packets when the process is stopped by something."""
_READ_BYTES: Final = 2048
"""More than an SPP header and the longest payload, so that a longer datagram shows itself."""
_LOG_PAUSE_SECONDS: Final = 60.0


class SharedSocket:
    """The socket that all sessions share; every datagram on it carries an SPP header, but for a direct one."""

    def __init__(
        self, counters: Counters, receive: Receiver, is_known: Callable[[PathKey], bool], relays: Sequence[str] | None
    ) -> None:
        """``is_known`` says of which paths something is kept, until `forget_path`.

        ``relays`` are the networks that may send SPP; None makes a direct socket: no header, ingress id 0, anybody
        may send.
        """
        self._counters, self._receive, self._is_known = counters, receive, is_known
        self.trust(relays)
        self._arrivals: dict[bytes | SocketAddress, Arrival] = {}
        """By what came in front of the payload: what need not be read again. One of each known path."""
        self._latest: dict[PathKey, bytes | SocketAddress] = {}
        self._socket: socket.socket | None = None
        self._reader: PacedReader | None = None
        self._failures = 0
        self._logged_at = -_LOG_PAUSE_SECONDS

    def trust(self, relays: Sequence[str] | None) -> None:
        """Takes other networks, as the constructor does."""
        self._networks = None if relays is None else [ipaddress.ip_network(network, strict=False) for network in relays]
        self._trusted: dict[str, bool] = {}

    def open(self, address: Address, loop: asyncio.AbstractEventLoop) -> Address:
        """Binds and starts to read; returns the bound address. Raises BackendError."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise bind_error(format_address(address), "ulpn", error) from error
        _ask_for_buffers(sock)
        self._socket = sock
        self._reader = PacedReader(loop, sock.fileno(), self._drain, time.monotonic)
        bound = sock.getsockname()
        return str(bound[0]), int(bound[1])

    def close(self) -> None:
        """Stops reading and closes the socket. Safe to call again."""
        if self._socket is not None and self._reader is not None:
            self._reader.close()
            self._socket.close()
            self._socket = None

    def send(self, reply: Reply, payload: bytes) -> None:
        """Sends a payload behind its header, or drops it and counts why. Never raises, never waits."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(reply.header + payload, reply.destination)
        except BlockingIOError:
            self._counters.drops[Drop.SEND_BLOCKED] += 1
        except OSError as error:  # an ICMP error of an earlier packet, ENOBUFS, EMSGSIZE, …
            self._counters.drops[Drop.SEND_FAILED] += 1
            self._log_failure(f"send: {error.strerror}", time.monotonic())
        else:
            self._counters.counts[Count.DATAGRAMS_OUT] += 1
            self._counters.counts[Count.BYTES_OUT] += len(payload)

    def forget_path(self, key: PathKey) -> None:
        """Keeps nothing of a path that is known no more."""
        raw = self._latest.pop(key, None)
        if raw is not None:
            del self._arrivals[raw]

    def _drain(self) -> tuple[int, bool]:
        """Reads what there is, up to `DATAGRAMS_PER_TURN`; returns how many, and whether more may wait."""
        sock = self._socket
        if sock is None:
            return 0, False
        now = time.monotonic()
        for count in range(DATAGRAMS_PER_TURN):
            try:
                datagram, source = sock.recvfrom(_READ_BYTES)
            except BlockingIOError:
                return count, False
            except OSError as error:  # the kernel reports an ICMP error of an earlier packet here
                self._log_failure(f"receive: {error.strerror}", now)
                continue
            try:
                reason = self._handle_datagram(datagram, source, now)
            except Exception:  # one datagram must not cost the others of this turn
                reason = Drop.DEFECT
                self._log_failure("handle a datagram", now, with_traceback=True)
            if reason is not None:
                self._counters.drops[reason] += 1
            if self._socket is None:
                return count, False
        return DATAGRAMS_PER_TURN, True

    def _handle_datagram(self, datagram: bytes, source: SocketAddress, now: float) -> Drop | None:
        """Judges one datagram by its source, header and length, and passes the payload on."""
        if self._networks is None:
            raw: bytes | SocketAddress = source
            payload = datagram
        else:
            if not self._is_trusted(source[0]):
                return Drop.UNTRUSTED_SOURCE
            raw = datagram[:SPP_HEADER]
            payload = datagram[SPP_HEADER:]
        self._counters.counts[Count.DATAGRAMS_IN] += 1
        self._counters.counts[Count.BYTES_IN] += len(payload)
        if len(payload) > MAX_PAYLOAD:
            return Drop.OVERSIZE
        arrival = self._arrivals.get(raw)
        if arrival is None or arrival.reply.destination != source:
            arrival = self._read_arrival(raw, source)
            if arrival is None:
                return Drop.SPP_MALFORMED
        if not payload:
            return Drop.EMPTY
        self._receive(arrival, payload, now)
        return None

    def _read_arrival(self, raw: bytes | SocketAddress, source: SocketAddress) -> Arrival | None:
        if isinstance(raw, bytes):
            header = unpack_spp(raw)
            if header is None:
                return None
            arrival = Arrival(header.path, Reply(raw, source))
        else:
            arrival = Arrival((str(source[0]), int(source[1]), 0), Reply(b"", source))
        if self._is_known(arrival.key):  # strangers do not get into the table
            self.forget_path(arrival.key)  # it has come by another relay
            self._arrivals[raw], self._latest[arrival.key] = arrival, raw
        return arrival

    def _is_trusted(self, ip: str) -> bool:
        trusted = self._trusted.get(ip)
        if trusted is None:
            address = ipaddress.ip_address(ip.partition("%")[0])
            trusted = any(address in network for network in self._networks or ())
            if len(self._trusted) >= 1024:
                self._trusted.clear()
            self._trusted[ip] = trusted
        return trusted

    def _log_failure(self, what: str, now: float, *, with_traceback: bool = False) -> None:
        """At most once a minute, with the number of failures since."""
        self._failures += 1
        if now - self._logged_at >= _LOG_PAUSE_SECONDS:
            log.warning("cannot %s (%d times)", what, self._failures, exc_info=with_traceback)
            self._logged_at, self._failures = now, 0


def _ask_for_buffers(sock: socket.socket) -> None:
    for option, sysctl in ((socket.SO_RCVBUF, "net.core.rmem_max"), (socket.SO_SNDBUF, "net.core.wmem_max")):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        granted = sock.getsockopt(socket.SOL_SOCKET, option) // 2  # Linux doubles what was asked
        if granted < BUFFER_BYTES:
            log.warning(
                "the media socket has a buffer of %d bytes instead of %d: raise %s", granted, BUFFER_BYTES, sysctl
            )
