"""From what was sent and what arrived: gaps and losses, each way, flow by flow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rtcrelay._dataplane import SPP_HEADER

from .flows import Flows, numbers


@dataclass
class Way:
    """One direction of one or many trials."""

    gaps_ms: list[float] = field(default_factory=list)
    """Per flow: the longest time from when a packet was due until one came."""
    beyond_ms: list[float] = field(default_factory=list)
    """Per flow: from when a relay forwarded again until a packet came."""
    lost: int = 0
    """Packets that never came."""
    lost_beyond: int = 0
    """Those of them that were sent after a relay forwarded again."""
    silent: int = 0
    """Flows that had not come back at the end."""

    def add(self, other: Way) -> None:
        """Takes another trial's figures in."""
        self.gaps_ms += other.gaps_ms
        self.beyond_ms += other.beyond_ms
        self.lost += other.lost
        self.lost_beyond += other.lost_beyond
        self.silent += other.silent

    def summary(self) -> dict[str, Any]:
        """For the table and for programs."""
        return {
            "gap_ms": quantiles(self.gaps_ms),
            "beyond_start_ms": quantiles(self.beyond_ms) if self.beyond_ms else None,
            "lost": self.lost,
            "lost_beyond_start": self.lost_beyond if self.beyond_ms else None,
            "silent_flows": self.silent,
        }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and maximum; of no values NaN."""
    if not values:
        return dict.fromkeys(("p50", "p95", "max"), float("nan"))
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, round(last * part))], 1)
        for name, part in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
    }


def measure(flows: Flows, forwards_at: float | None) -> tuple[Way, Way]:
    """The trial that the flows have on record: from clients to the transceiver, and back. ``forwards_at`` is when a
    relay forwarded again, None if none was away."""
    up_sent = [(at, flow, number) for at, first, last, number in flows.up.sent for flow in range(first, last)]
    down_sent = (
        numbers(flows.down.echoed, SPP_HEADER)
        if flows.echo
        else [(at, flow, number) for at, first, last, number in flows.down.sent for flow in range(first, last)]
    )
    return (
        way_of(up_sent, numbers(flows.up.arrived, SPP_HEADER), flows.spacing, forwards_at, False),
        way_of(down_sent, numbers(flows.down.arrived, 0), flows.spacing, forwards_at, flows.echo),
    )


def way_of(
    sent: Iterable[tuple[float, int, int]],
    arrived: Iterable[tuple[float, int, int]],
    spacing: float,
    forwards_at: float | None,
    echo: bool,
) -> Way:
    """One trial's figures of one direction. Packets are (time in seconds, flow, number); ``spacing`` is how far apart
    they usually are, and with ``echo`` they are sent only when one comes."""
    way = Way()
    sent_at: dict[int, dict[int, float]] = {}
    came: dict[int, list[tuple[float, int]]] = {}
    for at, flow, number in sent:
        sent_at.setdefault(flow, {})[number] = at
    for at, flow, number in arrived:
        came.setdefault(flow, []).append((at, number))
    for flow in sent_at.keys() | came.keys():
        sending, coming = sent_at.get(flow, {}), came.get(flow, [])
        _count_losses(way, sending, coming, forwards_at)
        way.gaps_ms.append(1000 * _longest_gap(sending, coming, spacing, echo))
        if forwards_at is not None:
            first = next((at for at, _ in coming if at >= forwards_at), None)
            if first is None:
                way.silent += 1
            else:
                way.beyond_ms.append(1000 * (first - forwards_at))
    return way


def _count_losses(
    way: Way, sending: dict[int, float], coming: Sequence[tuple[float, int]], forwards_at: float | None
) -> None:
    lost = sending.keys() - {number for _, number in coming}
    way.lost += len(lost)
    if forwards_at is not None:
        way.lost_beyond += sum(sending[number] > forwards_at for number in lost)


def _longest_gap(sending: dict[int, float], coming: Sequence[tuple[float, int]], spacing: float, echo: bool) -> float:
    """A packet is due one sending interval after the one before it came; an echo, whatever made it, the usual one."""
    longest = 0.0
    for (before, number), (at, _) in pairwise(coming):
        following = None if echo else sending.get(number + 1)
        interval = spacing if following is None or number not in sending else following - sending[number]
        longest = max(longest, at - before - interval)
    return longest
