"""The running relay's control plane: signals, reload, and what the admin interface may ask.

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
from collections.abc import Callable
from typing import Any

import rtcrelay
from rtcrelay._dataplane import Flow, Relay
from rtcrelay.config import RelaySettings
from rtcrelay.config.text import format_address
from rtcrelay.daemon import sd_notify
from rtcrelay.errors import ExitStatus, RtcrelayError
from rtcrelay.keys import KeyFile
from rtcrelay.relay.policy import load_policy

log = logging.getLogger("rtcrelay.relay")

_RELOADABLE = frozenset({"cluster", "transceivers", "peers", "nodes", "admission_exempt", "key_file"})
"""Settings that a running relay takes up; the others wait for the next start."""


class Control:
    """One running relay, seen from the side that is not in a hurry."""

    def __init__(
        self, relay: Relay, settings: RelaySettings, key_file: KeyFile, reread: Callable[[], RelaySettings]
    ) -> None:
        self._relay = relay
        self._settings = settings
        self._key_file = key_file
        self._reread = reread
        self._started = time.monotonic()

    def run(self, admin_socket: socket.socket | None) -> ExitStatus:
        """Serves until SIGTERM or SIGINT."""
        return asyncio.run(self._serve(admin_socket))

    async def _serve(self, admin_socket: socket.socket | None) -> ExitStatus:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, end.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        stop_admin = None
        if admin_socket is not None:
            from rtcrelay.relay.admin import start_admin

            stop_admin = await start_admin(self, admin_socket)
        sd_notify("READY=1\nSTATUS=forwarding")
        await end.wait()
        sd_notify("STOPPING=1\nSTATUS=stopping")
        log.info("stopping")
        if stop_admin is not None:
            await stop_admin()
        return ExitStatus.OK

    def reload(self) -> None:
        """Applies the settings and keys as they are now to every packet from now on.

        Raises ConfigError; then everything stays as it was.
        """
        settings = self._reread()
        key_file, policy = load_policy(settings)
        self._relay.reload(policy)
        for field in dataclasses.fields(settings):
            if field.name not in _RELOADABLE and getattr(settings, field.name) != getattr(self._settings, field.name):
                log.warning("%s has changed, which takes effect at the next start", field.name)
        taken = {name: getattr(settings, name) for name in _RELOADABLE}
        self._settings = dataclasses.replace(self._settings, **taken)
        self._key_file = key_file
        keys = ", ".join(f"{number} ({fingerprint})" for number, fingerprint in key_file.fingerprints())
        log.info("reloaded: cluster %d, keys %s", settings.cluster, keys)

    def _on_hangup(self) -> None:
        sd_notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self.reload()
        except RtcrelayError as error:
            log.error("not reloaded, everything stays as it was: %s", error)
        sd_notify("READY=1")

    def is_ready(self) -> bool:
        """Whether sockets are bound, keys are loaded and every worker lives."""
        return self._relay.gauges()["workers"] == self._settings.workers

    def stats(self) -> dict[str, Any]:
        """Who this relay is, and its counts since start."""
        return {
            "kind": "relay_stats",
            "v": 1,
            "version": rtcrelay.__version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 3),
            "cluster": self._settings.cluster,
            "listeners": [
                {"public": format_address(public), "internal": format_address(internal), "ingress": internal[1]}
                for public, internal in self._relay.listeners()
            ],
            "keys": self.keys(),
            "gauges": dict(sorted(self._relay.gauges().items())),
            "counters": dict(sorted(self._relay.counters().items())),
            "drops": dict(sorted(self._relay.drops().items())),
        }

    def keys(self) -> list[dict[str, Any]]:
        """Which keys this relay holds, without their secrets."""
        return [{"id": key.id, "state": key.state, "fingerprint": key.fingerprint} for key in self._key_file.keys]

    def flows(self, cursor: int, limit: int) -> dict[str, Any]:
        """A page of the path table, and the cursor of the next one (0: that was all)."""
        flows, following = self._relay.flows(cursor, limit)
        return {"kind": "flows", "v": 1, "flows": [_flow(flow) for flow in flows], "next_cursor": following}


def _flow(flow: Flow) -> dict[str, Any]:
    return {
        "kind": "flow",
        "v": 1,
        "client": format_address(flow.client),
        "ingress": flow.ingress,
        "claims": [
            {
                "next_hop": format_address(claim.next_hop),
                "state": claim.state,
                "idle_s": round(claim.idle_seconds, 3),
            }
            for claim in flow.claims
        ],
        "packets_in": flow.packets_in,
        "bytes_in": flow.bytes_in,
        "packets_out": flow.packets_out,
        "bytes_out": flow.bytes_out,
        "age_s": round(flow.age_seconds, 3),
        "idle_s": round(flow.idle_seconds, 3),
    }
