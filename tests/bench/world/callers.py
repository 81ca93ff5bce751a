"""One call by one way, with the times of its parts: our own client, over UDP or over coturn by aioice's TURN client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aioice import stun, turn

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import CallConfig
from rtcrelay.errors import RtcrelayError
from rtcrelay.rtc.dtls import DtlsIdentity

Address = tuple[str, int]
SECONDS = 20.0
_IDENTITY = DtlsIdentity()


@dataclass(frozen=True)
class Way:
    """How a client's media goes."""

    name: str
    what: str
    url: str
    token: str = field(repr=False)
    addresses: tuple[Address, ...] = ()
    """Of the answer, those that are used; empty: all."""
    turn: Address | None = None
    credentials: tuple[str, str] = field(default=("", ""), repr=False)


class TimedCaller(Caller):
    """Also says when the connection to the server stood, and uses only some of the addresses of the answer."""

    def __init__(self, way: Way) -> None:
        super().__init__(way.url, CallConfig(identity=_IDENTITY), token=way.token)
        self.connected_ms = 0.0
        self.began = time.monotonic()
        self.open_http = self._timed_http
        if way.addresses:
            self.choose = self._chosen(way.addresses)

    def _timed_http(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()

        async def connected(*_: object) -> None:
            self.connected_ms = self.connected_ms or 1000 * (time.monotonic() - self.began)

        trace.on_connection_create_end.append(connected)
        return aiohttp.ClientSession(trace_configs=[trace])

    @staticmethod
    def _chosen(addresses: tuple[Address, ...]) -> Any:
        async def choose(told: list[Address]) -> list[Address]:
            assert set(addresses) <= set(told), f"the answer names {told}"
            return [address for address in told if address in addresses]

        return choose


class _CountingTurn(turn.TurnClientUdpProtocol):
    """aioice's client, with a list of its round trips."""

    def __init__(self, server: Address, username: str, password: str) -> None:
        super().__init__(server, username, password, 600, 500)
        self.trips: list[tuple[str, float]] = []
        """(method, milliseconds) of each request, in order."""

    async def request(self, request: stun.Message) -> tuple[stun.Message, tuple[str, int]]:
        began = time.monotonic()
        try:
            return await super().request(request)
        finally:
            self.trips.append((request.message_method.name, 1000 * (time.monotonic() - began)))


class _TurnLine:
    """A TURN allocation, as a `Caller` wants its transport."""

    def __init__(self, inner: turn.TurnTransport) -> None:
        self._inner, self._closed = inner, False

    def sendto(self, data: bytes, address: Address) -> None:
        self._inner.sendto(data, address)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._inner.close()


class TurnCaller(TimedCaller):
    """Its media goes through an allocation, which is made before the offer: a WHIP client gathers first."""

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        assert way.turn is not None
        self._server, self._credentials = way.turn, way.credentials
        self.turn: _CountingTurn | None = None

    async def allocate(self) -> None:
        """Two round trips: the first one is refused and tells the nonce."""
        loop = asyncio.get_running_loop()
        _, inner = await loop.create_datagram_endpoint(
            lambda: _CountingTurn(self._server, *self._credentials), remote_addr=self._server
        )
        self.turn = inner
        transport = turn.TurnTransport(inner)
        self._line = _TurnLine(transport)
        await transport._connect(self)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(self._line)

    async def _bind(self) -> None:
        """It is there."""


@dataclass
class Times:
    """Of a call, in milliseconds since its beginning, or counts."""

    allocated_ms: float
    """TURN's allocation; 0 without."""
    connected_ms: float
    answered_ms: float
    check_sent_ms: float
    check_answered_ms: float
    keys_ms: float
    heard_ms: float
    """The first audio of the server is decrypted at the client."""
    spoken_ms: float
    """The first audio of the client is decrypted at the server."""
    turn_trips: list[tuple[str, float]]
    round_trip_p50_ms: float
    round_trip_p99_ms: float
    sent: int
    received: int
    lost_to_server: int
    lost_to_client: int
    jitter_to_server_ms: float
    jitter_to_client_ms: float


@asynccontextmanager
async def calling(way: Way) -> AsyncIterator[tuple[TimedCaller, float]]:
    """A call that talks, and the milliseconds of its allocation; hung up with the block."""
    caller = TurnCaller(way) if way.turn else TimedCaller(way)
    allocated = 0.0
    try:
        if isinstance(caller, TurnCaller):
            await caller.allocate()
            allocated = 1000 * (time.monotonic() - caller.began)
            caller.began = time.monotonic()
        await caller.dial()
        await caller.until_talking(SECONDS)
        yield caller, allocated
    finally:
        with suppress(RtcrelayError, TimeoutError):
            await caller.hang_up()


async def measure(way: Way, row_of: Callable[[str], Any], seconds: float) -> Times:
    """A whole call. ``row_of``: the transceiver's row of the session with a ufrag, and when it was made (monotonic)."""
    async with calling(way) as (caller, allocated):
        await asyncio.sleep(seconds)
        call, loop = caller.call, asyncio.get_running_loop()
        began = call.began
        caller.call.mute(True, loop.time())
        await asyncio.sleep(1.0)  # what is under way arrives
        row, created = await row_of(call.remote_ufrag)
        counts, trip, times = call.counts(loop.time()), call.round_trip(), call.timings
        source = call.reports.current
        assert times.answered_ms is not None
        assert times.first_check_sent_ms is not None
        assert times.first_check_answered_ms is not None
        assert times.keys_ms is not None
        assert times.first_audio_received_ms is not None
        assert source is not None
        turn_trips = caller.turn.trips if isinstance(caller, TurnCaller) and caller.turn else []
        return Times(
            allocated_ms=allocated,
            connected_ms=allocated + caller.connected_ms,
            answered_ms=allocated + times.answered_ms,
            check_sent_ms=allocated + times.first_check_sent_ms,
            check_answered_ms=allocated + times.first_check_answered_ms,
            keys_ms=allocated + times.keys_ms,
            heard_ms=allocated + times.first_audio_received_ms,
            spoken_ms=allocated + 1000 * (created - began) + row["first_rtp_in_ms"],
            turn_trips=list(turn_trips),
            round_trip_p50_ms=trip.p50_ms,
            round_trip_p99_ms=trip.p99_ms,
            sent=counts.audio_sent,
            received=counts.audio_received,
            lost_to_server=counts.audio_sent - row["rtp_packets_in"],
            lost_to_client=counts.audio_lost,
            jitter_to_server_ms=row["jitter_in_ms"],
            jitter_to_client_ms=1000 * source.jitter / 48_000,
        )
