"""Drives a `Pinger` over an endpoint until it is over or Ctrl-C: transmit, wait, receive."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtcrelay.debug.capture_writer import CaptureWriter
from rtcrelay.debug.pinging import Pinger, Reply

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address
    from rtcrelay.debug.probe_socket import Endpoint


@dataclass(slots=True)
class Watch:
    """Who is told what happens."""

    on_reply: Callable[[Reply], None]
    """An answer, or that there was none in time."""
    on_trouble: Callable[[str], None]
    """What ICMP or the kernel said, once for each packet."""
    capture: CaptureWriter | None = None
    """Where every packet is written."""


def run_pings(pinger: Pinger, endpoint: Endpoint, watch: Watch) -> bool:
    """Runs to the end; False if Ctrl-C ended it before. The endpoint stays the caller's."""
    try:
        while (due := pinger.poll_timeout()) is not None:
            _turn(pinger, endpoint, watch, due - time.monotonic())
    except KeyboardInterrupt:
        pinger.stop()
        return False
    return True


def _turn(pinger: Pinger, endpoint: Endpoint, watch: Watch, seconds: float) -> None:
    for found in endpoint.receive(max(0.0, seconds)):
        now = time.monotonic()
        if isinstance(found, str):
            watch.on_trouble(found)
            continue
        datagram, source = found
        _keep(watch, source, endpoint.local, datagram)
        reply = pinger.handle_datagram(datagram, source, now)
        if reply is not None:
            watch.on_reply(reply)
    for unanswered in pinger.poll_unanswered(time.monotonic()):
        watch.on_reply(unanswered)
    for datagram in pinger.poll_transmit(time.monotonic()):
        _keep(watch, endpoint.local, pinger.target, datagram)
        trouble = endpoint.send(datagram)
        if trouble is not None:
            watch.on_trouble(trouble)


def _keep(watch: Watch, source: Address, destination: Address, datagram: bytes) -> None:
    if watch.capture is not None:
        watch.capture.write(time.time_ns(), source, destination, datagram)
