"""UDP paths that lose media by a fixed pattern and delay it by more or less: between a client and a server, and
between relay and transceiver."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from rtcrelay._dataplane import SPP_HEADER, SppHeader, pack_spp, unpack_spp

Address = tuple[str, int]


@dataclass(slots=True)
class Leg:
    """One direction."""

    media: int = 0
    """RTP packets that came to the path."""
    lost: int = 0
    """Those of them that it kept."""


class LossyPath(asyncio.DatagramProtocol):
    """Listens for clients; each gets a socket of its own towards the server."""

    def __init__(self, server: Address, *, lose_every: int, delay_seconds: float, jitter_seconds: float) -> None:
        self.up, self.down = Leg(), Leg()
        self.address: Address = ("", 0)
        self._server, self._lose_every = server, lose_every
        self._delay, self._jitter, self._chance = delay_seconds, jitter_seconds, random.Random(1)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._backs: dict[Address, _Back] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Address) -> None:
        back = self._backs.get(addr)
        if back is None:
            back = self._backs[addr] = _Back(self, addr)
        back.queue.put_nowait(data)

    def passes(self, leg: Leg, data: bytes) -> bool:
        """False for every so manieth RTP packet. RTCP, STUN and DTLS always pass."""
        if not is_media(data):
            return True
        leg.media += 1
        if leg.media % self._lose_every:
            return True
        leg.lost += 1
        return False

    def later(self, transport: asyncio.DatagramTransport | None, data: bytes, to: Address | None) -> None:
        """Sends after the delay."""
        if transport is not None:
            jitter = self._chance.uniform(-self._jitter, self._jitter) if is_media(data) else 0.0
            self._loop.call_later(self._delay + jitter, transport.sendto, data, to)

    def to_client(self, data: bytes, client: Address) -> None:
        """From the server."""
        if self.passes(self.down, data):
            self.later(self._transport, data, client)

    def close(self) -> None:
        """Ends all sockets."""
        for back in self._backs.values():
            back.close()
        if self._transport is not None:
            self._transport.close()

    async def open_back(self, back: _Back) -> asyncio.DatagramTransport:
        """A socket towards the server."""
        transport, _ = await self._loop.create_datagram_endpoint(lambda: back, remote_addr=self._server)
        return transport


class _Back(asyncio.DatagramProtocol):
    """One client's socket towards the server; what comes before it is bound waits."""

    def __init__(self, path: LossyPath, client: Address) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(100)
        self._path, self._client = path, client
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        transport = await self._path.open_back(self)
        try:
            while True:
                data = await self.queue.get()
                if self._path.passes(self._path.up, data):
                    self._path.later(transport, data, None)
        finally:
            transport.close()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._path.to_client(data, self._client)

    def close(self) -> None:
        self._task.cancel()


@asynccontextmanager
async def lossy_path(
    server: Address, *, lose_every: int, delay_seconds: float, jitter_seconds: float = 0.0
) -> AsyncIterator[LossyPath]:
    """A path on a free port of loopback; media packets are up to ``jitter_seconds`` early or late."""
    path = LossyPath(server, lose_every=lose_every, delay_seconds=delay_seconds, jitter_seconds=jitter_seconds)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: path, local_addr=("127.0.0.1", 0))
    try:
        yield path
    finally:
        path.close()
        await asyncio.sleep(0.05)  # until the transports have closed


class LossySpp(asyncio.DatagramProtocol):
    """Stands between a relay and a transceiver, loses media by a fixed pattern, and passes the rest at once.

    It makes itself the return address, so that what returns comes this way as well: the two sides see it as
    transceiver and as relay.
    """

    def __init__(self, *, lose_every: int) -> None:
        self.up, self.down = Leg(), Leg()
        self.address: Address = ("", 0)
        self.transceiver: Address = ("", 0)
        """Where it sends to; to be set before the first packet."""
        self.relay: Address = ("", 0)
        """The relay's internal address, likewise."""
        self._lose_every = lose_every
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Address) -> None:
        header = unpack_spp(data)
        assert self._transport is not None
        assert header is not None, "only SPP comes here"
        payload = data[SPP_HEADER:]
        leg, proxy, to = (
            (self.down, self.relay, self.relay)
            if addr == self.transceiver
            else (self.up, self.address, self.transceiver)
        )
        if is_media(payload):
            leg.media += 1
            if leg.media % self._lose_every == 0:
                leg.lost += 1
                return
        self._transport.sendto(pack_spp(SppHeader(header.client, proxy)) + payload, to)

    def close(self) -> None:
        """Ends the socket."""
        if self._transport is not None:
            self._transport.close()


def is_media(data: bytes) -> bool:
    """Whether it is RTP (RFC 7983, RFC 5761)."""
    return len(data) > 1 and 128 <= data[0] < 192 and not 192 <= data[1] <= 223


@asynccontextmanager
async def lossy_spp(*, lose_every: int) -> AsyncIterator[LossySpp]:
    """On a free port of loopback."""
    path = LossySpp(lose_every=lose_every)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: path, local_addr=("127.0.0.1", 0))
    try:
        yield path
    finally:
        path.close()
        await asyncio.sleep(0.05)  # until the transport has closed
