"""The running relay's control plane: signals, reload, drain, and what the admin interface may ask.

Imported after the data plane forwards.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import rtcrelay
from rtcrelay._dataplane import Policy, Relay
from rtcrelay.config import Address, RelaySettings
from rtcrelay.config.settings import warn_of_what_waits
from rtcrelay.config.text import format_address
from rtcrelay.daemon import HANDLED_SIGNALS, handle_end_signals, reload_on_hangup, sd_notify, watchdog_seconds
from rtcrelay.errors import ExitStatus, StateError
from rtcrelay.keys import KeyFile
from rtcrelay.metrics.kernel import receive_overflows
from rtcrelay.metrics.late import bind_late
from rtcrelay.relay import takeover
from rtcrelay.relay.cache_keeper import CacheKeeper, keeper
from rtcrelay.relay.cluster_table import ClusterTable
from rtcrelay.relay.event_feed import EventFeed
from rtcrelay.relay.flow_row import flow_row
from rtcrelay.relay.node_hints import NodeHints
from rtcrelay.relay.other_sites import OtherSites, other_sources
from rtcrelay.relay.policy import load_policy, make_policy
from rtcrelay.relay.presence import RelayPresence
from rtcrelay.relay.succession import Succession
from rtcrelay.relay.watch import Watch
from rtcrelay.store.beacon import Beacon
from rtcrelay.store.directory import Nodes
from rtcrelay.store.late_store import LateStore, late_store
from rtcrelay.store.node_entry import Order
from rtcrelay.store.reader import NodesReader
from rtcrelay.store.standing import Standing

log = logging.getLogger("rtcrelay.relay")

_RELOADABLE = frozenset(
    {"cluster", "clusters", "sites", "transceivers", "peers", "nodes", "admission_exempt", "key_file"}
)
"""Settings that a running relay takes up; the others wait for the next start."""


class Control:
    """One running relay, seen from the side that is not in a hurry."""

    def __init__(
        self,
        relay: Relay,
        settings: RelaySettings,
        key_file: KeyFile,
        reread: Callable[[], RelaySettings],
        *,
        workers: int | None = None,
        redis_password: str | None = None,
        table: ClusterTable | None = None,
    ) -> None:
        """``workers`` is how many should live, if that is not the settings' number; ``table`` is one that is in use
        already."""
        self.workers = settings.workers if workers is None else workers
        """Packet threads that should live."""
        self._relay = relay
        self._settings = settings
        self._key_file = key_file
        self._reread = reread
        self._started = time.monotonic()
        self.standing = Standing()
        """Whether new calls are wanted."""
        self.hints = NodeHints()
        """Where node ids lead, beyond the settings."""
        self.table = table or ClusterTable(settings)
        """Where the relays of other clusters are."""
        self._redis_password = redis_password
        self._succession: Succession | None = None
        self.feed = EventFeed(relay)
        """What happens to paths, for whoever listens."""
        self.route_cache: CacheKeeper | None = None
        """The route cache, once it is started; None without one."""
        self.on_ready: Callable[[], None] = lambda: None
        """Called when everything that a relay has is there, also its readiness for a successor."""
        self.beacon: Beacon | None = None
        """The heartbeats, once they are started; None without Redis."""
        self.other_sites = NodesReader(OtherSites(self.find_clusters), log, "calls go to the relays that were known")
        """What reads their heartbeats."""

    def run(
        self,
        admin_socket: socket.socket | None,
        metrics_socket: socket.socket | None = None,
        late_metrics: Address | None = None,
    ) -> ExitStatus:
        """Serves until SIGTERM or SIGINT, or until a worker is lost: then the status is not `ExitStatus.OK`.

        ``late_metrics`` is the address of metrics if a predecessor that is about to end still has it.
        """
        return asyncio.run(self._serve(admin_socket, metrics_socket, late_metrics))

    async def _serve(
        self, admin_socket: socket.socket | None, metrics_socket: socket.socket | None, late_metrics: Address | None
    ) -> ExitStatus:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        handle_end_signals(loop, end.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        watch = Watch(self.unhealthy, self._counts, sd_notify, watchdog_seconds(os.environ))
        async with AsyncExitStack() as stack:
            store = self._open_store()
            if late_metrics is not None:
                metrics_socket = await bind_late(late_metrics, stack)
            if admin_socket is not None or metrics_socket is not None:
                from rtcrelay.relay.admin import start_admin

                await start_admin(self, admin_socket, metrics_socket, stack)
            if admin_socket is not None and self._settings.admin_socket is not None:
                path = takeover.socket_path(self._settings.admin_socket)
                self._succession = Succession(path, self._relay, self._settings.listeners, end.set)
                await stack.enter_async_context(self._succession)
            if store is not None and self.route_cache is not None and self.beacon is not None:
                stack.push_async_callback(store.close)
                await stack.enter_async_context(self.route_cache)
                await stack.enter_async_context(self.beacon)
            await stack.enter_async_context(self.other_sites)
            self.other_sites.arrange(other_sources(self._settings))
            sd_notify("READY=1\nSTATUS=forwarding")
            self.on_ready()
            failure = await _first_failure(watch, end)
            if failure is not None:
                log.error("%s, so this relay must be restarted: ending with %d", failure, ExitStatus.SOFTWARE)
            if not self.has_successor:  # else the service goes on
                sd_notify("STOPPING=1\nSTATUS=stopping")
            elif self.beacon is not None:
                self.beacon.leaves = False
            log.info("stopping")
        return ExitStatus.OK if failure is None else ExitStatus.SOFTWARE

    def _open_store(self) -> LateStore | None:
        """Where routes and heartbeats go, and what keeps them; None without ``--redis``. Redis is imported later."""
        if self._settings.redis is None:
            return None
        store = late_store(self._settings.redis, self._redis_password)
        self.route_cache = keeper(self._relay, self.feed, self._settings, store, self.table)
        self.beacon = Beacon(store, RelayPresence(self), self._on_nodes)
        return store

    def reload(self) -> None:
        """Applies the settings and keys as they are now to every packet from now on.

        Raises ConfigError; then everything stays as it was.
        """
        settings = self._reread()
        key_file, _ = load_policy(settings)
        self.other_sites.arrange(other_sources(settings))
        self.hints.handle_nodes((), settings, time.monotonic())
        self.table.take_settings(settings, time.monotonic())
        self._relay.reload(self._policy(settings, key_file))
        taken = {name: getattr(settings, name) for name in _RELOADABLE}
        self._settings = dataclasses.replace(self._settings, **taken)
        warn_of_what_waits(settings, self._settings, log)
        self._key_file = key_file
        keys = ", ".join(f"{number} ({fingerprint})" for number, fingerprint in key_file.fingerprints())
        log.info("reloaded: cluster %s, keys %s", settings.cluster, keys)

    def _on_hangup(self) -> None:
        reload_on_hangup(self.reload, log)

    def unhealthy(self) -> str | None:
        """Why this relay must be restarted, or None; see `rtcrelay.metrics.pages.Condition`."""
        if self._succession is not None and (self._succession.is_handing_over or self._succession.handed_over):
            return None  # the workers pause for a successor
        alive = self._relay.gauges()["workers"]
        return None if alive >= self.workers else f"{alive} of {self.workers} workers live"

    def unready(self) -> str | None:
        """Why a load balancer should send nothing new here, or None. Sockets are bound and keys loaded by now."""
        return self.standing.reason

    def drain(self, draining: bool) -> dict[str, Any]:
        """Has load balancers move away, or come back. Forwarding goes on as before, also of new paths.

        Raises StateError if an order through Redis stands against coming back.
        """
        was, self.standing.is_draining_here = self.standing.reason, draining
        self._on_standing(was)
        if not draining and self.standing.reason is not None:
            raise StateError(f"this relay is {self.standing.reason}", hint="rtcrelay nodes uncordon")
        return {"kind": "drain", "v": 1, "draining": draining, "flows": self._relay.gauges()["flows"]}

    def obey(self, order: Order) -> None:
        """Does what an operator wants through Redis. A relay that drains has no deadline: whoever stops it decides."""
        was, self.standing.order = self.standing.reason, order
        log.info("%s wants this relay to be %s", order.by, order.state)
        self._on_standing(was)

    def _on_standing(self, was: str | None) -> None:
        reason = self.standing.reason
        if reason == was:
            return
        if (reason is None) != (was is None):
            log.info("%s: not ready for more, still forwarding" if reason else "no longer %s", reason or "draining")
            self._relay.reload(self._policy(self._settings, self._key_file))
        sd_notify(f"STATUS={reason or 'forwarding'}")
        if self.beacon is not None:
            self.beacon.beat_soon()

    def _on_nodes(self, nodes: Nodes) -> None:
        if self.hints.handle_nodes(nodes.found, self._settings, time.monotonic()):
            log.info("heartbeats name %d transceivers by their node ids", len(self.hints.table))
            self._relay.reload(self._policy(self._settings, self._key_file))
        self.find_clusters(nodes)

    def find_clusters(self, nodes: Nodes, source: str = "") -> None:
        """Takes who is alive, by the Redis of that name or this relay's own, into the table of clusters."""
        self.table.refused += nodes.refused if source else 0  # else the beacon has counted them
        if self.table.handle_nodes(nodes.found, time.monotonic(), source):
            log.info("relays of other clusters, also by their heartbeats: %s", self.table)
            self._relay.reload(self._policy(self._settings, self._key_file))

    def _policy(self, settings: RelaySettings, key_file: KeyFile) -> Policy:
        draining = self.standing.reason is not None
        hints, clusters = self.hints.table, self.table.relays
        return make_policy(settings, key_file, clusters=clusters, hints=hints, draining=draining)

    @property
    def has_successor(self) -> bool:
        """Whether another process has taken over."""
        return self._succession is not None and self._succession.handed_over

    @property
    def is_draining(self) -> bool:
        """Whether load balancers are asked to move away."""
        return self.standing.reason is not None

    @property
    def relay(self) -> Relay:
        """The data plane."""
        return self._relay

    @property
    def settings(self) -> RelaySettings:
        """The settings in effect."""
        return self._settings

    @property
    def key_file(self) -> KeyFile:
        """The keys in use."""
        return self._key_file

    @property
    def name(self) -> str:
        """The first internal address, by which other relays and readers know this one."""
        return format_address(self._relay.listeners()[0][1])

    def receive_overflows(self) -> int:
        """Datagrams that the kernel dropped at this relay's sockets because their buffers were full."""
        return receive_overflows(address for pair in self._relay.listeners() for address in pair)

    def takeovers_failed(self) -> int:
        """Successors that wanted to take over and did not."""
        return 0 if self._succession is None else self._succession.failed

    def _counts(self) -> Mapping[str, int]:
        """Everything that happened so far, for the log."""
        overflows = {"receive_overflows": self.receive_overflows()}
        return {**self._relay.counters(), **self._relay.drops(), **overflows}

    def stats(self) -> dict[str, Any]:
        """Who this relay is, and its counts since start."""
        return {
            "kind": "relay_stats",
            "v": 1,
            "role": "relay",
            "version": rtcrelay.__version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 3),
            "cluster": self._settings.cluster,
            "is_draining": self.is_draining,
            "state": self.standing.state,
            "listeners": [
                {"public": format_address(public), "internal": format_address(internal), "ingress": internal[1]}
                for public, internal in self._relay.listeners()
            ],
            "keys": self.keys(),
            "gauges": dict(sorted(self._relay.gauges().items())),
            "counters": dict(sorted({**self._relay.counters(), "receive_overflows": self.receive_overflows()}.items())),
            "drops": dict(sorted(self._relay.drops().items())),
            "route_cache": None if self.route_cache is None else self.route_cache.stats(),
            "heartbeat": None if self.beacon is None else self.beacon.stats(),
            "node_hints": len(self.hints.table),
            "clusters": self.table.describe(),
        }

    def keys(self) -> list[dict[str, Any]]:
        """Which keys this relay holds, without their secrets."""
        return self._key_file.report()

    def flows(self, cursor: int, limit: int) -> dict[str, Any]:
        """A page of the path table, and the cursor of the next one (0: that was all)."""
        flows, following = self._relay.flows(cursor, limit)
        name = self.name
        rows = [flow_row(flow, name, self.table.cluster_of) for flow in flows]
        return {"kind": "flows", "v": 1, "relay": name, "flows": rows, "next_cursor": following}


async def _first_failure(watch: Watch, end: asyncio.Event) -> str | None:
    """Waits for the end: why the watch wants it, or None if it was asked for."""
    watching = asyncio.ensure_future(watch.until_failure())
    ending = asyncio.ensure_future(end.wait())
    try:
        await asyncio.wait((watching, ending), return_when=asyncio.FIRST_COMPLETED)
        return watching.result() if watching.done() else None
    finally:
        watching.cancel()
        ending.cancel()
