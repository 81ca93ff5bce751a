"""At which of these addresses does a relay answer? A transceiver says nothing to a binding request without USERNAME."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rtcrelay._dataplane import read_stun
from rtcrelay.rtc import stun

if TYPE_CHECKING:  # an alias of the stub, not of the module
    from rtcrelay._dataplane import Address

TRIES = 5
TRY_SECONDS = 0.2
"""Chosen: a relay answers 10 plain requests a second for each network, and a packet may be lost."""


class _Asking(asyncio.DatagramProtocol):
    def __init__(self, asked: dict[bytes, Address]) -> None:
        self._asked = asked
        self.answered: set[Address] = set()
        self.news = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        message = read_stun(data)
        if message is not None and message.kind == stun.BINDING_SUCCESS:
            where = self._asked.get(message.transaction)
            if where == (addr[0], addr[1]):
                self.answered.add(where)
                self.news.set()

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: as good as no answer."""


async def answering(addresses: Sequence[Address]) -> list[Address]:
    """Those that answer within a second, in their order; of one IP version."""
    if not addresses:
        return []
    asked = {secrets.token_bytes(12): where for where in addresses}
    family = socket.AF_INET6 if ":" in addresses[0][0] else socket.AF_INET
    loop = asyncio.get_running_loop()
    anywhere = ("::" if family == socket.AF_INET6 else "0.0.0.0", 0)  # noqa: S104  # it hears only answers to what it asks
    transport, asking = await loop.create_datagram_endpoint(lambda: _Asking(asked), anywhere, family=family)
    try:
        for _ in range(TRIES):
            for transaction, where in asked.items():
                if where not in asking.answered:
                    transport.sendto(stun.write_message(stun.BINDING_REQUEST, transaction, []), where)
            try:
                async with asyncio.timeout(TRY_SECONDS):
                    while len(asking.answered) < len(asked):
                        asking.news.clear()
                        await asking.news.wait()
            except TimeoutError:
                continue
            break
    finally:
        transport.close()
    return [where for where in addresses if where in asking.answered]
