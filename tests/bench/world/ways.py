"""The table: four ways to the same transceiver, in turn, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

from rtcrelay.lab.plan import TURN_USER
from rtcrelay.lab.roles import TURN_PASSWORD

from .bed import FAR, NEAR, Bed
from .callers import Times, Way, measure

Row = dict[str, Any]
SIGNALING_TRIPS = 2
"""TCP's handshake, and the request."""
ALLOWED_MS = 15.0
"""By which a median may be over what the links alone take: hosts and queues of a machine that others use too."""


def ways_of(bed: Bed) -> list[Way]:
    """All of them."""
    credentials = (TURN_USER, bed.text(TURN_PASSWORD))
    own, direct = bed.own_signaling, (bed.direct,)
    return [
        Way("a vip", "one distant VIP: a relay of the cluster", own, bed.token, (bed.vip(f"{FAR}-relay-1"),)),
        Way("b global", "Global Relay: near ingress, backbone", bed.front, bed.token, (bed.vip(f"{NEAR}-ingress"),)),
        Way("c turn far", "TURN: coturn beside the cluster", own, bed.token, direct, bed.vip(f"{FAR}-turn"),
            credentials),
        Way("c turn near", "TURN: coturn near the client, backbone", own, bed.token, direct, bed.vip(f"{NEAR}-turn"),
            credentials),
        Way("d direct", "direct host candidate of the transceiver", own, bed.token, direct),
    ]  # fmt: skip


async def table(bed: Bed, rounds: int, seconds: float, progress: Callable[[], None]) -> list[Row]:
    """A row for each way."""
    admin = bed.admin(bed.transceiver.name)

    async def row_of(ufrag: str) -> tuple[Row, float]:
        before = time.monotonic()
        rows = await admin.sessions()
        asked = (before + time.monotonic()) / 2
        (row,) = (row for row in rows if row["ufrag"] == ufrag)
        return row, asked - row["age_s"]

    ways = ways_of(bed)
    calls: dict[str, list[Times]] = {way.name: [] for way in ways}
    for way in ways:
        await measure(way, row_of, 0.2)  # the first one imports and fills caches
    for _ in range(rounds):
        for way in ways:
            calls[way.name].append(await measure(way, row_of, seconds))
            progress()
    return [_row(way, calls[way.name], bed) for way in ways]


def _row(way: Way, calls: list[Times], bed: Bed) -> Row:
    middle = {key: median(asdict(call)[key] for call in calls) for key in _MEDIANS}
    sent, received = sum(call.sent for call in calls), sum(call.received for call in calls)
    least = least_round_trip_ms(way, bed)
    turn = [name for name, _ in calls[0].turn_trips if name != "REFRESH"]
    after = median((call.heard_ms - call.check_answered_ms) / call.round_trip_p50_ms for call in calls)
    bind = [took for call in calls for name, took in call.turn_trips if name == "CHANNEL_BIND"]
    return {
        "way": way.name,
        "what": way.what,
        "calls": len(calls),
        "links_round_trip_ms": least,
        **middle,
        "check_ms": median(call.check_answered_ms - call.check_sent_ms for call in calls),
        "channel_bind_ms": median(bind) if bind else 0.0,
        "signaling_ms": median(call.answered_ms - call.allocated_ms for call in calls),
        "turn_requests": turn,
        "trips_to_hear": round(SIGNALING_TRIPS + len(turn) + 1 + after, 2),
        "trips_after_check": round(after, 2),
        "loss_to_server_percent": 100 * sum(call.lost_to_server for call in calls) / sent,
        "loss_to_client_percent": 100 * sum(call.lost_to_client for call in calls) / max(1, received),
        "jitter_to_server_ms": fmean(call.jitter_to_server_ms for call in calls),
        "jitter_to_client_ms": fmean(call.jitter_to_client_ms for call in calls),
        "each": [asdict(call) for call in calls],
    }


_MEDIANS = ("allocated_ms", "answered_ms", "check_answered_ms", "heard_ms", "spoken_ms", "round_trip_p50_ms",
            "round_trip_p99_ms")  # fmt: skip


def least_round_trip_ms(way: Way, bed: Bed) -> float:
    """What the links on the way take, with the mean of their jitter: an input."""
    public = {(link.begin, link.end): link for link in bed.plan.world.links.public}
    backbone = {frozenset((link.begin, link.end)): link for link in bed.plan.world.links.backbone}
    near_first = way.name in ("b global", "c turn near")
    first = public[NEAR, NEAR if near_first else FAR]
    legs = [first, backbone[frozenset((NEAR, FAR))]] if near_first else [first]
    return 2 * sum(leg.delay_ms + leg.jitter_ms for leg in legs)


def print_table(rows: list[Row]) -> None:
    """Medians of the calls."""
    columns: tuple[tuple[str, Callable[[Row], str]], ...] = (
        ("links", lambda row: f"{row['links_round_trip_ms']:.0f}"),
        ("TURN", lambda row: f"{row['allocated_ms'] + row['channel_bind_ms']:.0f}"),
        ("signaling", lambda row: f"{row['signaling_ms']:.0f}"),
        ("first check", lambda row: f"{row['check_ms'] - row['channel_bind_ms']:.0f}"),
        ("heard", lambda row: f"{row['heard_ms']:.0f}"),
        ("spoken", lambda row: f"{row['spoken_ms']:.0f}"),
        ("media p50/p99", lambda row: f"{row['round_trip_p50_ms']:.0f}/{row['round_trip_p99_ms']:.0f}"),
        ("jitter up/down", lambda row: f"{row['jitter_to_server_ms']:.1f}/{row['jitter_to_client_ms']:.1f}"),
        ("loss% up/down", lambda row: f"{row['loss_to_server_percent']:.2f}/{row['loss_to_client_percent']:.2f}"),
        ("trips", lambda row: f"{row['trips_to_hear']:.1f}"),
    )
    print(f"{'milliseconds':<44}" + "".join(f"{title:>16}" for title, _ in columns))
    for row in rows:
        print(f"{row['way']:<12}{row['what']:<32.32}" + "".join(f"{cell(row):>16}" for _, cell in columns))
    print(
        "links: round trip of the links on the way, an input. TURN: allocation and channel. heard, spoken: from the"
        " call's beginning\nto the server's first audio at the client, and the client's at the server. trips: TCP 1,"
        " HTTP 1, TURN's requests, check 1, and\nwhat passed from the check's answer until heard, in media round trips."
    )


def verdicts(rows: list[Row]) -> list[tuple[str, bool]]:
    """(what was aimed at and what came, whether it is so)."""
    by = {row["way"]: row for row in rows}
    check, links = by["b global"]["check_ms"], by["b global"]["links_round_trip_ms"]
    ours, direct = by["b global"]["trips_to_hear"], by["d direct"]["trips_to_hear"]
    found = [
        (f"the first check of b takes the near round trip and the backbone: {check:.1f} ms of {links:.0f} ms",
         check <= links + ALLOWED_MS),
        (f"set-up of b needs no more round trips than d: {ours:.1f} and {direct:.1f}", ours <= direct + 0.25),
    ]  # fmt: skip
    for name in ("c turn far", "c turn near"):
        theirs = by[name]["trips_to_hear"]
        found.append((f"and at least two fewer than {name}: {theirs:.1f}", ours <= theirs - 2))
    return found
