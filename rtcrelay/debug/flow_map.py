"""Which paths did a relay know? The lines of ``flows list -o jsonl``, read back and taught to a core.

The core learns them as a relay does, by packets: a check opens a claim, an answer confirms it weakly, an announce
strongly. So nothing is believed that a relay with these settings would not believe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from rtcrelay._dataplane import Core, KeyRing, Route, SppHeader, UfragError, mint_ufrag, pack_spp
from rtcrelay.config.text import address
from rtcrelay.errors import DataError
from rtcrelay.rtc import stun
from rtcrelay.rtc.stun import Attribute

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

MAX_FLOWS: Final = 1_000_000
"""That are read at all; about 500 MB. A relay has 262,144 at most unless told otherwise."""
_MAX_LINE: Final = 65_536
_MAX_ARRAY: Final = 1 << 28
_HINT: Final = "'rtcrelay flows list -o jsonl' writes them"
_STATES: Final = ("pending", "weak", "strong")
_PARSE_ADDRESS: Final = address(concrete=True)


@dataclass(frozen=True, slots=True)
class KnownClaim:
    """One claim of a path, when the listing was made."""

    idle_seconds: float
    """Since it was opened or last confirmed."""
    client: Address
    ingress: int
    next_hop: Address
    state: str
    key_id: int | None


@dataclass(slots=True)
class FlowMap:
    """What a file said."""

    claims: list[KnownClaim]
    paths: int

    @property
    def oldest_seconds(self) -> float:
        """How long before the listing the first claim was confirmed."""
        return max((claim.idle_seconds for claim in self.claims), default=0.0)


def read_flow_map(stream: IO[bytes], name: str) -> FlowMap:
    """Reads a listing: one object a line (jsonl), or all in one array (json). Raises DataError, with the line."""
    found = FlowMap([], 0)
    for number, row in _rows(stream, name):
        try:
            claims = [_claim(row, claim) for claim in row["claims"]] if row["kind"] == "flow" else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{name} line {number}: not a flow: {error}", hint=_HINT) from None
        if claims is None:
            raise DataError(f"{name} line {number}: a {row['kind']!r}, expected a flow of 'rtcrelay flows list'")
        found.paths += 1
        if found.paths > MAX_FLOWS:
            raise DataError(f"{name} has over {MAX_FLOWS} flows")
        found.claims += claims
    return found


@dataclass(frozen=True, slots=True)
class Ways:
    """What ufrags are made with, so that they lead where the claims do."""

    ring: KeyRing
    cluster: int | None
    nodes: Mapping[int, Address]


def teach(core: Core, known: FlowMap, listeners: Sequence[tuple[Address, Address]], ways: Ways) -> int:
    """Has a core learn what was known; its time is `FlowMap.oldest_seconds` then. Returns how many claims it has
    taken: those of other ingresses, and those that its settings do not allow, are left out."""
    teacher = _Teacher(core, listeners, ways)
    at = known.oldest_seconds
    for claim in sorted(known.claims, key=lambda claim: (-claim.idle_seconds, claim.client, claim.next_hop)):
        teacher.teach(claim, at - claim.idle_seconds)
    wanted = {(claim.client, claim.ingress, claim.next_hop) for claim in known.claims}
    return sum(
        (flow.client, flow.ingress, claim.next_hop) in wanted for flow in core.flows(at) for claim in flow.claims
    )


class _Teacher:
    def __init__(self, core: Core, listeners: Sequence[tuple[Address, Address]], ways: Ways) -> None:
        self._core, self._ring = core, ways.ring
        self._listeners = {internal[1]: (number, internal) for number, (_, internal) in enumerate(listeners)}
        self._node_of = {where: node for node, where in ways.nodes.items()}
        self._cluster = ways.cluster or 0
        self._taught: set[tuple[Address, int]] = set()
        self._count = 0

    def teach(self, claim: KnownClaim, at: float) -> None:
        if claim.ingress not in self._listeners:
            return
        number, internal = self._listeners[claim.ingress]
        self._count += 1
        transaction = self._count.to_bytes(12, "big")
        username = self._username(claim)
        if username is not None:
            request = stun.write_message(stun.BINDING_REQUEST, transaction, [(int(Attribute.USERNAME), username)])
            self._core.handle_public(at, number, claim.client, request)
        header = pack_spp(SppHeader(claim.client, internal))
        if claim.state != "pending":
            answer = stun.write_binding_success(transaction, claim.client, None)
            self._core.handle_internal(at, claim.next_hop, header + answer)
        if claim.state == "strong":
            self._core.handle_internal(at, claim.next_hop, header)

    def _username(self, claim: KnownClaim) -> bytes | None:
        """A ufrag that leads there, made with the key that the claim was opened with; None if it was learned from what
        came back, or if there can be no such ufrag."""
        path, key_id = (claim.client, claim.ingress), claim.key_id
        if key_id is None and (claim.state != "strong" or path in self._taught):
            key_id = self._ring.active  # nothing that comes back makes a weak claim, or a second one
        self._taught.add(path)
        if key_id is None:
            return None
        ip, port = claim.next_hop
        node = self._node_of.get(claim.next_hop)
        try:
            if node is not None:
                route = Route("node", self._cluster, node=node, nonce=self._count & 0xFFFFFF, key_id=key_id)
            else:
                nonce = self._count & 0xFFFFFF
                route = Route("endpoint", self._cluster, ip=ip, port=port, nonce=nonce, key_id=key_id)
            return mint_ufrag(self._ring, route).encode() + b":flowmap"
        except (UfragError, ValueError):  # revoked since then, or IPv6 and no node: learned then, as after a restart
            return None


def _rows(stream: IO[bytes], name: str) -> Iterator[tuple[int, Any]]:
    number, line = 1, stream.readline(_MAX_LINE)
    if line.lstrip()[:1] == b"[":
        try:
            rows = json.loads(line + stream.read(_MAX_ARRAY))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} is not JSON: {error}") from None
        yield from enumerate(rows, 1)
        return
    while line:
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{name} line {number}: not JSON: {error}", hint=_HINT) from None
            yield number, row
        number, line = number + 1, stream.readline(_MAX_LINE)


def _claim(row: Any, claim: Any) -> KnownClaim:
    state, idle, key_id, ingress = claim["state"], claim["idle_s"], claim["key_id"], row["ingress"]
    if state not in _STATES:
        raise ValueError(f"state {state!r}")
    if type(ingress) is not int or not 0 <= ingress <= 65_535:
        raise ValueError(f"ingress {ingress!r}")
    if not isinstance(idle, int | float) or not 0 <= idle <= 86_400:
        raise ValueError(f"idle_s {idle!r}")
    if key_id is not None and (type(key_id) is not int or not 0 <= key_id <= 7):
        raise ValueError(f"key_id {key_id!r}")
    client, next_hop = _PARSE_ADDRESS(row["client"]), _PARSE_ADDRESS(claim["next_hop"])
    return KnownClaim(float(idle), client, ingress, next_hop, state, key_id)
