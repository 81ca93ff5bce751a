"""Which packets of a capture did clients send, and as what are they sent again?

A capture may show both directions, and a client's packet twice: before a relay and behind it, there with an SPP header.
Each is taken once, without the header. The server is whoever has the port that a relay is known to have, else whoever
was sent a conversation's first packet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, TypeVar

from rtcrelay._dataplane import classify, read_stun
from rtcrelay.rtc import stun
from rtcrelay.rtc.stun import Attribute

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, StunMessage
    from rtcrelay.debug.captures import Packet

K = TypeVar("K")
V = TypeVar("V")
Only: TypeAlias = Literal["stun", "dtls", "rtp", "all"]
CLASSES: Final = ("stun", "dtls", "rtp", "other")
"""What packets are counted as; RTCP is with RTP."""
MAX_CONVERSATIONS: Final = 65_536
"""That are remembered; the oldest are forgotten. As many as a machine has ports for them."""
_INTEGRITY_SHA256, _GOOG_INTEGRITY_32 = 0x001C, 0xC060

Way: TypeAlias = "tuple[Address, Address, Address]"
"""(client, source, destination)."""
Rewrite: TypeAlias = "Callable[[bytes, StunMessage], bytes]"
"""Makes another binding request of one."""


class Replayed(NamedTuple):
    """One packet to send."""

    time_ns: int
    source: Address
    """Of the client that sent it."""
    payload: bytes
    name: str
    """One of `CLASSES`."""


@dataclass(slots=True)
class SelectionTally:
    """What was not taken."""

    backwards: int = 0
    """Sent to clients."""
    twice: int = 0
    """The same on another leg."""
    unwanted: int = 0
    """Of another class than was asked for, or empty."""
    rewritten: int = 0
    """Requests with another ufrag."""
    without_ufrag: int = 0
    """Requests that have none to be replaced."""

    def sentences(self) -> Iterator[str]:
        """For people, of what there was."""
        for count, words in (
            (self.backwards, "sent to clients were left out"),
            (self.twice, "seen a second time, behind or before a relay, were left out"),
            (self.unwanted, "of other classes were left out"),
            (self.rewritten, "binding requests have another ufrag"),
            (self.without_ufrag, "binding requests have no ufrag to be replaced"),
        ):
            if count:
                yield f"{count} packets {words}" if not words.startswith("binding") else f"{count} {words}"


@dataclass(slots=True)
class Selection:
    """Picks the clients' packets of one reading of a capture."""

    only: Only = "all"
    rewrite: Rewrite | None = None
    server_port: int | None = None
    """A packet to this port is a client's, one from it is for a client."""
    tally: SelectionTally = field(default_factory=SelectionTally)
    _ways: OrderedDict[Way, None] = field(default_factory=OrderedDict)
    """Conversations in their first packet's direction."""
    _legs: OrderedDict[Address, tuple[Address, Address]] = field(default_factory=OrderedDict)
    """Where a client's packets are taken from: the leg on which it was first seen."""

    def select(self, packets: Iterable[Packet]) -> Iterator[Replayed]:
        """What is to be sent, in order."""
        for packet in packets:
            client = self._client(packet)
            if client is None:
                self.tally.backwards += 1
                continue
            leg = (packet.source, packet.destination)
            if _remember(self._legs, client, leg) != leg:
                self.tally.twice += 1
                continue
            payload = packet.payload
            kind = classify(payload)
            name = "rtp" if kind == "rtcp" else kind or "other"
            if not payload or self.only not in ("all", name):
                self.tally.unwanted += 1
                continue
            if name == "stun" and self.rewrite is not None:
                payload = self._rewritten(payload, self.rewrite)
            yield Replayed(packet.time_ns, client, payload, name)

    def _client(self, packet: Packet) -> Address | None:
        """Who sent it, if that was a client."""
        header, source, destination = packet.spp, packet.source, packet.destination
        if header is None:
            return (
                source if self._is_forward((source, source, destination), (destination, destination, source)) else None
            )
        if header.proxy in (source, destination):
            return header.client if header.proxy == source else None
        # Between relays: the way of the first one.
        way, back = (header.client, source, destination), (header.client, destination, source)
        return header.client if self._is_forward(way, back) else None

    def _is_forward(self, way: Way, back: Way) -> bool:
        source, destination = way[1], way[2]
        if self.server_port in (source[1], destination[1]) and source[1] != destination[1]:
            return destination[1] == self.server_port
        if back in self._ways:
            return False
        _remember(self._ways, way, None)
        return True

    def _rewritten(self, payload: bytes, rewrite: Rewrite) -> bytes:
        message = read_stun(payload)
        if message is None or message.kind != stun.BINDING_REQUEST:
            return payload
        if stun.split_username(message) is None:
            self.tally.without_ufrag += 1
            return payload
        self.tally.rewritten += 1
        return rewrite(payload, message)


def with_username(payload: bytes, message: StunMessage, username: bytes, password: bytes) -> bytes:
    """The same request with another USERNAME, signed anew; other forms of integrity are left out, for they would be
    wrong."""
    transaction, kind = message.transaction, message.kind
    attributes: list[tuple[int, bytes]] = []
    is_signed = has_fingerprint = False
    for number, _, value in message.attributes:
        if number == Attribute.USERNAME:
            attributes.append((number, username))
        elif number == Attribute.MESSAGE_INTEGRITY:
            is_signed = True
        elif number == Attribute.FINGERPRINT:
            has_fingerprint = True
        elif number not in (_INTEGRITY_SHA256, _GOOG_INTEGRITY_32):
            attributes.append((number, value))
    secret = password.decode("utf-8", "surrogateescape") if is_signed else None
    return stun.write_message(kind, transaction, attributes, password=secret, fingerprint=has_fingerprint)


def _remember(table: OrderedDict[K, V], key: K, value: V) -> V:
    """The value of a key, which is this one if there was none."""
    found = table.setdefault(key, value)
    if len(table) > MAX_CONVERSATIONS:
        table.popitem(last=False)
    return found
