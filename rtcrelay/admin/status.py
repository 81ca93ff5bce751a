"""How do the services of this machine fare? One row for each admin socket, of relays and transceivers alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rtcrelay.admin.client import AdminClient
from rtcrelay.errors import PeerError, RtcrelayError

Row = Mapping[str, Any]


def statuses(sockets: Iterable[Path]) -> tuple[list[Row], list[RtcrelayError]]:
    """(a row for each service that answers, what went wrong with the others)."""
    rows, errors = [], []
    for socket in sockets:
        try:
            rows.append(status_of(AdminClient(socket)))
        except RtcrelayError as error:
            errors.append(error)
    return rows, errors


def status_of(admin: AdminClient) -> Row:
    """One service's row.

    ``state``: ``ready``, ``draining``, ``unready`` or ``unhealthy`` (it ought to be restarted), with ``reason`` in
    the service's words. ``flows`` of a relay, ``sessions`` of a transceiver, the other one null. Raises BackendError
    and PeerError.
    """
    health, health_text = admin.ask("/healthz")
    ready, ready_text = admin.ask("/readyz")
    stats = admin.read("/v1/stats")
    try:
        gauges = stats["gauges"]
        return {
            "kind": "status",
            "v": 1,
            "role": stats["role"],
            "node": stats.get("node"),
            "state": _state(health == 200, ready == 200, bool(stats.get("is_draining"))),
            "reason": None if ready == 200 else (health_text if health != 200 else ready_text).strip(),
            "version": stats.get("version"),
            "pid": stats["pid"],
            "uptime_s": stats["uptime_s"],
            "cluster": stats["cluster"],
            "flows": gauges.get("flows"),
            "sessions": gauges.get("sessions"),
            "dropped_packets": sum(stats["drops"].values()),
            "socket": str(admin.socket),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise PeerError(f"{admin.socket} answered /v1/stats in another form than expected: {error}") from error


def load_of(row: Row) -> int:
    """What a draining service waits for: a relay's flows, a transceiver's sessions."""
    return int(row["flows"] or 0) + int(row["sessions"] or 0)


def _state(healthy: bool, ready: bool, draining: bool) -> str:
    if not healthy:
        return "unhealthy"
    return "ready" if ready else "draining" if draining else "unready"
