"""What aiortc needs of `aioice.Connection`, as an ICE-lite agent on the shared port (RFC 8445 section 2.5).

The rules are those of a transceiver's session (`rtcrelay.transceiver.link`): checks are answered, a path proves
itself before much is sent to it, relays are told that the session lives. aiortc keeps DTLS and SRTP to itself, so
that only checks move the session to another path.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aioice import Candidate, ConnectionClosed

from rtcrelay.oneport.port import SharedPort
from rtcrelay.rtc.offer_answer import IceCredentials
from rtcrelay.transceiver.counters import Drop
from rtcrelay.transceiver.link import Link
from rtcrelay.transceiver.paths import Arrival, CheckKind, PathKey

if TYPE_CHECKING:
    from rtcrelay._dataplane import StunMessage

MAX_WAITING: Final = 256
"""Datagrams that aiortc has not taken yet; more are dropped (its own queue is unbounded)."""
_PRIORITY: Final = 2_130_706_431


class LiteConnection:
    """One peer connection's place on the shared port."""

    def __init__(self, port: SharedPort) -> None:
        self.ice = port.make_credentials()
        """Ours."""
        self.link: Link | None = None
        """None until the first check: before it, the client's own credentials may not be known."""
        self.is_connected = False
        """Whether DTLS is complete."""
        self.dropped = 0
        """Datagrams that aiortc did not take in time."""
        self.ice_controlling = False
        self.remote_is_lite = False
        self.remote_username: str | None = None
        self.remote_password: str | None = None
        self.remote_candidates: list[Candidate] = []
        self._port = port
        self._selected = asyncio.Event()
        self._over = asyncio.Event()
        self._is_closed = False
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
        port.router.add_ufrag(self, self.ice.ufrag)

    # -- for aiortc

    @property
    def local_username(self) -> str:
        """Our ufrag."""
        return self.ice.ufrag

    @property
    def local_password(self) -> str:
        """Our password."""
        return self.ice.password

    @property
    def local_candidates(self) -> list[Candidate]:
        """The relays, and this host if it may be reached without one."""
        return [
            Candidate(
                foundation=str(number + 1), component=1, transport="udp", priority=_PRIORITY - 256 * number,
                host=address[0], port=address[1], type="host",
            )
            for number, address in enumerate(self._port.candidates)
        ]  # fmt: skip

    async def gather_candidates(self) -> None:
        """There is nothing to gather."""

    async def add_remote_candidate(self, candidate: Candidate | None) -> None:
        """Kept for `RTCIceTransport.getRemoteCandidates`: a lite agent needs none."""
        if candidate is not None and len(self.remote_candidates) < 64:
            self.remote_candidates.append(candidate)

    async def connect(self) -> None:
        """Waits for the first valid check. Raises ConnectionError if the connection is closed before."""
        await self._selected.wait()
        if self._is_closed:
            raise ConnectionError("closed")

    async def get_event(self) -> ConnectionClosed | None:
        """Waits for the end."""
        if self._is_closed:
            return None
        await self._over.wait()
        return ConnectionClosed()

    async def recv(self) -> bytes:
        """The next datagram. Raises ConnectionError at the end."""
        datagram = None if self._is_closed and self._waiting.empty() else await self._waiting.get()
        if datagram is None:
            raise ConnectionError("closed")
        return datagram

    async def send(self, data: bytes) -> None:
        """Sends to where the client is. Raises ConnectionError if it is nowhere."""
        if self._is_closed or self.link is None:
            raise ConnectionError("not connected")
        now = self._port.now()
        path = self.link.send(data, now)
        if path is not None and not self.is_connected:
            self.link.paths.handle_handshake_sent(path)

    async def close(self) -> None:
        """Leaves the port."""
        if self._is_closed:
            return
        self._is_closed = True
        router = self._port.router
        router.remove_ufrag(self.ice.ufrag)
        if self.link is not None:
            for key in self.link.paths.all_keys():
                router.remove_path(self, key)
            self.link.stop()
        self._port.timers.forget(self)
        self._selected.set()
        self._over.set()
        if not self._waiting.full():
            self._waiting.put_nowait(None)

    def handle_connected(self) -> None:
        """DTLS is complete: its handshake has proved the path that it went over."""
        now = self._port.now()
        self.is_connected = True
        if self.link is not None and self.link.paths.selected is not None:
            self.link.paths.handle_handshake_proof(self.link.paths.selected)
            self.link.validate_selected(now)
            self._port.rearm(self)

    # -- for the router

    @property
    def hello(self) -> bytes | None:
        """See `Routed.hello`: aiortc does not say."""
        return None

    @property
    def awaits_hello(self) -> bool:
        """See `Routed.awaits_hello`: aiortc may be the server, if the client chose to be its client."""
        return not self.is_connected

    def handle_newcomer(self, key: PathKey, now: float) -> None:
        """See `Routed.handle_newcomer`."""
        if self.link is not None:
            self.link.paths.handle_newcomer(key, now)

    def handle_check(self, arrival: Arrival, datagram: bytes, message: StunMessage, ufrag: bytes, now: float) -> bool:
        """See `Session.handle_check`."""
        if self.remote_username is None or self.remote_password is None:
            return True  # it comes before the client's description, and again after it
        if self.link is None:
            remote = IceCredentials(self.remote_username, self.remote_password)
            self.link = Link(self._port, self._port.counters, self.ice, remote, now)
        kind = self.link.handle_check(arrival, datagram, message, ufrag, connected=self.is_connected, now=now)
        if kind is None:
            return False
        if self.link.paths.forgotten is not None:
            self._port.router.remove_path(self, self.link.paths.forgotten)
        if kind is CheckKind.MOVED and self.is_connected:
            self.link.validate_selected(now)
        self._selected.set()
        self._port.rearm(self)
        return True

    def handle_response(self, arrival: Arrival, datagram: bytes, message: StunMessage, now: float) -> bool:
        """See `Session.handle_response`."""
        return self.link is not None and self.link.handle_response(arrival.key, datagram, message, now)

    def handle_dtls(self, arrival: Arrival, datagram: bytes, now: float, *, share: int, alone: bool) -> Drop | None:
        """See `Session.handle_dtls`; aiortc says nothing of what it makes of it."""
        return self._take(arrival, datagram, share, now)

    def handle_media(self, arrival: Arrival, packet: bytes, now: float, *, share: int) -> Drop | None:
        """See `Session.handle_media`."""
        return self._take(arrival, packet, share, now)

    def _take(self, arrival: Arrival, datagram: bytes, share: int, now: float) -> Drop | None:
        path = self.link.paths.find(arrival.key) if self.link is not None else None
        if self.link is None or path is None:
            return Drop.UNKNOWN_PATH
        self.link.paths.handle_bytes(path, share)
        if path.validated:
            self.link.heard_at = now  # not every stack keeps checking while it sends
        if self._waiting.full():
            self.dropped += 1
            return Drop.NOT_TAKEN
        self._waiting.put_nowait(datagram)
        return None

    # -- time

    def poll_timeout(self, now: float) -> float:
        """See `Timed.poll_timeout`."""
        return self.link.poll_timeout(now) if self.link is not None else float("inf")

    def handle_timeout(self, now: float) -> None:
        """See `Timed.handle_timeout`."""
        if self.link is None:
            return
        if self.link.is_silent(now):
            self._over.set()
        else:
            self.link.handle_timeout(now)
