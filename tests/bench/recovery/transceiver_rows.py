"""A transceiver is killed: how soon does the relay notice, and how soon does the page talk again by itself?"""

from __future__ import annotations

import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from rtcrelay.client.demo.site import Site, SiteOptions

from .figures import quantiles
from .load_rows import Bed, Fault, bed_for
from .processes import until


def notice(trials: int) -> dict[str, Any]:
    """Milliseconds from the transceiver's end until the relay drops its packets for that reason, and how many it sent
    there meanwhile; 50 packets a second."""
    times, sent = [], []
    for _ in range(trials):
        with bed_for(Fault("transceiver kill", lambda bed: None, 0.0), 1) as bed:
            bed.flows.run(0.5)
            address = bed.flows.address
            bed.flows.transceiver.close()
            bed.flows.transceiver = _elsewhere()
            begun, before = time.monotonic(), _counted(bed)[1]
            until(lambda bed=bed: bed.flows.run(0.02) or _counted(bed)[0] > 0, "the next hop is dead", 10.0)
            times.append(1000 * (time.monotonic() - begun))
            sent.append(_counted(bed)[1] - before)
            assert bed.flows.address != address
    return {
        "row": "transceiver kill, noticed by the relay",
        "client": "synthetic",
        "trials": trials,
        "noticed_ms": quantiles(times),
        "packets_sent_there": quantiles([float(count) for count in sent]),
    }


async def new_call(trials: int) -> dict[str, Any]:
    """Milliseconds from the kill until Chromium's page talks again, the transceiver being started anew at once."""
    from e2e.browser import browser_call

    times = []
    for _ in range(trials):
        with tempfile.TemporaryDirectory() as directory:
            site = Site(Path(directory), SiteOptions(nodes=("a",)))
            try:
                await site.start()
                node = site.transceivers[0]
                async with browser_call(node.page) as call:
                    await call.until_state("connected")
                    await call.echo("hello")
                    begun = time.monotonic()
                    await node.daemon.kill()
                    await node.daemon.start()
                    await call.until_true("Number(document.getElementById('redials').textContent) >= 1", 20.0)
                    await call.until_state("connected", 20.0)
                    await call.echo("again", 20.0)
                    times.append(1000 * (time.monotonic() - begun))
            finally:
                await site.stop()
    return {
        "row": "transceiver kill, the page calls again",
        "client": "chromium",
        "trials": trials,
        "talks_again_ms": quantiles(times),
    }


def _counted(bed: Bed) -> tuple[int, int]:
    """(packets dropped since the next hop is dead, packets sent by path) of the relay."""
    from cli.relay_process import UnixConnection

    connection = UnixConnection(bed.relays[0].admin)
    connection.request("GET", "/v1/stats")
    stats = json.loads(connection.getresponse().read())
    connection.close()
    return stats["drops"]["next_hop_dead"], stats["counters"]["internal_out_packets"]


def _elsewhere() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock
