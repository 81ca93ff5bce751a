"""``rtcrelay serve relay``: forward first, then load everything that is slow.

The order is the point: keys, admin socket, data plane, readiness to forward; only then asyncio and aiohttp, whose
import takes longer than all before it.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import rtcrelay
from rtcrelay._dataplane import Policy, Relay
from rtcrelay.admin.unix_socket import AdminSocket
from rtcrelay.config import RelaySettings
from rtcrelay.config.text import format_address
from rtcrelay.daemon import HANDLED_SIGNALS, sd_notify
from rtcrelay.errors import ConfigError, ExitStatus, bind_error
from rtcrelay.keys import KeyFile
from rtcrelay.metrics.listener import MetricsListener
from rtcrelay.relay.cluster_table import ClusterTable
from rtcrelay.relay.other_sites import look_around, other_sources
from rtcrelay.relay.policy import load_policy, make_policy, relay_config
from rtcrelay.store.redis_password import read_redis_password

if TYPE_CHECKING:
    from rtcrelay.relay.early_answers import EarlyAnswers

log = logging.getLogger("rtcrelay.relay")


def check(settings: RelaySettings) -> str:
    """Does everything that `run` does before it binds; returns one line about what would run. Raises ConfigError."""
    key_file, policy = load_policy(settings)
    relay_config(settings, policy)
    read_redis_password(settings.redis_password_file)
    other_sources(settings)
    pairs = ", ".join(f"{format_address(public)} to {format_address(inner)}" for public, inner in settings.listeners)
    keys = ", ".join(f"{key.id} {key.state} {key.fingerprint}" for key in key_file.keys)
    return f"configuration is sound: {pairs}; cluster {_cluster(settings)}; keys {keys}"


def run(
    settings: RelaySettings,
    reread: Callable[[], RelaySettings] | None = None,
    *,
    takeover: bool = False,
    on_ready: Callable[[], None] = lambda: None,
) -> ExitStatus:
    """Runs a relay until SIGTERM or SIGINT, or until it loses a worker: then the status is `ExitStatus.SOFTWARE`.

    ``reread`` gives the settings anew on SIGHUP; without it, only the key file is read again. With ``takeover`` the
    sockets and paths of the relay that runs at the same admin socket are taken over, and that one ends. ``on_ready``
    is called when this relay forwards and a successor of its own may come. Raises ConfigError before anything is
    bound, and BackendError if an address or a socket cannot be had, or nobody hands over.
    """
    # Until the control plane handles them, signals wait. The workers inherit the mask, so that the kernel never
    # picks one of them.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        key_file, policy = load_policy(settings)
        password = read_redis_password(settings.redis_password_file) if settings.redis else None
        other_sources(settings)  # refused before anything is bound
        table = ClusterTable(settings)
        if takeover and (settings.redis or settings.sites):
            policy = look_first(settings, key_file, password, table)
        relay = Relay(relay_config(settings, policy))
        admin = AdminSocket(settings.admin_socket, replaces=takeover)
        # A predecessor has the address of metrics until it has ended.
        early, late = (None, settings.metrics) if takeover else (settings.metrics, None)
        with admin as admin_socket, MetricsListener(early) as metrics_socket:
            workers = settings.workers
            if takeover:
                workers = succeed(relay, settings, admin)
            else:
                start(relay)
            answers = answer_early(relay, settings, password, table)
            try:
                _announce(relay, settings, key_file)
                from rtcrelay.relay.control import Control

                control = Control(
                    *(relay, settings, key_file, reread or (lambda: settings)),
                    workers=workers,
                    redis_password=password,
                    table=table,
                )
                control.feed.early, control.on_ready = answers, on_ready
                status = control.run(admin_socket, metrics_socket, late)
                if control.has_successor:
                    admin.leave()
                return status
            finally:
                if answers is not None:
                    answers.finish()
                relay.stop()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)


def start(relay: Relay) -> None:
    """Starts a relay's workers and logs the data plane's warnings. Raises BackendError."""
    try:
        warnings = relay.start()
    except OSError as error:
        raise bind_error(str(error.filename), "ulpn", error) from error
    for warning in warnings:
        log.warning("%s", warning)


def look_first(settings: RelaySettings, key_file: KeyFile, password: str | None, table: ClusterTable) -> Policy:
    """The policy of a successor, which knows other clusters by their heartbeats before it takes over."""
    look_around(settings, password, table)
    return make_policy(settings, key_file, clusters=table.relays)


def answer_early(
    relay: Relay, settings: RelaySettings, password: str | None, table: ClusterTable
) -> EarlyAnswers | None:
    """Has the data plane's questions answered, or kept, until the route cache is there; None if nobody answers yet."""
    if settings.redis is None:
        return None
    relay.listen(True, route_cache=True)  # what happens before the route cache is there waits for it
    from rtcrelay.relay.early_answers import EarlyAnswers, can_answer

    if not can_answer(settings.redis):
        return None
    early = EarlyAnswers(relay, settings.redis, password, table.lead)
    early.start()
    return early


def succeed(relay: Relay, settings: RelaySettings, admin: AdminSocket) -> int:
    """Starts a relay in the place of the one at the same admin socket, which ends then; returns how many workers run.

    Raises ConfigError if there is no admin socket, and BackendError if nobody hands over; then the other one goes on.
    """
    from rtcrelay.relay import takeover

    if settings.admin_socket is None:
        raise ConfigError("--takeover needs an admin socket, beside which the running relay waits for a successor")
    path = takeover.socket_path(settings.admin_socket)
    # systemd must know the new main process before the old one ends.
    tell = f"MAINPID={os.getpid()}"
    for warning in takeover.take_over(path, relay, settings.listeners, lambda: sd_notify(tell)):
        log.warning("%s", warning)
    try:
        admin.take_place()
    except OSError as error:
        log.error("no admin interface: %s: %s", settings.admin_socket, (error.strerror or str(error)).lower())
    # A thread serves several pairs of sockets, but no pair has several threads.
    workers = min(settings.workers, len(relay.descriptors()) // len(settings.listeners))
    if workers < settings.workers:
        log.warning("%d workers run and not %d, since the other relay had no more", workers, settings.workers)
    return workers


def _cluster(settings: RelaySettings) -> str:
    others = sorted(settings.clusters.keys() - {settings.cluster})
    own = "none" if settings.cluster is None else str(settings.cluster)
    return f"{own}, others {' '.join(map(str, others))}" if others else own


def _announce(relay: Relay, settings: RelaySettings, key_file: KeyFile) -> None:
    sd_notify("STATUS=forwarding")
    for public, internal in relay.listeners():
        log.info("forwarding from %s, internal address %s", format_address(public), format_address(internal))
    keys = ", ".join(f"{number} ({fingerprint})" for number, fingerprint in key_file.fingerprints())
    log.info(
        "rtcrelay %s, relay of cluster %s, workers %d, keys %s; transceivers %s; peers %s",
        rtcrelay.__version__,
        _cluster(settings),
        settings.workers,
        keys,
        " ".join(settings.transceivers) or "none",
        " ".join(settings.peers) or "none",
    )
