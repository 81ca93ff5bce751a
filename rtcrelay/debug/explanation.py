"""What would a relay do with these packets, and why? Packets of a capture, judged by the relay's own core.

Which side a packet belongs to follows from where it was sent to: a listener's public address, or an internal one.
What a relay itself has sent lies in a capture too, and is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from rtcrelay._dataplane import DROP_REASONS, SPP_HEADER, Core, classify, unpack_spp
from rtcrelay.config.text import format_address, is_wildcard
from rtcrelay.debug.flow_map import FlowMap, Ways, teach

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, Flow, RelayConfig, Route, Verdict
    from rtcrelay.debug.captures import Packet

Side: TypeAlias = Literal["public", "internal"]

MAX_FOLLOWED: Final = 262_144
"""Paths whose claims are remembered, to tell what changes; as many as a relay has by default. The longest settled are
forgotten first, and looked up again."""

_ACTIONS: Final = {
    "forward": "forwarded",
    "answer": "answered by the relay",
    "to_client": "returned",
    "pass": "passed on",
    "hold": "held for the route cache",
    "consumed": "noted",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """One packet, and what became of it."""

    packet: Packet
    side: Side
    payload_class: str
    """stun, dtls, rtp, rtcp, announce, or other."""
    verdict: Verdict
    claims: tuple[str, ...]
    """What changed about the path's claims, each as a phrase."""

    @property
    def sentence(self) -> str:
        """The verdict and why."""
        return _sentence(self)

    @property
    def outcome(self) -> str:
        """The verdict in a word, or the drop reason: what is counted."""
        return self.verdict.reason or self.verdict.action


@dataclass(slots=True)
class Sides:
    """Which addresses are the relay's."""

    listeners: Sequence[tuple[Address, Address]]
    """(public, internal), as configured."""
    vips: Sequence[Address] = ()
    """Addresses that stand for the listeners' public ones, in their order: where the capture was taken."""

    def side_of(self, destination: Address) -> tuple[Side, int] | None:
        """The side and the listener that a packet to this address comes to; None if neither."""
        for number, (_, internal) in enumerate(self.listeners):
            if destination == internal:
                return "internal", number
        for number, vip in enumerate(self.vips):
            if destination == vip:
                return "public", number
        for number, (public, _) in enumerate(self.listeners):
            if number >= len(self.vips) and _covers(public, destination):
                return "public", number
        return None

    def is_ours(self, source: Address) -> bool:
        """Whether a relay sent it. A wildcard says nothing about that: a client may have the same port."""
        fixed = [public for public, _ in self.listeners if not is_wildcard(public[0])]
        return source in self.vips or source in fixed or any(source == internal for _, internal in self.listeners)


@dataclass(slots=True)
class ExplainTally:
    """What was judged, and what was not."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """By action, drops by reason."""
    sent_by_relay: int = 0
    elsewhere: int = 0
    """Packets to addresses that are none of the relay's."""

    @property
    def dropped(self) -> int:
        """Packets that were dropped."""
        return sum(count for outcome, count in self.outcomes.items() if outcome in DROP_REASONS)

    def sentences(self) -> Iterator[str]:
        """The summary, one sentence each."""
        kept = [f"{self.outcomes[name]} {word}" for name, word in _ACTIONS.items() if self.outcomes[name]]
        reasons = [f"{name} {count}" for name, count in self.outcomes.most_common() if name in DROP_REASONS]
        kept += [f"{self.dropped} dropped ({', '.join(reasons)})"] if reasons else []
        yield f"{sum(self.outcomes.values())} packets judged" + (f": {', '.join(kept)}" if kept else "")
        if self.sent_by_relay or self.elsewhere:
            yield f"{self.sent_by_relay} sent by the relay itself and {self.elsewhere} to other addresses were left out"


