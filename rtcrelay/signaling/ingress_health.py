"""Does an ingress answer? Asked as its clients would ask: with a STUN binding request, which the relay answers itself.

One request per ingress every `PERIOD_SECONDS`; three in a row without an answer make it unhealthy, one answer makes
it healthy again. Where no ingress answers, the way there is more likely broken than all of them: see
`rtcrelay.signaling.steer.Decision.told`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Iterable
from typing import Final

from rtcrelay._dataplane import read_stun
from rtcrelay.config.sites import Ingress
from rtcrelay.config.text import Address, format_address
from rtcrelay.rtc.stun import BINDING_REQUEST, BINDING_SUCCESS, write_message

log = logging.getLogger("rtcrelay.signaling")

PERIOD_SECONDS: Final = 2.0
"""Chosen: six seconds until an ingress that died is told to nobody; far below the ten requests a second that a relay
answers each network, also with several fronts behind one address."""
MISSED: Final = 3


class IngressHealth:
    """Which ingresses answer, by what was sent and what came back; without sockets."""

    def __init__(self) -> None:
        self._missed: dict[str, int] = {}
        self._asked: dict[bytes, tuple[str, Address]] = {}

    def poll(self, ingresses: Iterable[Ingress]) -> list[tuple[Address, bytes]]:
        """What to send now, and where; what was asked before and not answered counts as missed."""
        for name, _ in self._asked.values():
            self._missed[name] = self._missed.get(name, 0) + 1
        self._asked.clear()
        names, requests = set(), []
        for ingress in ingresses:
            transaction = secrets.token_bytes(12)
            self._asked[transaction] = ingress.name, ingress.address
            names.add(ingress.name)
            requests.append((ingress.address, write_message(BINDING_REQUEST, transaction, (), fingerprint=False)))
        self._missed = {name: missed for name, missed in self._missed.items() if name in names}
        return requests

    def handle(self, datagram: bytes, source: Address) -> None:
        """Takes what came; only the answer to a question, from where it was asked, counts."""
        message = read_stun(datagram)
        if message is None or message.kind != BINDING_SUCCESS:
            return
        asked = self._asked.get(message.transaction)
        if asked is None or asked[1] != source:
            return
        del self._asked[message.transaction]
        self._missed.pop(asked[0], None)

    @property
    def unhealthy(self) -> frozenset[str]:
        """Names of those that did not answer `MISSED` times in a row."""
        return frozenset(name for name, missed in self._missed.items() if missed >= MISSED)


class IngressProber:
    """Asks all ingresses, again and again. A context manager, on a running loop."""

    def __init__(self, ingresses: Callable[[], Iterable[Ingress]], on_change: Callable[[frozenset[str]], None]) -> None:
        """``ingresses`` is asked each time; ``on_change`` gets the names of those that do not answer."""
        self._ingresses, self._on_change = ingresses, on_change
        self._health = IngressHealth()
        self._known: frozenset[str] = frozenset()
        self._sockets: dict[int, socket.socket] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> IngressProber:
        self._ask()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for sock in self._sockets.values():
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _ask(self) -> None:
        requests = self._health.poll(self._ingresses())
        self._tell()
        for address, request in requests:
            try:
                self._socket_for(address).sendto(request, address)
            except OSError as error:  # no route, no such family: it counts as not answered
                log.debug("cannot ask %s: %s", format_address(address), error.strerror)
        self._timer = self._loop.call_later(PERIOD_SECONDS, self._ask)

    def _socket_for(self, address: Address) -> socket.socket:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = self._sockets.get(family)
        if sock is None:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            self._sockets[family] = sock
            self._loop.add_reader(sock, self._read, sock)
        return sock

    def _read(self, sock: socket.socket) -> None:
        for _ in range(64):
            try:
                datagram, source = sock.recvfrom(2048)
            except OSError:  # nothing more, or an ICMP error of one of them
                return
            self._health.handle(datagram, (source[0], source[1]))

    def _tell(self) -> None:
        unhealthy = self._health.unhealthy
        for name in unhealthy - self._known:
            log.warning("ingress %s does not answer and is told to nobody", name)
        for name in self._known - unhealthy:
            log.info("ingress %s answers or is no longer known", name)
        if unhealthy != self._known:
            self._known = unhealthy
            self._on_change(unhealthy)
