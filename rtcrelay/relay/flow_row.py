"""One path of the table as the admin interface shows it. Units are in the names; null is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from rtcrelay.config.text import format_address

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, Flow, Stream

ONE_WAY_PACKETS: Final = 20
"""Packets one way, none the other: fewer may be a check that nobody has answered yet."""
ONE_WAY_SECONDS: Final = 3.0
"""And the path is that old: chosen, a call is set up by then."""
ONE_WAY_RTP_PACKETS: Final = 100
"""RTP one way, none the other, for 2 s of 20 ms frames."""


STATES: Final = ("strong", "weak", "pending")
"""A path's state is its surest claim's, or ``none``."""


class ClaimRow(msgspec.Struct, gc=False):
    """One next hop's claim; ``cluster`` is the one whose relay that is, null for a transceiver."""

    next_hop: str
    cluster: int | None
    state: str
    key_id: int | None
    idle_s: float


class StreamRow(msgspec.Struct, gc=False):
    """One direction's RTP as it reached the relay."""

    packets: int
    expected_packets: int
    lost_packets: int
    loss_percent: float | None
    reordered_packets: int
    jitter_ms: float | None


class FlowRow(msgspec.Struct, gc=False):
    """One path. Structs are made and written three times as fast as dictionaries."""

    kind: str
    v: int
    client: str
    ingress: int
    relay: str
    state: str
    claims: list[ClaimRow]
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    age_s: float
    idle_s: float
    from_client: StreamRow | None
    to_client: StreamRow | None
    transceiver_round_trip_ms: float | None
    client_round_trip_ms: float | None
    one_way: str | None


def flow_row(flow: Flow, relay: str, clusters: Mapping[Address, int]) -> FlowRow:
    """The path as a JSON object; ``relay`` is the relay's own name, ``clusters`` says whose relay a next hop is."""
    claims = [
        ClaimRow(
            format_address(claim.next_hop),
            clusters.get(claim.next_hop),
            claim.state,
            claim.key_id,
            round(claim.idle_seconds, 3),
        )
        for claim in flow.claims
    ]
    from_client, to_client = flow.from_client, flow.to_client
    return FlowRow(
        "flow",
        1,
        format_address(flow.client),
        flow.ingress,
        relay,
        claims[0].state if len(claims) == 1 else _state(claims),
        claims,
        flow.packets_in,
        flow.bytes_in,
        flow.packets_out,
        flow.bytes_out,
        round(flow.age_seconds, 3),
        round(flow.idle_seconds, 3),
        None if from_client is None else _stream(from_client),
        None if to_client is None else _stream(to_client),
        _milliseconds(flow.transceiver_round_trip_seconds),
        _milliseconds(flow.client_round_trip_seconds),
        _one_way(flow, from_client, to_client),
    )


def _state(claims: list[ClaimRow]) -> str:
    states = {claim.state for claim in claims}
    return next((state for state in STATES if state in states), "none")


def _stream(stream: Stream) -> StreamRow:
    packets, expected = stream.packets, stream.expected
    # A repeated packet counts twice, so that there may be more than were expected.
    lost = max(0, expected - packets)
    percent = round(100 * lost / expected, 2) if expected else None
    return StreamRow(packets, expected, lost, percent, stream.reordered, _milliseconds(stream.jitter_seconds))


def one_way(flow: Flow) -> str | None:
    """From where alone something comes: ``client`` or ``transceiver``; None if from both, or too early to say."""
    return _one_way(flow, flow.from_client, flow.to_client)


def _one_way(flow: Flow, from_client: Stream | None, to_client: Stream | None) -> str | None:
    there, back = flow.packets_in, flow.packets_out
    if (there and back and from_client is to_client) or flow.age_seconds < ONE_WAY_SECONDS:
        return None  # the first: both are None
    for side, this, other_way in (("client", there, back), ("transceiver", back, there)):
        if this >= ONE_WAY_PACKETS and other_way == 0:
            return side
    for side, stream, other in (("client", from_client, to_client), ("transceiver", to_client, from_client)):
        if other is None and stream is not None and stream.packets >= ONE_WAY_RTP_PACKETS:
            return side
    return None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
