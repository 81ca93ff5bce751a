"""How is a running transceiver steered? Reload, drain, the end: what signals and the admin interface ask for.

SIGHUP reads settings and secrets again. The first SIGTERM or SIGINT drains: new calls are refused, readiness ends at
once, sessions go on until they end or the drain time is over. The second one ends them now. Every session is told; the
third does not wait for that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rtcrelay.config import TransceiverSettings
from rtcrelay.config.settings import warn_of_what_waits
from rtcrelay.config.text import format_duration
from rtcrelay.daemon import (
    END_SIGNALS,
    HANDLED_SIGNALS,
    Watchdog,
    handle_end_signals,
    reload_on_hangup,
    sd_notify,
)
from rtcrelay.errors import ConfigError, StateError
from rtcrelay.http.access import Access, read_token
from rtcrelay.keys import KeyFile, load_key_file, refuse_demo_key, require_active_key
from rtcrelay.store.standing import Standing
from rtcrelay.transceiver.counters import End
from rtcrelay.transceiver.shared_socket import SharedSocket
from rtcrelay.transceiver.transceiver import Transceiver

if TYPE_CHECKING:
    from rtcrelay.http.tls import Tls
    from rtcrelay.store.node_entry import Order

log = logging.getLogger("rtcrelay.transceiver")

RELOADABLE: Final = frozenset(
    {
        *("key_file", "relays", "ingresses", "auth_token_file", "tls_cert", "tls_key", "cors_origins"),
        *("signaling_peers", "nodes", "max_sessions", "max_session_seconds", "max_idle_seconds", "max_bit_rate"),
        "drain_timeout_seconds",
    }
)
"""Settings that a running transceiver takes up; the others wait for the next start."""
_MARGIN_SECONDS: Final = 5.0
"""What the service manager waits beyond the drain time."""


def load_secrets(settings: TransceiverSettings) -> tuple[KeyFile, str | None]:
    """The keys and the token that the settings name. Raises ConfigError if they cannot be used."""
    keys = load_key_file(settings.key_file)
    refuse_demo_key(keys, settings.addresses)
    require_active_key(keys)
    return keys, read_token(settings.auth_token_file)


def take_up(old: TransceiverSettings, new: TransceiverSettings) -> TransceiverSettings:
    """What holds after a reload of ``new``. Raises ConfigError if that cannot be."""
    taken = dataclasses.replace(old, **{name: getattr(new, name) for name in RELOADABLE})
    if not taken.ingresses and taken.direct is None:
        raise ConfigError("there would be no address that clients can send to", hint="--ingress VIP:PORT")
    return taken


class Control:
    """One running transceiver."""

    def __init__(
        self, transceiver: Transceiver, access: Access, tls: Tls | None, reread: Callable[[], TransceiverSettings]
    ) -> None:
        """``reread`` gives the settings anew; it raises ConfigError."""
        self.transceiver = transceiver
        self.shared: SharedSocket | None = None
        """The socket whose networks a reload changes."""
        self._access, self._tls, self._reread = access, tls, reread
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        self._watchdog = Watchdog(self._loop)
        self._parent = os.getppid()
        self._is_ending = False
        self._ending_rest: asyncio.TimerHandle | None = None
        self.standing = Standing()
        """Whether new calls are wanted."""
        self.on_standing: Callable[[], None] = lambda: None
        """Called when that has changed."""
        transceiver.on_empty = self._on_empty

    async def serve(self) -> None:
        """Handles signals until the end; every session is over then, and was told."""
        for number, handler in self._end_handlers().items():
            self._loop.add_signal_handler(number, handler)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        self._watchdog.start()
        try:
            sd_notify("READY=1\nSTATUS=taking calls")
            await self._ended.wait()
            log.info("stopping, %d sessions are ended", self.transceiver.session_count)
            self.transceiver.close_all(End.SHUTDOWN)
        finally:
            self._watchdog.cancel()
            for timer in (self._deadline, self._ending_rest):
                if timer is not None:
                    timer.cancel()
            self._loop.add_signal_handler(signal.SIGHUP, lambda: None)
            # The second may come when nothing is left to drain: it does not break off the goodbye, the next does.
            handle_end_signals(self._loop, lambda: None)

    def end(self) -> None:
        """Begins to end: drains first; at the second call, at once."""
        if self._is_ending:
            self._ended.set()
            return
        self._is_ending = self.standing.is_draining_here = self.transceiver.is_draining = True
        self.on_standing()
        seconds, left = self.transceiver.settings.drain_timeout_seconds, self.transceiver.session_count
        extension = int((seconds + _MARGIN_SECONDS) * 1e6)
        sd_notify(f"STOPPING=1\nSTATUS=draining, {left} sessions\nEXTEND_TIMEOUT_USEC={extension}")
        if left == 0 or seconds == 0:
            self._ended.set()
            return
        log.info("draining: %d sessions may go on for %s; a second signal ends them", left, format_duration(seconds))
        self._deadline = self._loop.call_later(seconds, self._ended.set)

    def _end_handlers(self) -> dict[int, Callable[[], None]]:
        if self.transceiver.settings.worker is None:
            return dict.fromkeys(END_SIGNALS, self.end)
        return {signal.SIGTERM: self._end_as_worker, signal.SIGINT: self._ended.set}

    def _end_as_worker(self) -> None:
        """The parent counts the signals that it gets. Whoever sends SIGTERM to all processes of a service, as systemd
        does, sends it here a second time, which means nothing. A worker whose parent is gone waits for nobody."""
        if os.getppid() != self._parent:
            self._ended.set()
        elif not self._is_ending:
            self.end()

    def drain(self, draining: bool) -> dict[str, object]:
        """Takes no new calls, or takes them again; sessions go on. Raises StateError if this process is ending, or an
        order through Redis stands against new calls."""
        if self._is_ending and not draining:
            raise StateError("this transceiver is ending and takes no more calls")
        self.standing.is_draining_here = draining
        self._apply_standing()
        if not draining and self.standing.reason is not None:
            raise StateError(f"this transceiver is {self.standing.reason}", hint="rtcrelay nodes uncordon")
        return {"kind": "drain", "v": 1, "draining": draining, "sessions": self.transceiver.session_count}

    def obey(self, order: Order) -> None:
        """Does what an operator wants through Redis. What is left after a deadline is ended, the process is not."""
        self.standing.order = order
        log.info("%s wants this transceiver to be %s", order.by, order.state)
        if self._ending_rest is not None:
            self._ending_rest.cancel()
            self._ending_rest = None
        if order.state == "draining" and order.deadline_seconds is not None:
            self._ending_rest = self._loop.call_later(order.deadline_seconds, self._end_rest)
        self._apply_standing()

    def _end_rest(self) -> None:
        log.info("the time to drain is over: %d sessions are ended", self.transceiver.session_count)
        self.transceiver.close_all(End.OPERATOR)

    def _apply_standing(self) -> None:
        reason = self.standing.reason
        if (reason is not None) != self.transceiver.is_draining:
            self.transceiver.is_draining = reason is not None
            log.info(
                "draining: no new calls, %d sessions go on" if reason else "no longer draining, %d sessions",
                self.transceiver.session_count,
            )
            sd_notify(f"STATUS={reason or 'taking calls'}")
        self.on_standing()

    def reload(self) -> None:
        """Applies settings, keys, token and certificate as they are now to whatever comes from now on.

        Raises ConfigError; then everything stays as it was.
        """
        old, new = self.transceiver.settings, self._reread()
        taken = take_up(old, new)
        keys, token = load_secrets(taken)
        if self._tls is not None and taken.tls_cert is not None and taken.tls_key is not None:
            self._tls.reload(taken.tls_cert, taken.tls_key)
        self.transceiver.reload(taken, keys)
        self._access.reload(token, taken.cors_origins)
        if self.shared is not None:
            self.shared.trust(taken.relays)
        warn_of_what_waits(new, taken, log)
        if (self._tls is None) != (taken.tls_cert is None):
            log.warning("TLS is turned on or off only at the next start")
        log.info("reloaded: keys %s", ", ".join(f"{number} ({text})" for number, text in keys.fingerprints()))

    def keys(self) -> list[dict[str, Any]]:
        """Which keys this transceiver holds, without their secrets."""
        return self.transceiver.keys.report()

    def certificate_ends_at(self) -> float | None:
        """See `Tls.ends_at`; None without TLS."""
        return None if self._tls is None else self._tls.ends_at

    # -- Condition

    def unhealthy(self) -> str | None:
        """See `rtcrelay.metrics.pages.Condition`. A loop that does not turn does not answer at all."""
        return None

    def unready(self) -> str | None:
        """Why a load balancer should send no new calls here, or None. Sockets are bound and keys loaded by now."""
        return self.standing.reason

    # -- inside

    def _on_hangup(self) -> None:
        reload_on_hangup(self.reload, log)

    def _on_empty(self) -> None:
        if self._is_ending:
            self._ended.set()
