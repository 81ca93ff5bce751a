"""A NAT between clients and a relay, that can forget its mappings, keep a copy of what passes, and drop packets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

Address = tuple[str, int]


class Nat(asyncio.DatagramProtocol):
    """Clients send to `address`; each has a socket of its own towards the relay."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.address: Address = ("", 0)
        self.upstream: dict[Address, _Mapping] = {}
        self.checks: list[bytes] = []
        """Binding requests of the clients, oldest first."""
        self.passes: Callable[[bytes], bool] = lambda _: True
        """Whether a client's packet is passed on."""
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, port: int = 0) -> None:
        """Begins to pass packets on."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self._transport = transport
        self.address = transport.get_extra_info("sockname")[:2]

    def rebind(self) -> None:
        """Forgets every mapping: clients go on with the address they know, the relay sees another one."""
        for mapping in self.upstream.values():
            mapping.close()
        self.upstream.clear()

    def close(self) -> None:
        self.rebind()
        if self._transport is not None:
            self._transport.close()

    @property
    def seen_as(self) -> Address:
        """The only client, as the relay sees it."""
        (mapping,) = self.upstream.values()
        return mapping.local

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """From a client."""
        client = (addr[0], addr[1])
        if data[:2] == b"\x00\x01":
            self.checks.append(data)
        if not self.passes(data):
            return
        if client not in self.upstream:
            self.upstream[client] = _Mapping(self, client)
        self.upstream[client].send(data)

    def to_client(self, data: bytes, client: Address) -> None:
        """From the relay."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, client)


class _Mapping:
    def __init__(self, nat: Nat, client: Address) -> None:
        self._nat, self._client = nat, client
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.local: Address = self._socket.getsockname()
        self._loop.add_reader(self._socket, self._on_readable)

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self._nat.target)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _on_readable(self) -> None:
        while True:
            try:
                data = self._socket.recv(2048)
            except (BlockingIOError, ConnectionRefusedError):
                return
            self._nat.to_client(data, self._client)
