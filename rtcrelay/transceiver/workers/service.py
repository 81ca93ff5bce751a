"""``rtcrelay serve transceiver --workers N``: what the parent does before it is one, and what each worker runs."""

from __future__ import annotations

import gc
import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module

import rtcrelay
from rtcrelay.config import TransceiverSettings
from rtcrelay.config.settings import warn_of_what_waits
from rtcrelay.config.workers import worker_settings
from rtcrelay.errors import ConfigError, ExitStatus
from rtcrelay.event_loop import run_to_the_end
from rtcrelay.http.server import listen
from rtcrelay.http.tls import load_tls
from rtcrelay.metrics.listener import MetricsListener
from rtcrelay.store.redis_password import read_redis_password
from rtcrelay.transceiver.backends import find_backend
from rtcrelay.transceiver.control import load_secrets, take_up
from rtcrelay.transceiver.owner import require_addresses
from rtcrelay.transceiver.service import log_addresses, serve
from rtcrelay.transceiver.workers.board import Board
from rtcrelay.transceiver.workers.siblings import Workplace
from rtcrelay.transceiver.workers.supervisor import Supervisor

log = logging.getLogger("rtcrelay.workers")


def run_workers(settings: TransceiverSettings, reread: Callable[[], TransceiverSettings]) -> ExitStatus:
    """Runs a service of several workers until SIGTERM or SIGINT, see `Supervisor`.

    What is wrong with settings and files is found before anything is bound, and what all workers share is bound before
    they are started. Raises ConfigError and BackendError.
    """
    _check_files(settings)
    if not settings.backend.startswith("python:"):  # that one may do anything when it is imported: the workers find out
        find_backend(settings.backend, settings.backend_token_file)
    require_addresses(settings)
    if settings.redis is not None:
        import_module("rtcrelay.store.redis_store")
    with ExitStack() as stack:
        metrics = stack.enter_context(MetricsListener(settings.metrics))
        http = stack.enter_context(listen(settings.http))
        inner = tuple(stack.enter_context(listen(("127.0.0.1", 0))) for _ in range(settings.workers))
        place = Workplace(0, Board(settings.workers), http, metrics, inner, secrets.token_urlsafe())
        log.info("rtcrelay %s, transceiver %s, %d workers", rtcrelay.__version__, settings.node, settings.workers)
        log_addresses(settings, http, metrics)
        gc.freeze()  # collecting in a worker would copy what it shares with the parent
        return Supervisor(_Work(settings, reread, place), place.board).run()


class _Work:
    """What the supervisor's workers do, see `rtcrelay.transceiver.workers.supervisor.Work`."""

    def __init__(
        self, settings: TransceiverSettings, reread: Callable[[], TransceiverSettings], place: Workplace
    ) -> None:
        self._settings, self._reread, self._place = settings, reread, place

    def run(self, worker: int) -> None:
        own = worker_settings(self._latest(), worker)
        # What waits for the next start is the parent's to tell, once.
        run_to_the_end(serve(own, lambda: take_up(own, self._reread()), replace(self._place, worker=worker)))

    def reload(self) -> None:
        new = self._reread()
        taken = take_up(self._settings, new)
        _check_files(taken)
        warn_of_what_waits(new, taken, log)
        self._settings = taken

    @property
    def drain_seconds(self) -> float:
        return self._settings.drain_timeout_seconds

    def _latest(self) -> TransceiverSettings:
        """A worker that starts again takes up what the others may have been told to reload by the admin interface."""
        try:
            return take_up(self._settings, self._reread())
        except ConfigError as error:
            log.warning("started with the settings as they were: %s", error)
            return self._settings


def _check_files(settings: TransceiverSettings) -> None:
    load_secrets(settings)
    load_tls(settings.tls_cert, settings.tls_key)
    read_redis_password(settings.redis_password_file)
