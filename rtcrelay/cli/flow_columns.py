"""How paths look to people: columns, and what a narrow terminal leaves out first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtcrelay.cli.render import Column


def _hops(row: Mapping[str, Any]) -> str | None:
    return ",".join(map(_hop, row["claims"])) or None


def _hop(claim: Mapping[str, Any]) -> str:
    """The relay of another cluster with that cluster's id."""
    cluster = claim.get("cluster")
    return str(claim["next_hop"]) if cluster is None else f"{claim['next_hop']}@{cluster}"


def _leg(direction: str, field: str, digits: int) -> Any:
    def pick(row: Mapping[str, Any]) -> str | None:
        stream = row[direction]
        value = None if stream is None else stream[field]
        return None if value is None else f"{value:.{digits}f}"

    return pick


def _number(field: str, digits: int) -> Any:
    return lambda row: None if row[field] is None else f"{row[field]:.{digits}f}"


def _note(row: Mapping[str, Any]) -> str:
    return f"only-{row['one_way']}" if row["one_way"] else ""


SRC = Column("client", "SRC", unbroken=True)
DST = Column("next_hop", "DST", unbroken=True, pick=_hops)
STATE = Column("state", "STATE")
IDLE = Column("idle_s", "IDLE", right=True, pick=lambda row: f"{row['idle_s']:.1f}s")
PACKETS = (Column("packets_in", "PKTS>", right=True), Column("packets_out", "<PKTS", right=True))
BYTES = (Column("bytes_in", "BYTES>", right=True), Column("bytes_out", "<BYTES", right=True))
LOSS = (
    Column("from_client", "LOSS%>", right=True, pick=_leg("from_client", "loss_percent", 1)),
    Column("to_client", "<LOSS%", right=True, pick=_leg("to_client", "loss_percent", 1)),
)
REORDERED = (
    Column("from_client", "REORD>", right=True, pick=_leg("from_client", "reordered_packets", 0)),
    Column("to_client", "<REORD", right=True, pick=_leg("to_client", "reordered_packets", 0)),
)
JITTER = (
    Column("from_client", "JITTER>", right=True, pick=_leg("from_client", "jitter_ms", 1)),
    Column("to_client", "<JITTER", right=True, pick=_leg("to_client", "jitter_ms", 1)),
)
ROUND_TRIPS = (
    Column("client_round_trip_ms", "RTT-C", right=True, pick=_number("client_round_trip_ms", 1)),
    Column("transceiver_round_trip_ms", "RTT-T", right=True, pick=_number("transceiver_round_trip_ms", 1)),
)
NOTE = Column("one_way", "ONE-WAY", pick=_note)
AGE = Column("age_s", "AGE", right=True, pick=lambda row: f"{row['age_s']:.0f}s")
INGRESS = Column("ingress", "INGRESS", right=True)
RELAY = Column("relay", "RELAY", unbroken=True)

COLUMNS = (SRC, DST, STATE, IDLE, *PACKETS, *BYTES, *LOSS, *JITTER, *ROUND_TRIPS, NOTE)
"""Of a listing."""
WIDE = (*COLUMNS[:-1], *REORDERED, AGE, INGRESS, RELAY, NOTE)
"""With --wide."""
_LEAST: Sequence[Column] = (*BYTES, STATE, *JITTER, *ROUND_TRIPS, *PACKETS, IDLE, *LOSS)


def fitting(
    columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], width: int, least: Sequence[Column] = _LEAST
) -> list[Column]:
    """The columns that a terminal has room for, without those that matter least (``least``, the first first)."""
    needed = {c: max([len(c.title), *(len(c.cell(row)) for row in rows[:1000])]) + 2 for c in columns}
    left = list(columns)
    for column in least:
        if sum(needed[c] for c in left) - 2 <= width:
            break
        left = [c for c in left if c is not column]
    return left
