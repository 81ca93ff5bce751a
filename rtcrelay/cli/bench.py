"""``rtcrelay bench``: what a part costs on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Listing, leaf, parsed
from rtcrelay.cli.render import Column, note, show_rows
from rtcrelay.config.text import duration_between, whole_number
from rtcrelay.errors import BackendError, ExitStatus

app = new_group()

COLUMNS = (
    Column("sent", "SENT", right=True),
    Column("lost", "LOST", right=True),
    Column("misrouted", "MISROUTED", right=True),
    Column("forwarded_pps", "FORWARDED/S", right=True),
    Column("cpu_ns", "CPU NS/PACKET", right=True),
    Column("p50_us", "P50 US", right=True),
    Column("p99_us", "P99 US", right=True),
    Column("max_us", "MAX US", right=True),
)
UFRAG_COLUMNS = (
    Column("what", "WHAT"),
    Column("per_second", "PER SECOND", right=True),
    Column("ns", "NS", right=True),
)
_SECONDS = typer.Option("--seconds", metavar="DURATION", help="How long, 100ms to 1h.")
_PPS = typer.Option("--pps", metavar="N", help="Packets a second, 1 to 1000000. [default: 10000]")
_FLOWS = typer.Option("--flows", metavar="N", help="Clients at once, 1 to 500. [default: 100]")
_WORKERS = typer.Option("--workers", "-w", metavar="N", help="Packet threads, 1 to 64. [default: 1]")


@leaf(
    app,
    "relay",
    listing=True,
    examples="""
    rtcrelay bench relay
    rtcrelay bench relay --seconds 2s --pps 2000 --flows 400 --json""",
)
def relay(
    options: Listing,
    seconds: Annotated[str, _SECONDS] = "3s",
    pps: Annotated[str, _PPS] = "10000",
    flows: Annotated[str, _FLOWS] = "100",
    workers: Annotated[str, _WORKERS] = "1",
) -> ExitStatus:
    """Send packets through a relay on loopback and back, and show what that costs.

    Client and echo are Python and share the machine, so the processor time for each forwarded packet is the figure to
    compare; a relay carries more than they can send. Exits with 1 if a packet was lost or came to another client.
    """
    length = parsed("--seconds", seconds, duration_between(0.1, 3600))
    rate = parsed("--pps", pps, whole_number(1, 1_000_000))
    clients = parsed("--flows", flows, whole_number(1, 500))
    threads = parsed("--workers", workers, whole_number(1, 64))
    from rtcrelay.relay import loopback_bench

    try:
        result = loopback_bench.run(seconds=length, pps=rate, flows=clients, workers=threads)
    except OSError as error:
        raise BackendError(f"the bench cannot run on loopback: {error}") from error
    lost = result.sent - result.returned
    median, late, longest = result.delays_us
    row: dict[str, Any] = {
        "kind": "bench_relay",
        "v": 1,
        "sent": result.sent,
        "lost": lost,
        "misrouted": result.misrouted,
        "forwarded_pps": round(2 * result.returned / result.seconds),
        "cpu_ns": round(result.cpu_ns),
        "p50_us": round(median),
        "p99_us": round(late),
        "max_us": round(longest),
        "workers": result.workers,
    }
    show_rows([row], COLUMNS, options)
    if result.sent < 0.95 * rate * length:
        note(f"this machine sent {result.sent / result.seconds:.0f} packets a second and not {rate}", options)
    return ExitStatus.PROBLEM if lost or result.misrouted else ExitStatus.OK


@leaf(
    app,
    "ufrag",
    listing=True,
    examples="""
    rtcrelay bench ufrag
    rtcrelay bench ufrag --seconds 5s --json""",
)
def ufrag(options: Listing, seconds: Annotated[str, _SECONDS] = "1s") -> ExitStatus:
    """Make and read routing ufrags as signaling does, and show how many a second."""
    length = parsed("--seconds", seconds, duration_between(0.1, 3600))
    import time

    from rtcrelay._dataplane import KeyRing, Route, mint_ufrag, open_ufrag

    ring = KeyRing([(0, bytes(range(16)), "active")])
    route = Route("endpoint", 1, ip="192.0.2.1", port=7000)
    text = mint_ufrag(ring, route)
    rows = []
    for what, work in (("mint", lambda: mint_ufrag(ring, route)), ("open", lambda: open_ufrag(ring, text))):
        count, begin = 0, time.perf_counter()
        while (took := time.perf_counter() - begin) < length / 2:
            for _ in range(1000):
                work()
            count += 1000
        rows.append({"kind": "bench_ufrag", "v": 1, "what": what, "per_second": round(count / took)})
        rows[-1]["ns"] = round(1e9 * took / count)
    show_rows(rows, UFRAG_COLUMNS, options)
    return ExitStatus.OK
