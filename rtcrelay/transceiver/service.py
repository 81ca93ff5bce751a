"""``rtcrelay serve transceiver``: from settings to a running process, and to its clean end."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING

import rtcrelay
from rtcrelay.admin.unix_socket import AdminSocket
from rtcrelay.config import TransceiverSettings
from rtcrelay.config.options import MAX_WORKERS
from rtcrelay.config.text import format_address
from rtcrelay.errors import ExitStatus
from rtcrelay.event_loop import run_to_the_end
from rtcrelay.http.access import Access
from rtcrelay.http.courier import MAX_UNDER_WAY, Courier
from rtcrelay.http.forward import Forwarder
from rtcrelay.http.limits import HttpLimits
from rtcrelay.http.server import bound, listen, start_http
from rtcrelay.http.times import SignalingTimes
from rtcrelay.http.tls import Tls, load_tls
from rtcrelay.metrics.certificate import CertificateMetrics
from rtcrelay.metrics.kernel import receive_overflows
from rtcrelay.metrics.listener import MetricsListener
from rtcrelay.metrics.loop_lag import LoopLag
from rtcrelay.metrics.pages import MetricsSource, Pages
from rtcrelay.metrics.process import ProcessMetrics
from rtcrelay.store.beacon import Beacon
from rtcrelay.store.beacon_metrics import BeaconMetrics
from rtcrelay.store.late_store import LateStore, late_store
from rtcrelay.store.redis_password import read_redis_password
from rtcrelay.transceiver.admin import make_admin_app
from rtcrelay.transceiver.backends import find_backend
from rtcrelay.transceiver.control import Control, load_secrets
from rtcrelay.transceiver.counters import Count
from rtcrelay.transceiver.metrics import TransceiverMetrics
from rtcrelay.transceiver.owner import require_addresses
from rtcrelay.transceiver.presence import TransceiverPresence
from rtcrelay.transceiver.shared_socket import SharedSocket
from rtcrelay.transceiver.timer_driver import TimerDriver
from rtcrelay.transceiver.transceiver import Transceiver
from rtcrelay.transceiver.whip import Front, make_app
from rtcrelay.transceiver.workers.siblings import Siblings, Workplace
from rtcrelay.transceiver.workers.whole import WholeService

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

log = logging.getLogger("rtcrelay.transceiver")


def check(settings: TransceiverSettings) -> str:
    """Does everything that `run` does before it binds; returns one line about what would run. Raises ConfigError."""
    keys, _ = load_secrets(settings)
    load_tls(settings.tls_cert, settings.tls_key)
    find_backend(settings.backend, settings.backend_token_file)
    require_addresses(settings)
    read_redis_password(settings.redis_password_file)
    shown = ", ".join(f"{key.id} {key.state} {key.fingerprint}" for key in keys.keys)
    scheme = "https" if settings.tls_cert else "http"
    signaling = f"{scheme}://{format_address(settings.http)}"
    media = format_address(settings.media)
    if settings.workers > 1:
        media += f" and the {settings.workers - 1} ports after it, {settings.workers} workers"
    return (
        f"configuration is sound: {settings.node}, {signaling}, media {media}; cluster {settings.cluster}; keys {shown}"
    )


def run(settings: TransceiverSettings, reread: Callable[[], TransceiverSettings] | None = None) -> ExitStatus:
    """Runs a transceiver until SIGTERM or SIGINT, see `control`.

    ``reread`` gives the settings anew on SIGHUP; without it, only the files they name are read again. Raises
    ConfigError before anything is bound, and BackendError if an address cannot be had.
    """
    if settings.workers > 1:
        from rtcrelay.transceiver.workers.service import run_workers  # which needs `serve`

        return run_workers(settings, reread or (lambda: settings))
    run_to_the_end(serve(settings, reread))
    return ExitStatus.OK


async def serve(
    settings: TransceiverSettings,
    reread: Callable[[], TransceiverSettings] | None = None,
    place: Workplace | None = None,
) -> None:
    """As `run`, on a running loop. ``place``: among other workers; None: alone."""
    keys, token = load_secrets(settings)
    tls = load_tls(settings.tls_cert, settings.tls_key)
    require_addresses(settings)
    store = _open_store(settings)
    access = Access(token, settings.cors_origins)
    # Not the loop's time: uvloop's is rounded to milliseconds and as old as the turn. Both are CLOCK_MONOTONIC.
    transceiver = Transceiver(settings, keys, time.monotonic)
    control = Control(transceiver, access, tls, reread or (lambda: settings))
    async with AsyncExitStack() as stack:
        admin_socket = stack.enter_context(AdminSocket(settings.admin_socket))
        metrics_socket = place.metrics if place else stack.enter_context(MetricsListener(settings.metrics))
        http_socket = place.http if place else stack.enter_context(listen(settings.http))
        control.shared = _open_media(transceiver, bound(http_socket), stack)
        stack.enter_context(TimerDriver(transceiver, asyncio.get_running_loop()))
        times = SignalingTimes()
        siblings = await stack.enter_async_context(Siblings(place, transceiver)) if place else None
        front = Front(transceiver, access, times, siblings)
        await _start_signaling(front, tls, http_socket, stack)
        lag = _watch_lag(transceiver, siblings, stack)
        beacon = await _show_oneself(control, store, lag, stack)
        pages = await _start_admin(control, beacon, (times, lag), admin_socket, stack)
        if siblings is not None:
            await _start_inner(front, siblings, pages, stack)
        if metrics_socket is not None:
            shown = WholeService(control, siblings, pages) if siblings is not None else pages
            stack.push_async_callback(await start_http(shown.application(), metrics_socket))
        if place is None:
            log_addresses(settings, http_socket, metrics_socket)
        log.info("rtcrelay %s, transceiver %s", rtcrelay.__version__, settings.node)
        await control.serve()


def log_addresses(settings: TransceiverSettings, http: socket.socket, metrics: socket.socket | None) -> None:
    """Says where clients and Prometheus may connect."""
    log.info("signaling on %s://%s", "https" if settings.tls_cert else "http", format_address(bound(http)))
    if metrics is not None:
        log.info("metrics and health on %s", format_address(bound(metrics)))


def _open_media(transceiver: Transceiver, http: Address, stack: AsyncExitStack) -> SharedSocket:
    """Binds the shared socket and the direct one, and opens the transceiver with them. Returns the shared one."""
    settings, loop = transceiver.settings, asyncio.get_running_loop()
    shared = _socket_of(transceiver, settings.relays)
    stack.callback(shared.close)
    media = shared.open(settings.media, loop)
    direct: tuple[Address, SharedSocket] | None = None
    if settings.direct is not None:
        plain = _socket_of(transceiver, None)
        stack.callback(plain.close)
        direct = plain.open(settings.direct, loop), plain
    transceiver.open(media, http, shared, direct)
    transceiver.router.on_path_gone += [shared.forget_path, *([direct[1].forget_path] if direct else [])]
    aside = f", without a relay on {format_address(direct[0])}" if direct else ""
    log.info("media on %s%s", format_address(media), aside)
    return shared


def _socket_of(transceiver: Transceiver, relays: tuple[str, ...] | None) -> SharedSocket:
    # The router exists once the addresses are known; the loop reads nothing before that.
    return SharedSocket(
        transceiver.counters,
        lambda arrival, payload, now: transceiver.router.handle_payload(arrival, payload, now),
        lambda key: transceiver.router.knows_path(key),
        relays,
    )


async def _start_signaling(front: Front, tls: Tls | None, listener: socket.socket, stack: AsyncExitStack) -> None:
    counting = front.transceiver.counters.counting
    courier = await stack.enter_async_context(Courier(lambda: (tls.client, tls.peer_name) if tls else None))
    forwarder = Forwarder(front.transceiver.owners, courier, counting(Count.REQUESTS_PASSED_ON))
    context = tls.server if tls else None
    limits = HttpLimits(on_refused=counting(Count.CONNECTIONS_REFUSED), on_late=counting(Count.CONNECTIONS_LATE))
    stack.push_async_callback(await start_http(make_app(front, forwarder), listener, context, limits))


async def _start_inner(front: Front, siblings: Siblings, pages: Pages, stack: AsyncExitStack) -> None:
    """Takes what other workers pass on, which the client's worker has counted."""
    app = make_app(Front(front.transceiver, front.access, SignalingTimes()))
    app.middlewares.insert(0, siblings.guard)
    pages.add_to(app)
    limits = HttpLimits(connections=MAX_UNDER_WAY * MAX_WORKERS, share=MAX_UNDER_WAY * MAX_WORKERS)
    stack.push_async_callback(await start_http(app, siblings.listener, limits=limits))
    siblings.tell()


