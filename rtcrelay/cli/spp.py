"""``rtcrelay spp``: read the header between relays and transceivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from rtcrelay._dataplane import SPP_HEADER, classify, unpack_spp
from rtcrelay.cli.app import new_group, report
from rtcrelay.cli.options import Listing, leaf
from rtcrelay.cli.packets import MESSAGES, READ, capture, messages, packet_fields, refuse_both, say_tally
from rtcrelay.cli.render import note
from rtcrelay.cli.stream import StreamColumn, stream_rows
from rtcrelay.debug.captures import CaptureTally, Packet
from rtcrelay.debug.stun_report import spp_fields
from rtcrelay.errors import DataError, ExitStatus

app = new_group()
# One command in a group would become the group itself.
app.callback()(lambda: None)

HEADERS = (
    StreamColumn("client", "CLIENT", width=21),
    StreamColumn("proxy", "PROXY", width=21),
    StreamColumn("ingress", "INGRESS", right=True, width=7),
    StreamColumn("payload", "PAYLOAD", width=8),
    StreamColumn("bytes", "BYTES", right=True, width=5),
)
PACKETS = (
    StreamColumn("frame", "FRAME", right=True, width=5),
    StreamColumn("source", "SOURCE", width=20),
    StreamColumn("destination", "DESTINATION", width=20),
    *HEADERS,
)


@leaf(
    app,
    "decode",
    listing=True,
    examples="""
    rtcrelay spp decode 56ec00000000000000000000ffffc633640700000000000000000000ffff0a000005c8220d97
    tcpdump -i any -U -w - udp port 3479 | rtcrelay spp decode -r - -o jsonl""",
)
def decode(
    options: Listing,
    words: Annotated[list[str] | None, MESSAGES] = None,
    read: Annotated[str | None, READ] = None,
) -> ExitStatus | None:
    """Read SPP headers (Simple Proxy Protocol, 38 bytes): whose packet it is, and which relay took it.

    The proxy is the relay's internal address, and its port the ingress id. A header without payload is an announce.
    Exits with 65 if a message has no SPP header; packets of a capture without one are counted.
    """
    refuse_both(words, read)
    if read is None:
        outcome: list[int] = []
        rows = list(_of_messages(words, outcome))
        if rows:
            stream_rows(rows, HEADERS, options)
        return ExitStatus(outcome[-1]) if outcome else None
    tally = CaptureTally()
    counts: Counter[str] = Counter()
    stream_rows(_of_capture(read, tally, counts), PACKETS, options)
    note(
        f"{counts['spp']} packets with SPP, {counts['announces']} of them announces; {counts['others']} without",
        options,
    )
    say_tally(tally, options)
    return None


def _of_messages(words: list[str] | None, outcome: list[int]) -> Iterator[dict[str, Any]]:
    for message in messages(words):
        row = _row(message, None)
        if row is None:
            error = DataError(f"not an SPP datagram: {_why_not(message)}")
            outcome.append(report(str(error), None, error.status))
        else:
            yield row


def _of_capture(name: str, tally: CaptureTally, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    for packet in capture(name, tally, fill=True):
        row = _row(packet.datagram, packet)
        counts["others" if row is None else "spp"] += 1
        if row is not None:
            counts["announces"] += row["payload"] == "announce"
            yield row


def _row(datagram: bytes, packet: Packet | None) -> dict[str, Any] | None:
    header = spp_fields(unpack_spp(datagram))
    if header is None:
        return None
    payload = datagram[SPP_HEADER:]
    what = (classify(payload) or "other") if payload else "announce"
    return {"kind": "spp", "v": 1, **header, "payload": what, "bytes": len(payload), **packet_fields(packet)}


def _why_not(datagram: bytes) -> str:
    if len(datagram) < SPP_HEADER:
        return f"{len(datagram)} bytes, and the header has {SPP_HEADER}"
    return f"it begins with 0x{datagram[:2].hex()}, expected 0x56ec"
