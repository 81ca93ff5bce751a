"""``rtcrelay routes stats``: how many routes there are, where they lead, and how Redis fares."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rtcrelay.cli.options import Flags, Listing, leaf
from rtcrelay.cli.redis_access import SETTINGS, with_store
from rtcrelay.cli.render import Column, show_rows
from rtcrelay.cli.route_options import Asked, app, open_listing

if TYPE_CHECKING:
    from rtcrelay.store.redis_store import RedisStore

_COLUMNS = (Column("group", "GROUP"), Column("name", "NAME"), Column("count", "COUNT", right=True))
_SERVER = ("used_memory", "maxmemory", "evicted_keys", "expired_keys", "connected_clients")
_TTL_BOUNDS = (15, 30, 60, 120, 300)


@leaf(
    app,
    "stats",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay routes stats
    rtcrelay routes stats --json | jq '.[] | select(.group == "next_hop")'""",
)
def stats(options: Listing, flags: Flags) -> None:
    """Count the routes by cluster, ingress, next hop, relay and time left, and show the server's own numbers.

    "malformed" are entries that no relay believes; "overdue" are routes that Redis keeps although their time is over.
    """
    counts = with_store(flags, options.config, _count)
    rows = [
        {"kind": "count", "v": 1, "group": group, "name": name, "count": count}
        for (group, name), count in counts.items()
    ]
    show_rows(rows, _COLUMNS, options)


async def _count(store: RedisStore) -> dict[tuple[str, str], int]:
    asked = Asked()
    routes = await open_listing(store, asked, asked.filter())
    total, overdue, found = 0, 0, Counter[tuple[str, str]]()
    left = Counter[int]()
    async for page in routes.pages(store):
        total += len(page)
        overdue += sum(row.ttl_s < 0 for row in page)
        found.update(("cluster", str(row.cluster)) for row in page)
        found.update(("ingress", str(row.ingress)) for row in page)
        found.update(("next_hop", row.next_hop) for row in page)
        found.update(("relay", row.relay) for row in page)
        left.update(next((bound for bound in _TTL_BOUNDS if row.ttl_s < bound), 0) for row in page)
    counts = {
        ("routes", "total"): total,
        ("routes", "malformed"): routes.reader.malformed_count,
        ("routes", "overdue"): overdue,
    }
    counts |= dict(sorted(found.items(), key=lambda item: (item[0][0], -item[1], item[0][1])))
    names = [*((bound, f"under {bound}s") for bound in _TTL_BOUNDS), (0, f"{_TTL_BOUNDS[-1]}s and more")]
    counts |= {("ttl", name): left[bound] for bound, name in names if left[bound]}
    return counts | {("server", name): value for name, value in (await _server(store)).items()}


async def _server(store: RedisStore) -> dict[str, int]:
    """The server's numbers; none of a cluster, whose servers have each their own, or if it may not be asked."""
    if store.is_cluster:
        return {}
    info: Any
    (info,) = await store.run(("INFO",))
    if not isinstance(info, dict):
        return {}
    return {name: int(info[name]) for name in _SERVER if isinstance(info.get(name), int | float)}
