"""``rtcrelay serve signaling``: from settings to a running process, and to its clean end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import rtcrelay
from rtcrelay.admin.unix_socket import AdminSocket
from rtcrelay.config import SignalingSettings
from rtcrelay.config.text import format_address
from rtcrelay.errors import ExitStatus
from rtcrelay.event_loop import run_to_the_end
from rtcrelay.http.courier import Courier
from rtcrelay.http.forward import Forwarder
from rtcrelay.http.limits import HttpLimits
from rtcrelay.http.server import bound, listen, start_http
from rtcrelay.http.times import SignalingTimes
from rtcrelay.http.tls import Tls, load_tls
from rtcrelay.metrics.certificate import CertificateMetrics
from rtcrelay.metrics.listener import MetricsListener
from rtcrelay.metrics.loop_lag import LoopLag
from rtcrelay.metrics.pages import Pages
from rtcrelay.metrics.process import ProcessMetrics
from rtcrelay.signaling.admin import SignalingMetrics, make_admin_app
from rtcrelay.signaling.control import Control, load
from rtcrelay.signaling.counters import Count
from rtcrelay.signaling.front import Parts, make_app
from rtcrelay.signaling.ingress_health import IngressProber

log = logging.getLogger("rtcrelay.signaling")


def check(settings: SignalingSettings) -> str:
    """Does everything that `run` does before it binds; returns one line about what would run. Raises ConfigError."""
    sites = load(settings).sites
    load_tls(settings.tls_cert, settings.tls_key)
    scheme = "https" if settings.tls_cert else "http"
    return (
        f"configuration is sound: {scheme}://{format_address(settings.http)};"
        f" {len(sites.ingresses)} ingresses, {len(sites.clusters)} clusters"
    )


def run(settings: SignalingSettings, reread: Callable[[], SignalingSettings] | None = None) -> ExitStatus:
    """Runs a front until SIGTERM or SIGINT, see `control`.

    ``reread`` gives the settings anew on SIGHUP; without it, only the files they name are read again. Raises
    ConfigError before anything is bound, and BackendError if an address cannot be had.
    """
    run_to_the_end(serve(settings, reread))
    return ExitStatus.OK


async def serve(settings: SignalingSettings, reread: Callable[[], SignalingSettings] | None = None) -> None:
    """As `run`, on a running loop."""
    loaded, tls = load(settings), load_tls(settings.tls_cert, settings.tls_key)
    control = Control(settings, loaded, tls, reread or (lambda: settings))
    async with AsyncExitStack() as stack:
        admin_socket = stack.enter_context(AdminSocket(settings.admin_socket))
        metrics_socket = stack.enter_context(MetricsListener(settings.metrics))
        listener = stack.enter_context(listen(settings.http))
        times = SignalingTimes()
        prober = IngressProber(lambda: control.directory.sites.ingresses, control.directory.take_unhealthy)
        stack.enter_context(prober)
        await stack.enter_async_context(control.reader)
        control.reader.arrange(loaded.sources)
        await _start_front(control, tls, times, listener, stack)
        await _start_admin(control, times, admin_socket, metrics_socket, stack)
        log.info("rtcrelay %s, signaling for %d clusters", rtcrelay.__version__, len(loaded.sites.clusters))
        await control.serve()


async def _start_front(
    control: Control, tls: Tls | None, times: SignalingTimes, listener: socket.socket, stack: AsyncExitStack
) -> None:
    def counting(which: Count) -> Callable[[], None]:
        def count() -> None:
            control.counters.counts[which] += 1

        return count

    courier = await stack.enter_async_context(Courier(lambda: control.loaded.peer))
    parts = Parts(
        control.access,
        control.locator,
        control.directory,
        courier,
        Forwarder(control.owners, courier, counting(Count.PASSED_ON)),
        control.counters,
        lambda: control.settings.told_ingresses,
    )
    limits = HttpLimits(on_refused=counting(Count.CONNECTIONS_REFUSED), on_late=counting(Count.CONNECTIONS_LATE))
    app = make_app(parts, times)
    stack.push_async_callback(await start_http(app, listener, tls.server if tls else None, limits))
    log.info("calls come in at %s://%s", "https" if tls else "http", format_address(bound(listener)))


async def _start_admin(
    control: Control,
    times: SignalingTimes,
    admin_socket: socket.socket | None,
    metrics_socket: socket.socket | None,
    stack: AsyncExitStack,
) -> None:
    lag = LoopLag("rtcrelay_signaling_event_loop_lag_seconds", asyncio.get_running_loop())
    stack.enter_context(lag)
    process = ProcessMetrics("signaling", lambda: control.loaded.keys)
    certificate = CertificateMetrics(control.certificate_ends_at)
    pages = Pages(control, [process, SignalingMetrics(control, times), lag, certificate])
    if admin_socket is not None:
        stack.push_async_callback(await start_http(make_admin_app(control, pages), admin_socket))
    if metrics_socket is not None:
        stack.push_async_callback(await start_http(pages.application(), metrics_socket))
        log.info("metrics and health on %s", format_address(bound(metrics_socket)))
