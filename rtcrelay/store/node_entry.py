"""What is a node as text? The heartbeats of relays and transceivers in Redis, and the orders to them.

``rtcrelay:1:n:<cluster>:<node>`` holds a `Heartbeat` as JSON and expires by itself. ``rtcrelay:1:o:<cluster>:<node>``
holds an `Order`. ``rtcrelay:1:nodes`` is a sorted set of ``<cluster>:<node>`` by the time of the last heartbeat: nobody
has to look through all routes to find the nodes. A relay is known by its first internal address, a transceiver by its
name; a global ingress has ``-`` for its cluster. Whoever can write Redis can write these: nothing is believed that does
not read as below.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from rtcrelay.config.text import Address, address

PREFIX: Final = "rtcrelay:1:n:"
ORDER_PREFIX: Final = "rtcrelay:1:o:"
INDEX: Final = "rtcrelay:1:nodes"
MAX_BYTES: Final = 8192
"""A longer value is none of ours."""

State: TypeAlias = Literal["serving", "cordoned", "draining"]
"""Serving takes new calls. Cordoned takes none until further notice. Draining takes none because it will end."""
Role: TypeAlias = Literal["relay", "transceiver"]
_Short: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
_Cluster: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
_NO_CLUSTER: Final = "-"
_NAME: Final = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,100}")
_parse_address = address()


class Ingress(Struct, frozen=True):
    """One listener of a relay."""

    id: Annotated[int, Meta(ge=1, le=65_535)]
    """The ingress id."""
    public: _Short
    """Its public address, perhaps a wildcard."""
    internal: _Short
    """Its internal one."""


class HeldKey(Struct, frozen=True):
    """A key of routing ufrags that a node holds, without its secret."""

    id: Annotated[int, Meta(ge=0, le=7)]
    state: Annotated[str, Meta(pattern="^(active|accept|revoked)$")]
    fingerprint: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]


class Process(Struct, frozen=True):
    """Which process speaks."""

    instance: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    """Random, another one after a restart."""
    host: _Short
    pid: _Count
    version: _Short
    started_ms: _Count
    """In milliseconds since 1970."""


class Load(Struct, frozen=True):
    """How much it has to do."""

    used: _Count
    """Flows of a relay, sessions of a transceiver."""
    max: _Count
    """As many as it takes."""
    cpu: Annotated[float, Meta(ge=0, le=10_000)]
    """Processors it kept busy since the last heartbeat: 1.0 is one of them all the time."""
    lag_ms: Annotated[float, Meta(ge=0)] | None = None
    """The longest time since then by which its event loop was late; None: it carries no packets there."""


class Heartbeat(Struct, frozen=True, kw_only=True):
    """What a node says of itself."""

    kind: Literal["heartbeat"] = "heartbeat"
    v: Literal[1] = 1
    role: Role
    node: _Short
    """Its name, unique in its cluster."""
    cluster: _Cluster | None
    """None: a global ingress, which has none."""
    state: State
    process: Process
    load: Load
    beat_ms: _Count
    """When it said so, in milliseconds since 1970 by its own clock."""
    keys: Annotated[list[HeldKey], Meta(max_length=8)]
    ingresses: Annotated[list[Ingress], Meta(max_length=16)] = []
    """Of a relay."""
    media: _Short | None = None
    """Where a transceiver takes packets of relays."""
    http: _Short | None = None
    """Its signaling, as other transceivers reach it."""
    node_id: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    """Its number in ufrags that name a node."""

    @property
    def address(self) -> str:
        """Where other nodes send packets to."""
        return self.media or self.ingresses[0].internal

    @property
    def cluster_id(self) -> int:
        """The cluster of a transceiver, which always has one."""
        assert self.cluster is not None, "a relay without a cluster was taken for a transceiver"
        return self.cluster

    @property
    def media_address(self) -> Address | None:
        """``media`` as an address."""
        return None if self.media is None else _parse_address(self.media)


class Order(Struct, frozen=True, kw_only=True):
    """What an operator wants of a node. It stays as it is without one, and after one that is gone."""

    kind: Literal["order"] = "order"
    v: Literal[1] = 1
    state: State
    by: Annotated[str, Meta(pattern="^[!-~]{1,100}$")]
    """Who wants it, for the log."""
    at_ms: _Count
    instance: str | None = None
    """The process that is meant; None: whichever has the name."""
    deadline_seconds: Annotated[float, Meta(ge=0, le=604_800)] | None = None
    """Draining transceivers end what is left after this time; None: never."""


def member_of(cluster: int | None, node: str) -> str:
    """A node's member of the index, and the end of its keys."""
    return f"{_NO_CLUSTER if cluster is None else cluster}:{node}"


def write_entry(entry: Heartbeat | Order) -> str:
    """The value in Redis."""
    return msgspec.json.encode(entry).decode()


def read_member(member: object) -> str | None:
    """A member of the index as text; None if it is none of ours."""
    if not isinstance(member, bytes) or len(member) > 110:
        return None
    cluster, _, node = member.decode("ascii", "replace").partition(":")
    if not _NAME.fullmatch(node):
        return None
    if cluster == _NO_CLUSTER:
        return member_of(None, node)
    is_number = cluster.isascii() and cluster.isdecimal() and int(cluster) <= 65_535
    return member_of(int(cluster), node) if is_number else None


def read_heartbeat(member: str, value: object) -> Heartbeat | None:
    """Reads what a node says of itself; None if anything in it is not as we write it, or it is another's."""
    try:
        found = _HEARTBEAT.decode(value) if isinstance(value, bytes) and len(value) < MAX_BYTES else None
        if found is None or member_of(found.cluster, found.node) != member or not _NAME.fullmatch(found.node):
            return None
        if found.cluster is None and found.role != "relay":
            return None
        if (found.media is None) == (found.role == "transceiver") or bool(found.ingresses) != (found.role == "relay"):
            return None
        for text in (found.media, found.http, *(a for i in found.ingresses for a in (i.public, i.internal))):
            if text is not None:
                _parse_address(text)
    except ValueError:  # msgspec's errors are ValueErrors
        return None
    return found


def read_order(value: object) -> Order | None:
    """Reads an order; None if anything in it is not as we write it."""
    try:
        return _ORDER.decode(value) if isinstance(value, bytes) else None
    except ValueError:
        return None


_HEARTBEAT: Final = msgspec.json.Decoder(Heartbeat)
_ORDER: Final = msgspec.json.Decoder(Order)