class Explainer:
    """A relay's core, fed with packets."""

    def __init__(self, config: RelayConfig, sides: Sides) -> None:
        self._core = Core(config)
        self._sides = sides
        self._now = self._base = 0.0
        self._start_ns: int | None = None
        self._claims: dict[tuple[Address, int], Mapping[Address, str]] = {}
        self.tally = ExplainTally()

    def learn(self, known: FlowMap, ways: Ways) -> int:
        """Takes the paths of a running relay over, before the first packet. Returns how many claims were taken."""
        taken = teach(self._core, known, self._sides.listeners, ways)
        self._now = self._base = known.oldest_seconds
        for flow in self._core.flows(self._now):
            self._remember((flow.client, flow.ingress), {claim.next_hop: claim.state for claim in flow.claims})
        return taken

    def explain(self, packets: Iterable[Packet], *, side: Side | None = None) -> Iterator[Explained]:
        """Judges packets one after the other; ``side`` says where they come to, None looks at their destination."""
        for packet in packets:
            if side is not None:
                yield self._judge(packet, side, 0)
            elif (found := self._sides.side_of(packet.destination)) is None or self._sides.is_ours(packet.source):
                if self._sides.is_ours(packet.source):
                    self.tally.sent_by_relay += 1
                else:
                    self.tally.elsewhere += 1
            else:
                yield self._judge(packet, *found)

    def elapsed_seconds(self, packet: Packet) -> float:
        """How long after the first packet this one came."""
        return (packet.time_ns - (self._start_ns or 0)) / 1e9

    def flows(self) -> list[Flow]:
        """The paths after all that."""
        return self._core.flows(self._now)

    def _judge(self, packet: Packet, side: Side, listener: int) -> Explained:
        if self._start_ns is None:
            self._start_ns = packet.time_ns
        # Captures of several cards are not quite in order; the relay's time does not go back.
        self._now = max(self._now, self._base + (packet.time_ns - self._start_ns) / 1e9)
        if side == "public":
            public = self._sides.listeners[listener][0]
            local = packet.destination[0] if is_wildcard(public[0]) and not is_wildcard(packet.destination[0]) else None
            verdict = self._core.handle_public(self._now, listener, packet.source, packet.datagram, local=local)
            path = (packet.source, self._sides.listeners[listener][1][1])
            payload = packet.datagram
        else:
            verdict = self._core.handle_internal(self._now, packet.source, packet.datagram)
            header = unpack_spp(packet.datagram)
            path = (header.client, header.proxy[1]) if header else (packet.source, 0)
            payload = packet.datagram[SPP_HEADER:] if header else packet.datagram
        is_announce = side == "internal" and not payload and len(packet.datagram) == SPP_HEADER
        name = "announce" if is_announce else classify(payload) or "other"
        explained = Explained(packet, side, name, verdict, self._changes(path, verdict))
        self.tally.outcomes[explained.outcome] += 1
        return explained

    def _changes(self, path: tuple[Address, int], verdict: Verdict) -> tuple[str, ...]:
        """What became of the path's claims. A path whose only claim is strong is not looked at again until another
        ufrag names it."""
        if verdict.action == "drop":
            return ()
        known = self._claims.get(path, {})
        is_settled = bool(known) and all(state == "strong" for state in known.values())
        if is_settled and (verdict.action != "forward" or verdict.route is None):
            return ()
        flow = self._core.flow(self._now, *path)
        claims = {} if flow is None else {claim.next_hop: claim.state for claim in flow.claims}
        self._remember(path, claims)
        return tuple(_change(known.get(hop), state, hop) for hop, state in claims.items() if known.get(hop) != state)

    def _remember(self, path: tuple[Address, int], claims: Mapping[Address, str]) -> None:
        """Keeps what is known of a path: a capture of a day has any number of them."""
        self._claims.pop(path, None)
        if claims:
            self._claims[path] = claims
        if len(self._claims) > MAX_FOLLOWED:
            del self._claims[next(iter(self._claims))]


def _covers(public: Address, destination: Address) -> bool:
    if public[1] != destination[1]:
        return False
    # A socket of [::] takes IPv4 as well.
    return public[0] in (destination[0], "::") or (public[0] == "0.0.0.0" and ":" not in destination[0])  # noqa: S104


def _change(before: str | None, after: str, next_hop: Address) -> str:
    where = format_address(next_hop)
    if after == "pending":
        return f"claim of {where} opened"
    strength = "confirmed" if after == "strong" else "confirmed weakly"
    return f"claim of {where} {strength}" if before else f"claim of {where} learned ({after})"


def _sentence(explained: Explained) -> str:
    verdict = explained.verdict
    if verdict.action == "drop":
        reason = verdict.reason or "unknown"
        return f"dropped: {reason}: {_lowered(DROP_REASONS.get(reason, ''))}{_attempted(verdict.route)}"
    hops = ", ".join(format_address(hop) for hop in verdict.next_hops)
    if verdict.action == "forward":
        where = hops if verdict.via_cluster is None else f"{hops}, a relay of cluster {verdict.via_cluster},"
        if verdict.route is not None:
            return f"routed to {where} by ufrag ({_of(verdict.route)})"
        return f"forwarded to {where} by its path"
    if verdict.action == "to_client" and verdict.client is not None:
        return f"returned to {format_address(verdict.client)} from listener {verdict.listener}"
    if verdict.action == "pass":
        return f"passed on unchanged to relay {hops}"
    if verdict.action == "answer":
        return f"answered by the relay itself ({len(verdict.answer)} bytes): a binding request without USERNAME"
    return _ACTIONS[verdict.action]


def _of(route: Route) -> str:
    node = "" if route.node is None else f", node {route.node}"
    probe = ", probe" if route.kind.startswith("probe") else ""
    return f"key {route.key_id}, cluster {route.cluster}{node}{probe}"


def _attempted(route: Route | None) -> str:
    if route is None:
        return ""
    where = f"node {route.node}" if route.ip is None else format_address((route.ip, route.port))
    return f" (the ufrag names {where}, key {route.key_id}, cluster {route.cluster})"


def _lowered(sentence: str) -> str:
    sentence = sentence.rstrip(".")
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def explained_row(explained: Explained) -> dict[str, Any]:
    """An explained packet as JSON has it."""
    packet, verdict = explained.packet, explained.verdict
    route = verdict.route
    return {
        "kind": "explanation",
        "v": 1,
        "frame": packet.frame,
        "side": explained.side,
        "source": format_address(packet.source),
        "destination": format_address(packet.destination),
        "class": explained.payload_class,
        "bytes": len(packet.datagram),
        "action": verdict.action,
        "reason": verdict.reason,
        "via_cluster": verdict.via_cluster,
        "next_hops": [format_address(hop) for hop in verdict.next_hops],
        "client": None if verdict.client is None else format_address(verdict.client),
        "key_id": None if route is None else route.key_id,
        "cluster": None if route is None else route.cluster,
        "answer": verdict.answer.hex() or None,
        "claims": list(explained.claims),
        "sentence": explained.sentence,
    }
