"""What does a routing ufrag say? One row for programs, one phrase for people; the same wherever a ufrag is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rtcrelay._dataplane import Route, UfragError, open_ufrag
from rtcrelay.config.text import format_address

if TYPE_CHECKING:
    from rtcrelay._dataplane import KeyRing

FORM_REASONS: Final = ("length", "alphabet", "version", "spare_bits")
"""Verdicts that say "not a routing ufrag at all"; the others mean forged, or made with a key that is not accepted."""

_EMPTY: Final = Route("node", 0, node=0)


def ufrag_row(ring: KeyRing, ufrag: str) -> dict[str, Any]:
    """Every field of a ufrag. ``verdict`` is ``ok`` or a reason of `UfragError`, with ``message`` then, and the fields
    that nobody can know are None."""
    try:
        return route_row(ufrag, open_ufrag(ring, ufrag))
    except UfragError as error:
        reason, sentence = error.args
        row = dict.fromkeys(route_row("", _EMPTY))
        return row | {"kind": "ufrag", "v": 1, "ufrag": ufrag[:64], "verdict": reason, "message": sentence}


def route_row(ufrag: str, route: Route) -> dict[str, Any]:
    """The fields of a ufrag that says this route."""
    return {
        "kind": "ufrag",
        "v": 1,
        "ufrag": ufrag,
        "verdict": "ok",
        "version": 0,
        "key_id": route.key_id,
        "route": route.kind,
        "cluster": route.cluster,
        "endpoint": None if route.ip is None else format_address((route.ip, route.port)),
        "node": route.node,
        "nonce": f"{route.nonce:06x}",
        "message": None,
    }


def username_row(ring: KeyRing, username: tuple[str, str]) -> dict[str, Any]:
    """The half of a USERNAME that is a routing ufrag: the receiver's in a client's check, the sender's in a server's.

    If neither is one, what is wrong with the receiver's.
    """
    row = ufrag_row(ring, username[0])
    if row["verdict"] in FORM_REASONS:
        other = ufrag_row(ring, username[1])
        if other["verdict"] not in FORM_REASONS:
            return other
    return row


def ufrag_phrase(row: dict[str, Any]) -> str:
    """A row of `ufrag_row` as a phrase, for example ``10.0.3.7:7000 (key 2, cluster 7)``."""
    if row["verdict"] in FORM_REASONS:
        return "no routing ufrag"
    if row["verdict"] != "ok":
        return f"does not open: {row['message']}"
    what = row["endpoint"] or f"node {row['node']}"
    kind = {"session": "session of ", "probe_endpoint": "probe of ", "probe_node": "probe of "}.get(row["route"], "")
    return f"{kind}{what} (key {row['key_id']}, cluster {row['cluster']})"
