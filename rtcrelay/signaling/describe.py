"""What does an operator see of the world and of a decision? Plain values, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtcrelay.config.sites import Place
from rtcrelay.config.text import address, format_address
from rtcrelay.errors import PeerError
from rtcrelay.signaling.steer import Decision, TransceiverState, World


def describe_world(world: World) -> dict[str, object]:
    """``/v1/world``: what is not in the sites file."""
    return {
        "kind": "world",
        "v": 1,
        "transceivers": [
            {
                "cluster": cluster,
                "node": node.node,
                "address": format_address(node.address),
                "state": node.state,
                "sessions": node.sessions,
                "max_sessions": node.max_sessions,
            }
            for cluster, nodes in sorted(world.transceivers.items())
            for node in nodes
        ],
        "cordoned": sorted(world.cordoned),
        "unhealthy": sorted(world.unhealthy),
        "relayless": sorted(world.relayless),
    }


def read_world(content: Mapping[str, Any], world: World) -> World:
    """What `describe_world` wrote, on the sites of ``world``. Raises PeerError."""
    found: dict[int, list[TransceiverState]] = {site.cluster: [] for site in world.sites.clusters}
    try:
        for row in content["transceivers"]:
            where = address(concrete=True)(row["address"])
            node = TransceiverState(row["node"], where, row["state"], int(row["sessions"]), int(row["max_sessions"]))
            found.setdefault(int(row["cluster"]), []).append(node)
        nodes = {cluster: tuple(each) for cluster, each in found.items()}
        cordoned, unhealthy = frozenset(content["cordoned"]), frozenset(content["unhealthy"])
        return World(world.sites, nodes, cordoned, unhealthy, frozenset(content["relayless"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PeerError(f"signaling answered /v1/world in another form than expected: {error}") from error


def describe_decision(decision: Decision, place: Place | None, told: int) -> dict[str, object]:
    """What ``steer explain`` says. ``round_trip_ms`` and ``access_ms`` are estimates."""
    names = [ingress.name for ingress in decision.told(told)]
    return {
        "kind": "steer",
        "v": 1,
        "latitude": None if place is None else place.latitude,
        "longitude": None if place is None else place.longitude,
        "told": names,
        "ingresses": [
            {
                "name": ranked.ingress.name,
                "address": format_address(ranked.ingress.address),
                "region": ranked.ingress.region,
                "weight": ranked.ingress.weight,
                "access_ms": _rounded(ranked.access_ms),
                "told": ranked.ingress.name in names,
                "refusal": ranked.refusal,
            }
            for ranked in decision.ingresses
        ],
        "clusters": [
            {
                "cluster": ranked.site.cluster,
                "name": ranked.site.name,
                "region": ranked.site.region,
                "round_trip_ms": _rounded(ranked.round_trip_ms),
                "refusal": ranked.refusal,
            }
            for ranked in decision.clusters
        ],
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 2)
