"""What the commands of ``rtcrelay routes`` share: filters, columns, and the way through Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import parsed, whole
from rtcrelay.cli.redis_access import node_names
from rtcrelay.cli.stream import StreamColumn
from rtcrelay.config.text import parse_duration, parse_ip
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay.store.directory import Nodes
    from rtcrelay.store.redis_store import RedisStore
    from rtcrelay.store.route_filter import RouteFilter
    from rtcrelay.store.route_rows import RouteReader, RouteRow

app = new_group()

_SRC = typer.Option("--src", metavar="ADDR", help="Clients: IP, CIDR or IP:PORT. Repeatable: any of them.")
_DST = typer.Option("--dst", metavar="ADDR", help="Next hops: IP, CIDR or IP:PORT. Repeatable: any of them.")
_NODE = typer.Option(
    "--node",
    metavar="NAME",
    autocompletion=node_names,
    help="Transceivers that are alive, by name. Repeatable: any of them.",
)
_CLUSTER = typer.Option("--cluster", metavar="ID", help="Clusters, 0 to 65535. Repeatable: any of them.")
_RELAY = typer.Option(
    "--relay", metavar="ADDR", help="Relays that wrote the route: IP, CIDR or IP:PORT. Repeatable: any of them."
)
_INGRESS = typer.Option("--ingress", metavar="ID", help="Ingress ids, 1 to 65535. Repeatable: any of them.")
_AGE_ABOVE = typer.Option("--age-above", metavar="DURATION", help="Written longer ago.")
_AGE_BELOW = typer.Option("--age-below", metavar="DURATION", help="Written later.")
_TTL_BELOW = typer.Option("--ttl-below", metavar="DURATION", help="Ends sooner.")

Src: TypeAlias = Annotated[list[str] | None, _SRC]
Dst: TypeAlias = Annotated[list[str] | None, _DST]
Node: TypeAlias = Annotated[list[str] | None, _NODE]
Cluster: TypeAlias = Annotated[list[str] | None, _CLUSTER]
Relay: TypeAlias = Annotated[list[str] | None, _RELAY]
Ingress: TypeAlias = Annotated[list[str] | None, _INGRESS]
AgeAbove: TypeAlias = Annotated[str | None, _AGE_ABOVE]
AgeBelow: TypeAlias = Annotated[str | None, _AGE_BELOW]
TtlBelow: TypeAlias = Annotated[str | None, _TTL_BELOW]


def _seconds(field: str) -> Any:
    return lambda row: None if row.get(field) is None else f"{row[field]:.0f}s"


COLUMNS = (
    StreamColumn("client", "SRC", unbroken=True, width=21),
    StreamColumn("next_hop", "DST", unbroken=True, width=15),
    StreamColumn("node", "NODE", width=8),
    StreamColumn("cluster", "CLUSTER", right=True, width=7),
    StreamColumn("ingress", "INGRESS", right=True, width=7),
    StreamColumn("relay", "RELAY", unbroken=True, width=15),
    StreamColumn("age_s", "AGE", right=True, pick=_seconds("age_s"), width=5),
    StreamColumn("ttl_s", "TTL", right=True, pick=_seconds("ttl_s"), width=5),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The filter options as they were given."""

    src: Sequence[str] | None = None
    dst: Sequence[str] | None = None
    node: Sequence[str] | None = None
    cluster: Sequence[str] | None = None
    relay: Sequence[str] | None = None
    ingress: Sequence[str] | None = None
    age_above: str | None = None
    age_below: str | None = None
    ttl_below: str | None = None

    def filter(self) -> RouteFilter:
        """What they mean, but for nodes, which Redis knows. Raises UsageError."""
        from rtcrelay.admin.flows import parse_matcher
        from rtcrelay.store.route_filter import RouteFilter

        return RouteFilter(
            sources=tuple(parsed("--src", word, parse_matcher) for word in self.src or ()),
            destinations=tuple(parsed("--dst", word, parse_matcher) for word in self.dst or ()),
            clusters=tuple(whole("--cluster", word, 0, 65_535) for word in self.cluster or ()),
            relays=tuple(parsed("--relay", word, parse_matcher) for word in self.relay or ()),
            ingresses=tuple(whole("--ingress", word, 1, 65_535) for word in self.ingress or ()),
            age_above_seconds=_duration("--age-above", self.age_above),
            age_below_seconds=_duration("--age-below", self.age_below),
            ttl_below_seconds=_duration("--ttl-below", self.ttl_below),
            exact=exact_client(self.src[0]) if self.src is not None and len(self.src) == 1 else None,
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """Routes that are being read."""

    wanted: RouteFilter
    reader: RouteReader

    async def pages(self, store: RedisStore) -> AsyncIterator[list[RouteRow]]:
        """Those that are meant, page by page. Raises BackendError."""
        async for page in store.entries(self.wanted.pattern):
            rows = self.reader.read(page)
            yield [row for row in rows if self.wanted.takes(row)] if self.wanted else rows


async def open_listing(store: RedisStore, asked: Asked, wanted: RouteFilter) -> Listing:
    """Prepares to read routes; reads which nodes there are. Raises UsageError for a node that is not alive."""
    import dataclasses

    from rtcrelay.store.directory import now_ms, read_nodes
    from rtcrelay.store.route_rows import RouteReader

    nodes = await read_nodes(store)
    if asked.node:
        wanted = dataclasses.replace(wanted, nodes=tuple(_place(nodes, name) for name in asked.node))
    names = {(node.cluster_id, node.media): node.node for node in nodes.found if node.media is not None}
    return Listing(wanted, RouteReader(names, now_ms()))


def exact_client(text: str) -> tuple[str, str] | None:
    """(ip, port or ``*``) if a filter means one client address; None for a network."""
    host, colon, port = text.rpartition(":")
    for ip, rest in ((text, "*"), (host, port)):
        try:
            found = parse_ip(ip.removeprefix("[").removesuffix("]")), rest
        except ValueError:
            continue
        if rest == "*" or (colon and rest.isascii() and rest.isdecimal()):
            return found[0], rest if rest == "*" else str(int(rest))
    return None


def _place(nodes: Nodes, name: str) -> tuple[int, str]:
    for node in nodes.named(name):
        if node.media is not None:
            return node.cluster_id, node.media
    raise UsageError(
        f"--node: no transceiver {name!r} is alive", hint="'rtcrelay nodes list' has those that are; --dst ADDR"
        " takes the address of one that is not", status=ExitStatus.PROBLEM,
    )  # fmt: skip


def _duration(option: str, text: str | None) -> float | None:
    return None if text is None else parsed(option, text, parse_duration)
