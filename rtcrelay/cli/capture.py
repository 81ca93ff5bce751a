"""``rtcrelay capture``: the packets of chosen flows, from running relays, as a capture file."""

from __future__ import annotations

import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Annotated, TypeAlias

import typer

from rtcrelay.admin.client import AdminClient
from rtcrelay.cli.app import new_group
from rtcrelay.cli.flow_options import ADMIN, relays, report_all
from rtcrelay.cli.options import Common, leaf, parsed, whole
from rtcrelay.cli.render import note
from rtcrelay.config.text import parse_network_ports
from rtcrelay.errors import BackendError, ExitStatus, RtcrelayError, UsageError

if TYPE_CHECKING:
    from rtcrelay.admin.capture import Origin, Piece, Wanted

app = new_group()

_Heard: TypeAlias = "tuple[Origin, Piece | None] | RtcrelayError"
"""A relay's first word and then its packets, or its end."""
_MAX_SECONDS = 86_400

_UFRAG = typer.Option(
    "--ufrag", metavar="UFRAG", help="Flows of this session's ufrag; SERVER:CLIENT will do. Repeatable: any of them."
)
_SRC = typer.Option("--src", metavar="ADDR", help="Flows of clients: IP, CIDR or IP:PORT. Repeatable: any of them.")
_NODE = typer.Option(
    "--node", metavar="ADDR|ID", help="Flows of next hops: IP, CIDR, IP:PORT or node id. Repeatable: any of them."
)
_ALL = typer.Option("--all", help="All flows of the relay.")
_WRITE = typer.Option("-w", "--write", metavar="FILE", help="Where to write pcapng; - is stdout.")
_COUNT = typer.Option("-n", "--count", metavar="N", help="End after so many packets.")
_SECONDS = typer.Option("--seconds", metavar="S", help="End after so many seconds, 1 to 86400.")
_FULL = typer.Option("--full", help="Keep packets whole, also (encrypted) speech and data channels.")
_SNAP = typer.Option("-s", "--snaplen", metavar="BYTES", help="Bytes of a payload at most, 0 to 1500.")


@leaf(
    app,
    "capture",
    examples="""
    rtcrelay capture --src 198.51.100.7 -w caller.pcapng
    rtcrelay capture --ufrag cqb3vwh2a6nvrt5sgfkxpq7ztme --seconds 30 -w call.pcapng
    rtcrelay capture --node 10.0.3.7:7000 -n 1000 -w - | tshark -r -
    rtcrelay explain -r caller.pcapng --config relay.toml --dropped""",
)
def capture(
    common: Common,
    admin: Annotated[list[str] | None, ADMIN] = None,
    ufrag: Annotated[list[str] | None, _UFRAG] = None,
    src: Annotated[list[str] | None, _SRC] = None,
    node: Annotated[list[str] | None, _NODE] = None,
    everything: Annotated[bool, _ALL] = False,
    write: Annotated[str | None, _WRITE] = None,
    count: Annotated[str | None, _COUNT] = None,
    seconds: Annotated[str | None, _SECONDS] = None,
    full: Annotated[bool, _FULL] = False,
    snaplen: Annotated[str | None, _SNAP] = None,
) -> ExitStatus | None:
    """Capture both legs of chosen flows in running relays, until Ctrl-C, -n or --seconds.

    The client leg is UDP between client and VIP, the internal leg SPP as it was on the wire, each an interface of its
    own; a packet that was dropped carries a comment with the reason. Of media and data channels only the headers are
    kept, unless --full. Packets that a relay has no room for are counted. Needs no privilege but the admin socket; the
    file is readable by its owner only. Exits with 69 if a relay cannot be reached or ends.
    """
    from rtcrelay.debug.live_capture import LiveCapture

    wanted = _wanted(src, node, ufrag, everything)
    wanted = replace(wanted, full=full, snap_bytes=None if snaplen is None else whole("--snaplen", snaplen, 0, 1500))
    if write is None:
        raise UsageError("expected -w FILE, where to write", hint="-w - | tshark -r -")
    most = sys.maxsize if count is None else whole("--count", count, 1, sys.maxsize)
    limit = None if seconds is None else whole("--seconds", seconds, 1, _MAX_SECONDS)
    services = relays(admin, common.config)
    heard: queue.Queue[_Heard] = queue.Queue(64)
    for service in services:
        threading.Thread(target=_listen, args=(service, wanted, heard), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    errors: list[RtcrelayError] = []
    with _output(write) as stream:
        live, begun = LiveCapture(stream), 0
        try:
            for origin, piece in _packets(heard, len(services), limit, errors):
                if piece is not None:
                    live.write(origin, piece, most - live.summary.packets)
                else:
                    live.begin(origin)
                    begun += 1
                    if begun == len(services):
                        note(f"capturing from {begun} relays" if begun > 1 else "capturing", common)
                if live.summary.packets >= most:
                    break
        except KeyboardInterrupt:
            pass
        if begun:
            note(live.summary.sentence(), common)
    return report_all(errors)


def _wanted(
    src: Sequence[str] | None, node: Sequence[str] | None, ufrag: Sequence[str] | None, everything: bool
) -> Wanted:
    from rtcrelay.admin.capture import Wanted

    if everything and (src or node or ufrag):
        raise UsageError("--all and --src, --node, --ufrag exclude each other")
    if not (everything or src or node or ufrag):
        raise UsageError("expected --ufrag, --src or --node, or --all for every flow")
    return Wanted(
        [parsed("--src", word, parse_network_ports) for word in src or ()],
        [word if word.isdecimal() else parsed("--node", word, parse_network_ports) for word in node or ()],
        [parsed("--ufrag", word, _parse_ufrag) for word in ufrag or ()],
        everything,
    )


def _parse_ufrag(text: str) -> str:
    server = text.partition(":")[0]
    if not re.fullmatch("[a-z2-7]{27}", server):
        raise ValueError("is not a routing ufrag, expected 27 of the characters a to z and 2 to 7")
    return server


def _listen(service: AdminClient, wanted: Wanted, heard: queue.Queue[_Heard]) -> None:
    from rtcrelay.admin.capture import Origin, read_capture

    origin = None
    try:
        for part in read_capture(service, wanted):
            if isinstance(part, Origin):
                origin = part
                heard.put((origin, None))
            elif origin is not None:
                heard.put((origin, part))
        heard.put(RtcrelayError("a relay has ended", status=ExitStatus.UNAVAILABLE))
    except RtcrelayError as error:
        heard.put(error)


def _packets(
    heard: queue.Queue[_Heard], listening: int, limit: int | None, errors: list[RtcrelayError]
) -> Iterator[tuple[Origin, Piece | None]]:
    """What relays tell until all have ended or the time is over."""
    end = None if limit is None else time.monotonic() + limit
    while listening:
        try:
            word = heard.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
        except queue.Empty:
            return
        if isinstance(word, RtcrelayError):
            errors.append(word)
            listening -= 1
        else:
            yield word


@contextmanager
def _output(name: str) -> Iterator[IO[bytes]]:
    """The file, which only its owner may read: it has addresses of people. ``-`` is stdout."""
    if name == "-":
        if sys.stdout.isatty():
            raise UsageError("-w - writes bytes to stdout, which is a terminal", hint="-w - | tshark -r -")
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise BackendError(f"cannot write {name}: {reason}", status=ExitStatus.IO) from error
    with open(descriptor, "wb") as stream:
        yield stream
