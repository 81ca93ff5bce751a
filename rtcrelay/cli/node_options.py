"""What the commands of ``rtcrelay nodes`` share: the group, columns, and a heartbeat as a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from rtcrelay.cli.app import new_group
from rtcrelay.cli.redis_access import node_names
from rtcrelay.cli.render import Column
from rtcrelay.config.text import format_duration

if TYPE_CHECKING:
    from rtcrelay.store.node_entry import Heartbeat

app = new_group()

NAMES = typer.Argument(metavar="NODE", autocompletion=node_names, help="Names, as 'rtcrelay nodes list' has them.")
CLUSTER = typer.Option("--cluster", metavar="ID", help="Cluster of the node, if several have one of the name.")

_LOAD = Column("load", "LOAD", right=True, pick=lambda row: f"{100 * row['load']:.0f}%")
_AGE = Column("age_s", "AGE", right=True, pick=lambda row: format_duration(max(0, round(row["age_s"]))))
COLUMNS = (
    Column("node", "NODE", unbroken=True),
    Column("role", "ROLE"),
    Column("cluster", "CLUSTER", right=True),
    Column("address", "ADDR", unbroken=True),
    Column("used", "SESSIONS/FLOWS", right=True),
    _LOAD,
    Column("state", "STATE"),
    _AGE,
)
"""Of a listing."""
WIDE = (
    *COLUMNS,
    Column("seen_s", "SEEN", right=True, pick=lambda row: f"{max(0.0, row['seen_s']):.0f}s"),
    Column("cpu", "CPU", right=True, pick=lambda row: f"{100 * row['cpu']:.0f}%"),
    Column("lag_ms", "LAG", right=True, pick=lambda row: None if row["lag_ms"] is None else f"{row['lag_ms']:.0f}ms"),
    Column("max", "MAX", right=True),
    Column("http", "HTTP", unbroken=True),
    Column("node_id", "ID", right=True),
    Column("keys", "KEYS", pick=lambda row: _keys(row)),
    Column("ingresses", "INGRESSES", pick=lambda row: _ingresses(row)),
    Column("version", "VERSION"),
    Column("host", "HOST"),
    Column("pid", "PID", right=True),
)
"""With --wide, and of one node."""


def row_of(node: Heartbeat, now_ms: int) -> dict[str, Any]:
    """A heartbeat as the renderers take it."""
    load, process = node.load, node.process
    return {
        "kind": "node",
        "v": 1,
        "node": node.node,
        "role": node.role,
        "cluster": node.cluster,
        "address": node.address,
        "state": node.state,
        "used": load.used,
        "max": load.max,
        "load": round(load.used / load.max, 4) if load.max else 0.0,
        "cpu": load.cpu,
        "lag_ms": load.lag_ms,
        "age_s": round((now_ms - process.started_ms) / 1000, 3),
        "seen_s": round((now_ms - node.beat_ms) / 1000, 3),
        "http": node.http,
        "node_id": node.node_id,
        "ingresses": [{"id": i.id, "public": i.public, "internal": i.internal} for i in node.ingresses],
        "keys": [{"id": key.id, "state": key.state, "fingerprint": key.fingerprint} for key in node.keys],
        "version": process.version,
        "host": process.host,
        "pid": process.pid,
        "instance": process.instance,
    }


def _keys(row: Mapping[str, Any]) -> str | None:
    return ",".join(f"{key['id']}:{key['fingerprint']}({key['state']})" for key in row["keys"]) or None


def _ingresses(row: Mapping[str, Any]) -> str | None:
    return ",".join(f"{ingress['id']}={ingress['public']}" for ingress in row["ingresses"]) or None