def _watch_lag(transceiver: Transceiver, siblings: Siblings | None, stack: AsyncExitStack) -> LoopLag:
    admission = transceiver.admission

    def handle_time(now: float) -> None:
        admission.handle_time(now)
        if siblings is not None:
            siblings.tell()

    loop = asyncio.get_running_loop()
    lag = LoopLag("rtcrelay_transceiver_event_loop_lag_seconds", loop, on_sample=handle_time)
    admission.watch_lag(lag.seconds, transceiver.now())
    return stack.enter_context(lag)


def _open_store(settings: TransceiverSettings) -> LateStore | None:
    """Where heartbeats go. Redis is imported now: later it would cost calls 0.1 s."""
    if settings.redis is None:
        return None
    import_module("rtcrelay.store.redis_store")
    return late_store(settings.redis, read_redis_password(settings.redis_password_file))


async def _show_oneself(
    control: Control, store: LateStore | None, lag: LoopLag, stack: AsyncExitStack
) -> Beacon | None:
    if store is None:
        return None
    stack.push_async_callback(store.close)
    beacon = Beacon(store, TransceiverPresence(control, lag))
    control.on_standing = beacon.beat_soon
    return await stack.enter_async_context(beacon)


async def _start_admin(
    control: Control,
    beacon: Beacon | None,
    measures: tuple[SignalingTimes, LoopLag],
    listener: socket.socket | None,
    stack: AsyncExitStack,
) -> Pages:
    """Serves the admin interface; returns the pages of this process."""
    transceiver, (times, lag) = control.transceiver, measures
    settings = transceiver.settings
    media = [settings.media, *([settings.direct] if settings.direct else [])]
    numbers = TransceiverMetrics(transceiver, times, lambda: receive_overflows(media))
    certificate = CertificateMetrics(control.certificate_ends_at)
    sources: list[MetricsSource] = [ProcessMetrics("transceiver", lambda: transceiver.keys), numbers, lag, certificate]
    if beacon is not None:
        sources.append(BeaconMetrics(beacon, looks=False))
    pages = Pages(control, sources, {} if settings.worker is None else {"worker": str(settings.worker)})
    if listener is not None:
        stack.push_async_callback(await start_http(make_admin_app(control, pages), listener))
    return pages
