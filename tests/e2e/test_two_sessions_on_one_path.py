"""One client address, two sessions on one transceiver: a reused port, or a shared one. Neither loses its packets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from rtcrelay.client.core import Call, CallState
from rtcrelay.client.demo.site import Site
from rtcrelay.client.whip import post_offer

from .waiting import until


class SharedSocket(asyncio.DatagramProtocol):
    """Several calls on one UDP socket: each is given every datagram and takes what is its own."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.calls: list[Call] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._timer = self.loop.call_later(0, self._tick)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        for call in self.calls:
            call.handle_datagram(data, (addr[0], addr[1]), self.loop.time())
        self._flush()

    def close(self) -> None:
        self._timer.cancel()
        assert self._transport is not None
        self._transport.close()

    async def call(self, url: str) -> Call:
        """One more call from this socket."""
        call = Call(now=self.loop.time())
        async with aiohttp.ClientSession() as http:
            answer = await post_offer(http, url, call.offer)
        call.handle_answer(answer.sdp, self.loop.time())
        self.calls.append(call)
        self._flush()
        return call

    def _tick(self) -> None:
        for call in self.calls:
            call.handle_timer(self.loop.time())
        self._flush()
        self._timer = self.loop.call_later(0.005, self._tick)

    def _flush(self) -> None:
        for call in self.calls:
            while (sent := call.poll_transmit()) is not None:
                if self._transport is not None:
                    self._transport.sendto(*sent)


@asynccontextmanager
async def shared_socket() -> AsyncIterator[SharedSocket]:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setblocking(False)
    bound.bind(("127.0.0.1", 0))
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(SharedSocket, sock=bound)
    try:
        yield protocol
    finally:
        protocol.close()


def echoed(call: Call) -> Callable[[], Any]:
    async def read() -> int:
        return call.counts(asyncio.get_running_loop().time()).audio_echoed

    return read


def all_echoed(*calls: Call) -> Callable[[], Any]:
    async def read() -> bool:
        counts = [call.counts(asyncio.get_running_loop().time()) for call in calls]
        return all(each.audio_echoed == each.audio_sent for each in counts)

    return read


async def test_two_live_sessions_of_one_address_both_keep_every_packet(site: Site) -> None:
    node = site.transceivers[0]
    async with shared_socket() as shared:
        first = await shared.call(node.url)
        await until(echoed(first), lambda seen: seen >= 25, "echoes of the first call")
        second = await shared.call(node.url)
        await until(echoed(second), lambda seen: seen >= 100, "echoes of the second call")
        for call in (first, second):
            call.mute(True, shared.loop.time())
        await until(all_echoed(first, second), lambda seen: seen, "every packet is back")
        for call in (first, second):
            counts = call.counts(shared.loop.time())
            assert call.state is CallState.TALKING
            assert counts.audio_echoed == counts.audio_sent
            assert counts.audio_lost == 0
        sessions = {session["ufrag"]: session for session in await node.admin.sessions()}
        for call in (first, second):
            sent = call.counts(shared.loop.time()).audio_sent
            assert sessions[call.remote_ufrag]["rtp_packets_in"] == sent
            assert sessions[call.remote_ufrag]["rtp_packets_out"] == sent


async def test_two_sessions_of_one_address_on_two_transceivers_both_keep_every_packet(site: Site) -> None:
    a, b = site.transceivers
    async with shared_socket() as shared:
        first = await shared.call(a.url)
        await until(echoed(first), lambda seen: seen >= 25, "echoes of the first call")
        second = await shared.call(b.url)
        await until(echoed(second), lambda seen: seen >= 100, "echoes of the second call")
        for call in (first, second):
            call.mute(True, shared.loop.time())
        await until(all_echoed(first, second), lambda seen: seen, "every packet is back")
        for call in (first, second):
            counts = call.counts(shared.loop.time())
            assert counts.audio_echoed == counts.audio_sent
            assert counts.audio_lost == 0


async def test_a_port_that_is_reused_works_at_once_while_the_old_session_still_lives(site: Site) -> None:
    node = site.transceivers[0]
    async with shared_socket() as shared:
        gone = await shared.call(node.url)
        await until(echoed(gone), lambda seen: seen >= 25, "echoes of the first call")
        shared.calls.remove(gone)  # vanished without a word, as a killed browser does
        fresh = await shared.call(node.url)
        await until(echoed(fresh), lambda seen: seen >= 50, "echoes of the second call", 20.0)
        counts = fresh.counts(shared.loop.time())
        assert counts.audio_unreturned == 0
        assert len(await node.admin.sessions()) == 2
