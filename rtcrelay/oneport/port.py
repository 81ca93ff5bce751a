"""Which socket do all peer connections of a process share? The one of a transceiver, with its ufrags and rules."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rtcrelay import config
from rtcrelay._dataplane import Route
from rtcrelay.config import TransceiverSettings
from rtcrelay.keys import load_key_file, require_active_key
from rtcrelay.rtc.offer_answer import IceCredentials
from rtcrelay.transceiver.counters import Counters
from rtcrelay.transceiver.minting import Mint, make_password
from rtcrelay.transceiver.paths import Reply
from rtcrelay.transceiver.probes import ProbeResponder
from rtcrelay.transceiver.router import Router
from rtcrelay.transceiver.shared_socket import SharedSocket
from rtcrelay.transceiver.timer_driver import TimerDriver
from rtcrelay.transceiver.timers import Timed, Timers

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SharedPort] = weakref.WeakKeyDictionary()


class SharedPort:
    """One loop's socket and what comes on it."""

    def __init__(self, settings: TransceiverSettings) -> None:
        """Binds ``settings.media`` and ``settings.direct``. Needs a running loop.

        Raises ConfigError if a key or an address is missing, BackendError if an address cannot be had.
        """
        keys = load_key_file(settings.key_file)
        require_active_key(keys)
        self.counters = Counters()
        """What was dropped and why."""
        self.timers = Timers()
        self.on_rearm: Callable[[], None] = lambda: None
        self.now = time.monotonic
        self._stack = ExitStack()
        loop = asyncio.get_running_loop()
        with ExitStack() as opening:
            self._shared = self._socket_of(settings.relays, opening)
            media = self._shared.open(settings.media, loop)
            self._direct: SharedSocket | None = None
            direct: Address | None = None
            if settings.direct is not None:
                plain = self._socket_of(None, opening)
                direct, self._direct = plain.open(settings.direct, loop), plain
            opening.enter_context(TimerDriver(self, loop))
            self._stack = opening.pop_all()
        self.candidates: list[Address] = list(dict.fromkeys([*settings.ingresses, *([direct] if direct else [])]))
        """What clients are told to send to, best first."""
        node = settings.node_id
        if node is None:
            route = Route("endpoint", settings.cluster, ip=media[0], port=media[1])
        else:
            route = Route("node", settings.cluster, node=node)
        self._mint = Mint(keys, route, ("127.0.0.1", settings.http[1]))
        self.router = Router(self.counters, ProbeResponder(self, self.counters, keys, route))
        self.router.on_path_gone += [each.forget_path for each in (self._shared, self._direct) if each is not None]

    @classmethod
    def current(cls) -> SharedPort:
        """The port of the running loop, opened with what the environment and the configuration file say."""
        loop = asyncio.get_running_loop()
        port = _of_loop.get(loop)
        if port is None:
            port = _of_loop[loop] = cls(config.transceiver_settings({}))
        return port

    def use(self) -> None:
        """Makes this one the port of the running loop."""
        _of_loop[asyncio.get_running_loop()] = self

    def close(self) -> None:
        """Closes the sockets; connections still there hear nothing any more."""
        self._stack.close()
        for loop in [loop for loop, port in _of_loop.items() if port is self]:
            del _of_loop[loop]

    def make_credentials(self) -> IceCredentials:
        """A ufrag that leads here, and a password."""
        return IceCredentials(self._mint.ufrag(self.router.knows_ufrag), make_password())

    def send(self, reply: Reply, payload: bytes) -> None:
        """See `Sender.send`."""
        sender = self._shared if reply.header else self._direct
        if sender is not None:
            sender.send(reply, payload)

    def rearm(self, timed: Timed) -> None:
        """Looks at its `poll_timeout` again."""
        self.timers.arm(timed, self.now())
        self.on_rearm()

    def _socket_of(self, relays: tuple[str, ...] | None, stack: ExitStack) -> SharedSocket:
        shared = SharedSocket(
            self.counters,
            lambda arrival, payload, now: self.router.handle_payload(arrival, payload, now),
            lambda key: self.router.knows_path(key),
            relays,
        )
        stack.callback(shared.close)
        return shared
