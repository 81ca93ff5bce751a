"""Drives a `Call` over HTTP and one UDP socket: receive, process, transmit, re-arm one timer."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp

from rtcrelay.client.channel import EchoChannel
from rtcrelay.client.core import Call, CallConfig, CallState, usable
from rtcrelay.client.whip import Answer, Api, delete_session, post_offer, restart_ice
from rtcrelay.errors import PeerError, RtcrelayError
from rtcrelay.rtc.offer_answer import IceCredentials, read_answer

if TYPE_CHECKING:  # an alias of the stub, not of the module
    from rtcrelay._dataplane import Address

SOCKET_BUFFER_BYTES = 1_048_576
"""Asked for; a busy machine may keep the loop away for a while, and that is no loss of the network's."""


@asynccontextmanager
async def calling(
    url: str, config: CallConfig | None = None, *, token: str | None = None, channel: str | None = None
) -> AsyncIterator[Caller]:
    """A call to a WHIP address for the length of the block; hung up at its end, whatever happened."""
    caller = Caller(url, config, token=token, channel=channel)
    try:
        await caller.dial()
        yield caller
    finally:
        with suppress(RtcrelayError):  # the server may be gone: that is no reason to fail now
            await caller.hang_up()


class Caller(asyncio.DatagramProtocol):
    """One call on the running loop. Every wait in here has a limit."""

    def __init__(
        self, url: str, config: CallConfig | None = None, *, token: str | None = None, channel: str | None = None
    ) -> None:
        """Takes a WHIP address, a Bearer token, and the label of a data channel to open."""
        self._loop = asyncio.get_running_loop()
        self.url = url
        """The WHIP address."""
        self._token, self._label = token, channel
        self._config = replace(config or CallConfig(), data=channel is not None)
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        """Nothing is sent or taken between DELETE and goodbye."""
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.api: Api = "whip"
        """How the server ends a session."""
        self.open_http: Callable[[], aiohttp.ClientSession] = aiohttp.ClientSession
        """Makes the HTTP client of each request."""
        self.choose: Callable[[list[Address]], Awaitable[list[Address]]] | None = None
        """Picks among the addresses of the answer before any is checked; None takes all."""
        self.answer: Answer | None = None
        """What signaling said; None before."""
        self.local: Address | None = None
        """The media socket's address; None before it is bound."""
        self.call: Call
        """The call; there from `dial` on."""
        self.channel: EchoChannel | None = None
        """The data channel, if one was wanted."""

    async def dial(self) -> None:
        """Signals and begins with the checks; does not wait for them. RtcrelayError if signaling fails."""
        now = self._loop.time()
        self.call = Call(self._config, now=now, unix_offset=time.time() - now)
        if self._label is not None:
            self.channel = EchoChannel(self.call, self._label, self._loop.time, self._flush)
        async with self.open_http() as http:
            self.answer = await post_offer(http, self.url, self.call.offer, token=self._token)
        only = None
        if self.choose is not None:
            only = await self.choose(usable(read_answer(self.answer.sdp).candidates))
        self.call.handle_answer(self.answer.sdp, self._loop.time(), only=only)
        await self._bind()
        self._step()

    async def move(self) -> None:
        """Goes on from another local port: what a client sees of a NAT that forgot it, or of another network."""
        assert self._transport is not None, "moved before dial"
        self._transport.close()
        await self._bind()
        self.call.handle_moved(self._loop.time())
        self._step()

    async def restart_ice(self) -> None:
        """Agrees on new ICE credentials, as browsers do when their network changes; media goes on meanwhile."""
        if self.answer is None or self.answer.session_url is None:
            raise PeerError("the server named no session to restart ICE for")
        ice = IceCredentials(secrets.token_hex(4), secrets.token_hex(16))
        async with aiohttp.ClientSession() as http:
            remote = await restart_ice(http, self.answer.session_url, ice, token=self._token)
        self.call.handle_restart(ice, remote, self._loop.time())
        self._step()

    def vanish(self) -> None:
        """Is gone without a word, as a phone whose battery is empty. Safe to call at any time."""
        if self._transport is not None:
            self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held = True

    async def hang_up(self) -> int | None:
        """Ends the session by DELETE, then says goodbye on the media path; returns the HTTP status, if any.

        In this order, because a session that was ended by the goodbye is not there to be deleted.
        """
        self._held = True
        self.call.mute(True, self._loop.time())
        try:
            if self.answer is None or self.answer.session_url is None:
                return None
            url, self.answer = self.answer.session_url, None
            async with self.open_http() as http:
                return await delete_session(http, url, token=self._token, api=self.api)
        finally:
            self._close()

    async def until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Waits until something about the call is true; PeerError if the call ends or the time is over before."""
        if not condition():
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append((condition, future))
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await future
        if not condition():
            why = self.call.end if self.call.state is CallState.ENDED else f"not within {seconds:g} seconds"
            raise PeerError(f"{what}: {why}")

    async def until_talking(self, seconds: float = 10.0) -> None:
        """Waits until speech comes back."""
        await self.until(lambda: self.call.timings.first_echo_ms is not None, "no speech came back", seconds)

    def wake(self) -> None:
        """Looks at the call again after its owner changed something."""
        self._step()

    # -- asyncio's side

    def connection_made(self, transport: Any) -> None:
        """The socket is there."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """A datagram arrived."""
        if self._held:
            return
        self.call.handle_datagram(data, (addr[0], addr[1]), self._loop.time())
        self._step()

    def error_received(self, exc: Exception) -> None:
        """The kernel could not send: the packet is lost, like any other."""

    def _on_timer(self) -> None:
        self._timer = None
        self.call.handle_timer(self._loop.time())
        self._step()

    def _step(self) -> None:
        if self.channel is not None and self.call.state is not CallState.ENDED:
            self.channel.handle_timer(self._loop.time())
        self._flush()
        timeouts = (self.call.poll_timeout(), self.channel.poll_timeout() if self.channel is not None else None)
        due = min((at for at in timeouts if at is not None), default=None)
        if self.call.state is CallState.ENDED:
            due = None
        if self._timer is not None and (due is None or self._timer.when() != due):
            self._timer.cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._timer = self._loop.call_at(due, self._on_timer)
        self._wake()

    async def _bind(self) -> None:
        bound = _bound_towards(self.call.candidates[0])
        self.local = bound.getsockname()[:2]
        await self._loop.create_datagram_endpoint(lambda: self, sock=bound)

    def _close(self) -> None:
        self._held = False
        if self.channel is not None:
            self.channel.close()
        self.call.close(self._loop.time())
        self._step()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        while not self._held and (sent := self.call.poll_transmit()) is not None:
            if self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(*sent)

    def _wake(self) -> None:
        for entry in list(self._waiting):
            condition, future = entry
            if future.done() or condition() or self.call.state is CallState.ENDED:
                self._waiting.remove(entry)
                if not future.done():
                    future.set_result(None)


def _bound_towards(remote: Address) -> socket.socket:
    """A UDP socket on the local address that the kernel uses towards the server."""
    family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(remote)  # sends nothing
        local_ip = probe.getsockname()[0]
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
    bound.bind((local_ip, 0))
    return bound
