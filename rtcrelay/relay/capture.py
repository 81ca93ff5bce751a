"""``GET /v1/capture``: copies of the packets of chosen flows, for as long as somebody reads.

The answer is a line of JSON about the relay, and then pieces: bytes that follow (4), packets lost since the start (8),
both big-endian, and records as `_dataplane.Capture.take` gives them. A piece without records is a sign of life.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from rtcrelay._dataplane import DROP_REASONS, MAX_PAYLOAD, Capture
from rtcrelay.config.text import format_address, parse_network_ports, whole_number

if TYPE_CHECKING:
    from rtcrelay.config import Address
    from rtcrelay.relay.control import Control

PIECE: Final = struct.Struct("!IQ")
"""What stands in front of a piece."""
POLL_SECONDS: Final = 0.05
"""Between two looks at an empty ring; at 4 MiB it takes 80 MB/s to overflow meanwhile."""
BEAT_SECONDS: Final = 2.0
"""After so long without packets a piece without records tells the reader that the relay lives."""


class Captures:
    """Everyone who captures."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._is_over = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serves one reader until it goes or the relay ends. 400: what is to be captured makes no sense; 503: too many
        captures run."""
        try:
            capture = start_capture(self._control, request.query)
        except ValueError as error:
            return _refusal(400, error)
        except RuntimeError as error:
            return _refusal(503, error)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        try:
            await response.prepare(request)
            await response.write(msgspec.json.encode(self._head()) + b"\n")
            await self._feed(request, response, capture)
        except ConnectionResetError:
            pass
        finally:
            capture.stop()
        return response

    async def end(self, _: web.Application) -> None:
        """Has every capture end."""
        self._is_over = True

    async def _feed(self, request: web.Request, response: web.StreamResponse, capture: Capture) -> None:
        spoken_at = time.monotonic()
        while not self._is_over and request.transport is not None and not request.transport.is_closing():
            records, lost = capture.take()
            if records or time.monotonic() - spoken_at >= BEAT_SECONDS:
                await response.write(PIECE.pack(len(records), lost) + records)
                spoken_at = time.monotonic()
            if not records:
                await asyncio.sleep(POLL_SECONDS)

    def _head(self) -> dict[str, Any]:
        listeners = [
            {"public": format_address(public), "internal": format_address(internal)}
            for public, internal in self._control.relay.listeners()
        ]
        name = self._control.name
        return {"kind": "capture", "v": 1, "relay": name, "listeners": listeners, "drop_reasons": list(DROP_REASONS)}


def start_capture(control: Control, query: Any) -> Capture:
    """Starts what a query asks for: ``src``, ``node`` and ``ufrag``, each any number of times, or ``all``; ``full``
    and ``snaplen``. Raises ValueError with a sentence, and RuntimeError if too many captures run."""
    unknown = set(query) - {"src", "node", "ufrag", "all", "full", "snaplen"}
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]!r} is no filter of captures")
    return Capture(
        control.relay,
        clients=[_network("src", word) for word in query.getall("src", ())],
        nodes=nodes_of(query.getall("node", ()), control.settings.nodes or {}),
        ufrags=query.getall("ufrag", ()),
        everything=query.get("all") == "1",
        full=query.get("full") == "1",
        snap_bytes=whole_number(0, MAX_PAYLOAD)(query.get("snaplen", str(MAX_PAYLOAD))),
    )


def nodes_of(words: Sequence[str], table: Mapping[int, Address]) -> list[str]:
    """Networks of what a node may be given as: a node id of the table, or an address. Raises ValueError."""
    networks = []
    for word in words:
        if word.isascii() and word.isdecimal():
            if (where := table.get(int(word))) is None:
                raise ValueError(f"node {word} is not in the node table of this relay")
            networks.append(format_address(where))
        else:
            networks.append(_network("node", word))
    return networks


def _network(name: str, word: str) -> str:
    try:
        return parse_network_ports(word)
    except ValueError as error:
        raise ValueError(f"{name}: {word!r} {error}") from None


def _refusal(status: int, error: Exception) -> web.Response:
    body = msgspec.json.encode({"error": str(error)}) + b"\n"
    return web.Response(status=status, body=body, content_type="application/json")
