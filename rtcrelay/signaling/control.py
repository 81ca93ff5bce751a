"""How is a running front steered? Reload, drain, the end: what signals and the admin interface ask for.

SIGHUP reads settings, sites and secrets again. The first SIGTERM or SIGINT ends; requests under way get a second.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import rtcrelay
from rtcrelay.config import SignalingSettings
from rtcrelay.config.settings import warn_of_what_waits
from rtcrelay.config.sites import Sites, load_sites
from rtcrelay.daemon import HANDLED_SIGNALS, Watchdog, handle_end_signals, reload_on_hangup, sd_notify
from rtcrelay.http.access import Access, read_token
from rtcrelay.http.courier import TlsPeer
from rtcrelay.http.owners import OwnerRules, Owners
from rtcrelay.http.tls import Tls, trust
from rtcrelay.keys import KeyFile, load_key_file, refuse_demo_key
from rtcrelay.signaling.counters import Count, Counters
from rtcrelay.signaling.directory import Directory
from rtcrelay.signaling.geo import open_database
from rtcrelay.signaling.heartbeats import Heartbeats
from rtcrelay.signaling.locate import Locator, Lookup
from rtcrelay.store.reader import NodesReader
from rtcrelay.store.sources import Source, read_sources

if TYPE_CHECKING:
    from rtcrelay.signaling.steer import World

log = logging.getLogger("rtcrelay.signaling")

RELOADABLE: Final = frozenset(
    {
        *("sites", "key_file", "told_ingresses", "auth_token_file", "tls_cert", "tls_key", "transceiver_cert"),
        *("signaling_peers", "nodes", "trust_proxy", "geo_database", "insecure_place_from_query", "cors_origins"),
    }
)
"""Settings that a running front takes up; the others wait for the next start."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the settings' files hold."""

    sites: Sites
    keys: KeyFile
    token: str | None
    peer: TlsPeer | None
    lookup: Lookup | None
    sources: tuple[Source, ...] = ()
    """Where heartbeats are."""


def load(settings: SignalingSettings) -> Loaded:
    """Reads every file that the settings name. Raises ConfigError if one cannot be used."""
    sites = load_sites(settings.sites)
    keys = load_key_file(settings.key_file)
    refuse_demo_key(keys, settings.addresses)
    token = read_token(settings.auth_token_file)
    peer = None if settings.transceiver_cert is None else trust(settings.transceiver_cert)
    lookup = open_database(settings.geo_database) if settings.geo_database else None
    sources = read_sources(sites.clusters, settings.redis, settings.redis_password_file)
    return Loaded(sites, keys, token, peer, lookup, sources)


class Control:
    """One running front, and what its parts share."""

    def __init__(
        self, settings: SignalingSettings, loaded: Loaded, tls: Tls | None, reread: Callable[[], SignalingSettings]
    ) -> None:
        """``reread`` gives the settings anew; it raises ConfigError."""
        self.settings, self.loaded = settings, loaded
        self.access = Access(loaded.token, settings.cors_origins)
        self.directory = Directory(loaded.sites)
        self.counters = Counters()
        self.locator = _locator(settings, loaded)
        self.owners = Owners(_owner_rules(settings, loaded), None)
        heartbeats = Heartbeats(self.directory, self.owners.allows, self.counters)
        self.reader = NodesReader(heartbeats, log, "calls go to the transceivers that were known")
        """Of heartbeats; see `rtcrelay.store.reader`."""
        self.is_draining = False
        self._tls, self._reread = tls, reread
        self._started_at = time.monotonic()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._watchdog = Watchdog(self._loop)

    async def serve(self) -> None:
        """Handles signals until the end."""
        handle_end_signals(self._loop, self._end)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        self._watchdog.start()
        try:
            sd_notify("READY=1\nSTATUS=placing calls")
            await self._ended.wait()
        finally:
            self._watchdog.cancel()
            self._loop.add_signal_handler(signal.SIGHUP, lambda: None)

    def world(self) -> World:
        """What the rule looks at now."""
        return self.directory.world(time.monotonic())

    def drain(self, draining: bool) -> dict[str, object]:
        """Is no longer ready, or is again, for the load balancer in front; calls are placed all the same."""
        self.is_draining = draining
        sd_notify(f"STATUS={'draining' if draining else 'placing calls'}")
        return {"kind": "drain", "v": 1, "draining": draining}

    def reload(self) -> None:
        """Takes settings and files as they are now. Raises ConfigError; then everything stays as it was."""
        new = self._reread()
        taken = dataclasses.replace(self.settings, **{name: getattr(new, name) for name in RELOADABLE})
        loaded = load(taken)
        if self._tls is not None and taken.tls_cert is not None and taken.tls_key is not None:
            self._tls.reload(taken.tls_cert, taken.tls_key)
        self.settings, self.loaded = taken, loaded
        self.access.reload(loaded.token, taken.cors_origins)
        self.directory.reload(loaded.sites)
        self.reader.arrange(loaded.sources)
        self.locator.reload_from(_locator(taken, loaded))
        self.owners.reload(_owner_rules(taken, loaded))
        warn_of_what_waits(new, taken, log)
        if (self._tls is None) != (taken.tls_cert is None):
            log.warning("TLS is turned on or off only at the next start")
        sites = loaded.sites
        log.info("reloaded: %d ingresses, %d clusters", len(sites.ingresses), len(sites.clusters))

    def describe(self) -> dict[str, object]:
        """``/v1/stats``: the process, and its counts since it started."""
        world = self.world()
        return {
            "kind": "signaling_stats",
            "v": 1,
            "role": "signaling",
            "node": os.uname().nodename,
            "version": rtcrelay.__version__,
            "cluster": None,
            "keys": self.keys(),
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started_at, 3),
            "is_draining": self.is_draining,
            "gauges": {
                "ingresses": len(world.sites.ingresses),
                "ingresses_unhealthy": len(world.unhealthy),
                "clusters": len(world.sites.clusters),
                "transceivers": sum(map(len, world.transceivers.values())),
                "redis": len(self.reader.serving),
                "redis_unreachable": sum(not serves for serves in self.reader.serving.values()),
            },
            "counters": {count.name.lower(): self.counters.counts[count] for count in Count},
            "placed": [
                {"cluster": cluster, "place": source, "calls": calls}
                for (cluster, source), calls in sorted(self.counters.placed.items())
            ],
            "drops": {},
        }

    def keys(self) -> list[dict[str, Any]]:
        """Which keys this front holds, without their secrets."""
        return self.loaded.keys.report()

    def certificate_ends_at(self) -> float | None:
        """See `Tls.ends_at`; None without TLS."""
        return None if self._tls is None else self._tls.ends_at

    # -- Condition

    def unhealthy(self) -> str | None:
        """See `rtcrelay.metrics.pages.Condition`. A loop that does not turn does not answer at all."""
        return None

    def unready(self) -> str | None:
        """Why a load balancer should send no calls here, or None."""
        return "draining" if self.is_draining else None

    # -- inside

    def _end(self) -> None:
        self.is_draining = True
        sd_notify("STOPPING=1")
        self._ended.set()

    def _on_hangup(self) -> None:
        reload_on_hangup(self.reload, log)


def _locator(settings: SignalingSettings, loaded: Loaded) -> Locator:
    trusted = [ipaddress.ip_network(network) for network in settings.trust_proxy]
    return Locator(trusted, loaded.lookup, settings.insecure_place_from_query)


def _owner_rules(settings: SignalingSettings, loaded: Loaded) -> OwnerRules:
    return OwnerRules(loaded.keys.ring, settings.signaling_peers, None, settings.nodes or {})
