"""Who may hold a connection to us over HTTP, and for how long without asking for anything?

aiohttp waits long for the head of a request and takes connections until the process has no file left; then nobody
can call, and no log says so. Laws: the connections are bounded, and those of one source; a connection whose first
request is late is closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from rtcrelay.daemon import shown_client

log = logging.getLogger("rtcrelay.http")

Factory: TypeAlias = Callable[[], asyncio.BaseProtocol]

HEAD_SECONDS: Final = 5.0
"""From accepting a connection to the end of its first request's head, a TLS handshake included. Chosen: a client
needs three round trips; precedents: 10 s in Go's examples, 20 s in Apache."""
_ACCEPTED_PER_TURN: Final = 64
_PAUSE_SECONDS: Final = 1.0
"""How long nothing is accepted when the kernel refuses, as in asyncio."""
_LOG_PAUSE_SECONDS: Final = 60.0
_HEAD_END: Final = b"\r\n\r\n"


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one listening socket allows."""

    connections: int = 1024
    """Open at once; never more than half of the process's files."""
    share: int = 256
    """Of those, from one IPv4 address or IPv6 /64. Chosen: a proxy or a large NAT is one source, too."""
    head_seconds: float = HEAD_SECONDS
    """See `HEAD_SECONDS`."""
    on_refused: Callable[[], None] = _nothing
    """Called for each connection that is closed at once, over a limit."""
    on_late: Callable[[], None] = _nothing
    """Called for each connection that is closed without a request."""

    @property
    def most_connections(self) -> int:
        """``connections``, as far as the process's files go."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return self.connections if files == resource.RLIM_INFINITY else max(1, min(self.connections, files // 2))


class Door:
    """Accepts a listening socket's connections within the limits, from entering the context to leaving it."""

    def __init__(
        self, listener: socket.socket, factory: Factory, limits: HttpLimits, tls: ssl.SSLContext | None = None
    ) -> None:
        """``factory`` makes the protocol of an accepted connection: aiohttp's server."""
        self._listener, self._factory, self._limits, self._tls = listener, factory, limits, tls
        self._loop = asyncio.get_running_loop()
        self._most = limits.most_connections
        self._share = min(limits.share, max(1, self._most // 2))
        self._sources: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resumption: asyncio.TimerHandle | None = None
        self._refused, self._logged_at = 0, float("-inf")

    def __enter__(self) -> Door:
        self._loop.add_reader(self._listener, self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._listener)
        if self._resumption is not None:
            self._resumption.cancel()
        for task in tuple(self._tasks):
            task.cancel()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_PER_TURN):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            source = source_of(address[0])
            if self._sources.total() >= self._most:
                self._refuse(connection, f"{self._most} are open")
            elif self._sources[source] >= self._share:
                self._refuse(connection, f"{shown_client(source) or 'one source'} has {self._share} open")
            else:
                self._open(connection, source)

    def _open(self, connection: socket.socket, source: str) -> None:
        connection.setblocking(False)
        self._sources[source] += 1
        guard = _Guard(cast("asyncio.Protocol", self._factory()), lambda: self._leave(source))
        timer = self._loop.call_later(self._limits.head_seconds, self._on_late, guard)
        guard.on_head = timer.cancel
        task = self._loop.create_task(self._connect(connection, guard))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket, guard: _Guard) -> None:
        seconds = self._limits.head_seconds if self._tls is not None else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: guard, connection, ssl=self._tls, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=seconds
            )
        except OSError:  # also ssl.SSLError and TimeoutError: who connects to us and fails is no event
            pass
        finally:
            if guard.transport is None:
                connection.close()
                guard.connection_lost(None)

    def _on_late(self, guard: _Guard) -> None:
        if not guard.has_left:
            self._limits.on_late()
        if guard.transport is not None:
            guard.transport.abort()

    def _leave(self, source: str) -> None:
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]

    def _refuse(self, connection: socket.socket, why: str) -> None:
        connection.close()
        self._limits.on_refused()
        self._complain(why)

    def _pause(self, error: OSError) -> None:
        self._complain((error.strerror or str(error)).lower())
        self._loop.remove_reader(self._listener)
        self._resumption = self._loop.call_later(_PAUSE_SECONDS, self._loop.add_reader, self._listener, self._accept)

    def _complain(self, why: str) -> None:
        """At most once a minute, with the number of connections since."""
        self._refused += 1
        now = self._loop.time()
        if now - self._logged_at >= _LOG_PAUSE_SECONDS:
            port = self._listener.getsockname()[1]
            log.warning("HTTP connections to port %d are refused (%d): %s", port, self._refused, why)
            self._logged_at, self._refused = now, 0


def source_of(ip: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 address, which is one customer's."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


class _Guard(asyncio.Protocol):
    """Passes everything on to aiohttp's protocol, and sees the first head's end and the connection's."""

    def __init__(self, inner: asyncio.Protocol, on_lost: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        """None until the TLS handshake is over."""
        self.on_head: Callable[[], None] = _nothing
        """Called once, when the first head is complete or the connection is over."""
        self.has_left = False
        """Whether the connection is over."""
        self._inner, self._on_lost = inner, on_lost
        self._tail: bytes | None = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._tail is not None:
            seen = self._tail + data
            self._tail = seen[1 - len(_HEAD_END) :]
            if _HEAD_END in seen:
                self._tail = None
                self.on_head()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.has_left:
            return
        self.has_left = True
        self.on_head()
        self._on_lost()
        if self.transport is not None:
            self._inner.connection_lost(exc)
