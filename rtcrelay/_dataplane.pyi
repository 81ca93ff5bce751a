"""The packet path, in Rust: the ufrag, SPP and STUN codecs, and the relay's worker threads.

Addresses cross this border as ``(ip, port)`` with the IP in RFC 5952 form; IPv4-mapped IPv6
addresses become IPv4. Nothing here blocks longer than a copy except `Relay.start` and
`Relay.stop`, which release the GIL.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias, final

__all__ = [
    "CAPTURE_HEADER",
    "DROP_REASONS",
    "MAX_PAYLOAD",
    "SPP_HEADER",
    "UFRAG_LENGTH",
    "Capture",
    "Claim",
    "Core",
    "Event",
    "Flow",
    "KeyRing",
    "Policy",
    "Relay",
    "RelayConfig",
    "Route",
    "SppHeader",
    "Stream",
    "StunMessage",
    "UfragError",
    "Verdict",
    "classify",
    "mint_ufrag",
    "open_ufrag",
    "pack_spp",
    "read_stun",
    "unpack_spp",
]

# Names for annotations only; they are not there at run time.
Address: TypeAlias = tuple[str, int]
KeyState: TypeAlias = Literal["active", "accept", "revoked"]
UfragKind: TypeAlias = Literal["endpoint", "node", "session", "probe_endpoint", "probe_node"]
PacketClass: TypeAlias = Literal["stun", "dtls", "rtp", "rtcp"]

MAX_PAYLOAD: Final = 1500
"""Bytes of payload that are passed on at most, either way."""
SPP_HEADER: Final = 38
"""Bytes of the SPP header."""
UFRAG_LENGTH: Final = 27
"""Characters of a routing ufrag."""

class UfragError(ValueError):
    """The ufrag is not a route. ``args`` is ``(reason, sentence)``.

    The reasons: ``length``, ``alphabet``, ``version``, ``spare_bits`` (not of our form);
    ``unknown_key``, ``revoked_key``, ``check``, ``reserved``, ``kind``, ``port`` (not a route
    under this key ring).
    """

@final
class KeyRing:
    """Up to eight AES-128 keys for routing ufrags. Immutable; its repr shows ids and states only."""

    def __new__(cls, keys: Sequence[tuple[int, bytes, KeyState]]) -> KeyRing:
        """Takes (id 0 to 7, 16-byte secret, state). Raises ValueError on any other value,
        on an id given twice and on two active keys."""

    @property
    def active(self) -> int | None:
        """The id of the key that mints, or None."""

@final
class Route:
    """What a ufrag says. Immutable, comparable, hashable."""

    def __new__(
        cls,
        kind: UfragKind,
        cluster: int,
        *,
        ip: str | None = None,
        node: int | None = None,
        port: int = 0,
        nonce: int = 0,
        key_id: int = 0,
    ) -> Route:
        """Takes an IPv4 address and a port from 1 (endpoint, session, probe_endpoint) or a node id
        (node, probe_node). Raises ValueError if a value is out of range or of the other kind."""

    @property
    def kind(self) -> UfragKind:
        """What the ufrag is for."""
    @property
    def cluster(self) -> int:
        """The cluster that owns the session, 0 to 65535."""
    @property
    def ip(self) -> str | None:
        """The IPv4 address of the endpoint; None if the route names a node."""
    @property
    def node(self) -> int | None:
        """The node id, 0 to 2**32 - 1; None if the route names an endpoint."""
    @property
    def port(self) -> int:
        """UDP port of the shared socket (HTTP port for kind session); 0 for a node."""
    @property
    def nonce(self) -> int:
        """24 random bits."""
    @property
    def key_id(self) -> int:
        """The key the ufrag was or will be made with, 0 to 7."""

def mint_ufrag(ring: KeyRing, route: Route) -> str:
    """Makes the 27-character ufrag of a route with the key ``route.key_id``.

    Raises UfragError if that key is unknown or revoked. Any accepted key mints, so that tests and
    rotations can; who mints for clients passes ``ring.active``.
    """

def open_ufrag(ring: KeyRing, ufrag: str | bytes) -> Route:
    """Reads the route of a ufrag. Raises UfragError."""

@final
class SppHeader:
    """The 38 bytes between relays and transceivers. Immutable, comparable, hashable."""

    def __new__(cls, client: Address, proxy: Address) -> SppHeader:
        """Raises ValueError if an address is not an IP address and a port of 0 to 65535."""

    @property
    def client(self) -> Address:
        """The client as the ingress relay sees it."""
    @property
    def proxy(self) -> Address:
        """The return address; its port is the ingress id."""
    @property
    def path(self) -> tuple[str, int, int]:
        """The path key: client ip, client port, ingress id."""

def pack_spp(header: SppHeader) -> bytes:
    """The header as 38 bytes."""

def unpack_spp(datagram: bytes) -> SppHeader | None:
    """Reads the header in front of a datagram; None if it is short or the magic is wrong.
    The payload is ``datagram[SPP_HEADER:]``; an empty one is an announce."""

def classify(payload: bytes) -> PacketClass | None:
    """What a payload is by its first byte and length (RFC 7983, 9443); None if a relay drops it,
    also when it is over MAX_PAYLOAD bytes. Not a promise that it parses."""

@final
class StunMessage:
    """The frame and the attributes of a STUN message (RFC 8489). Nothing is verified but lengths."""

    @property
    def kind(self) -> int:
        """Method and class: 0x0001 binding request, 0x0101 success, 0x0111 error, 0x0011 indication."""
    @property
    def transaction(self) -> bytes:
        """The 12-byte transaction id."""
    @property
    def attributes(self) -> list[tuple[int, int, bytes]]:
        """(type, offset of the value in the message, value without padding), in order."""

def read_stun(datagram: bytes) -> StunMessage | None:
    """Reads a message; None unless header, cookie and every length are exactly right."""

DROP_REASONS: Final[Mapping[str, str]]
"""Every reason to drop a packet, with one sentence for the operator."""

@final
class RelayConfig:
    """What a relay needs to start. Immutable. Raises ValueError with a sentence on a bad value."""

    def __new__(
        cls,
        listeners: Sequence[tuple[Address, Address]],
        policy: Policy,
        *,
        workers: int = 1,
        max_flows: int = 262_144,
        idle_timeout_seconds: float = 60.0,
        claim_rate: int = 200,
        claim_burst: int = 1000,
        watch_legs: bool = True,
        socket_buffer_bytes: int = 8_388_608,
        pin_cpus: Sequence[int] = (),
        busy_poll: bool = False,
    ) -> RelayConfig:
        """Takes (public, internal) socket addresses, 1 to 16; the internal one is never a wildcard,
        and its port, the ingress id, is given once. Workers 1 to 64, flows 1 to 2**24, idle time-out
        1 to 3600 s, claims 1 to 1,000,000 (a second, and at once), buffers 4096 to 2**30 bytes.
        ``watch_legs`` reads loss, jitter and round trip of each leg in passing. ``pin_cpus`` are
        processors that the workers are kept on, in turn; with ``busy_poll`` they look for packets
        all the time and take a processor each."""

@final
class Policy:
    """What may change while a relay runs: keys, networks, nodes. Immutable."""

    def __new__(
        cls,
        ring: KeyRing,
        *,
        cluster: int | None = None,
        transceivers: Sequence[str] = (),
        peers: Sequence[str] = (),
        clusters: Mapping[int, Sequence[Address]] | None = None,
        nodes: Mapping[int, Address] | None = None,
        admission_exempt: Sequence[str] = (),
        draining: bool = False,
    ) -> Policy:
        """Takes networks as ``CIDR`` or ``CIDR:PORT`` or ``CIDR:FIRST-LAST`` (an IPv6 CIDR with
        ports in brackets: ``[2001:db8::/64]:7000``). An IPv6 network holds no IPv4 address.
        ``clusters`` are the internal addresses of each other cluster's relays, 1 to 32, which are peers as well.
        Raises ValueError on bad text, if a network is in both lists and a relay in two clusters. With
        ``draining`` binding requests without USERNAME have no answer, so that whoever probes leaves."""

@final
class Relay:
    """The worker threads of one relay, and the table they share."""

    def __new__(cls, config: RelayConfig) -> Relay: ...
    def start(self, *, inherited: Sequence[tuple[int, int, int]] = (), paused: bool = False) -> list[str]:
        """Binds every socket and starts the workers; returns warnings, one sentence each.

        ``inherited`` are sockets of another process instead, as `descriptors` names them; they
        belong to the relay from then on. With ``paused`` nothing runs before `resume`.

        Raises OSError with ``filename`` set to the address that could not be bound; nothing is
        left running then. Raises RuntimeError if it was started before.
        """

    def pause(self) -> None:
        """Stops the workers; the sockets stay open, and what arrives waits in their buffers."""

    def resume(self) -> None:
        """Starts the workers again, unless they run."""

    def stop(self) -> None:
        """Stops the workers and closes the sockets. Safe to call again."""

    def descriptors(self) -> list[tuple[int, int, int]]:
        """Each pair of sockets: (number of the listener, public, internal descriptor). They stay
        the relay's."""

    def snapshot(self, within_seconds: float | None = None) -> bytes:
        """The paths, or those that had a packet within so many seconds, for `load` elsewhere."""

    def load(self, snapshot: bytes) -> int:
        """Takes the paths of a snapshot over, in the place of what is known of them; returns how
        many there was room for. Raises ValueError if it is malformed or of another version."""

    def count_as_well(self, counters: Mapping[str, int], drops: Mapping[str, int]) -> None:
        """Adds what a predecessor counted; names that are unknown here are left out."""

    def reload(self, policy: Policy) -> None:
        """Applies another policy to every packet from now on."""

    def counters(self) -> dict[str, int]:
        """Counts since start by name, summed over the workers."""

    def workers(self) -> list[dict[str, int]]:
        """The same for each worker."""

    def drops(self) -> dict[str, int]:
        """Packets dropped since start by reason, all reasons, summed over the workers."""

    def gauges(self) -> dict[str, int]:
        """``flows`` (paths in the table), ``next_hops``, ``workers`` (alive)."""

    def listeners(self) -> list[tuple[Address, Address]]:
        """The bound (public, internal) addresses; port 0 in the configuration is resolved here."""

    def listen(self, listening: bool, *, route_cache: bool = False) -> int:
        """Starts or stops keeping events; returns a descriptor that is readable when there are some.

        With ``route_cache`` a packet of a path that nobody claims is held for up to 20 ms, and an
        event asks for the path's next hop: answer with `restore`. The descriptor stays the relay's.
        """

    def events(self, limit: int = 4096) -> tuple[list[Event], int]:
        """Takes up to ``limit`` events, oldest first within each worker, and says how many found
        their queue (16,384 events a worker) full since start. The descriptor is readable again at
        once if some are left."""

    def restore(self, routes: Sequence[tuple[Address, int, Address]]) -> int:
        """Takes routes that a cache remembers: (client, ingress id, next hop). Returns how many made
        a claim; none does on a path that has a confirmed one, or outside the policy's networks. A relay
        of another cluster stands for any of that cluster's, of which one that lives is chosen."""

    def kill(self, paths: Sequence[tuple[Address, int]]) -> int:
        """Ends paths (client, ingress id) with all their claims; returns how many were there. What comes
        for such a path is dropped until the client's next routed check, or for 5 s."""

    def flows(self, cursor: int = 0, limit: int = 1000) -> tuple[list[Flow], int]:
        """Up to ``limit`` paths (1 to 10,000) from a cursor on, and the next cursor (0: that was all).
        A path that lives through the whole listing is listed exactly once."""

CAPTURE_HEADER: Final[int]
"""Bytes in front of each packet that `Capture.take` returns."""

@final
class Capture:
    """Copies of the packets of some flows, on both legs; ends with `stop` or when it is forgotten.

    Any value of one kind will do, and all kinds that are given must. At most 8 run at once.
    """

    def __new__(
        cls,
        relay: Relay,
        *,
        clients: Sequence[str] = (),
        nodes: Sequence[str] = (),
        ufrags: Sequence[str] = (),
        everything: bool = False,
        full: bool = False,
        snap_bytes: int = 1500,
    ) -> Capture:
        """Takes clients and next hops as networks (see `Policy`), and routing ufrags exactly.

        Of a payload, up to ``snap_bytes`` bytes are kept; unless ``full``, only the headers of SRTP and SRTCP,
        and DTLS up to its first record of application data. SPP headers are always whole. Raises ValueError on
        bad text, and unless ``everything`` is given in the place of all kinds; RuntimeError if the relay was not
        started, or too many captures run.
        """

    def take(self, limit: int = 262_144) -> tuple[bytes, int]:
        """Whole records, about ``limit`` bytes of them, oldest first, and how many packets found the ring (4 MiB)
        full since the start.

        A record is CAPTURE_HEADER bytes, big-endian, and the bytes kept: bytes kept (4), bytes of the datagram (4),
        nanoseconds since 1970 (8), point (1: 0 from the client, 1 to the client, 2 to and 3 from the internal
        socket), listener (1), place in `DROP_REASONS` of why it was dropped, from 1, or 0 (1), whether it was held
        for the route cache (1), source and destination IP (16 each, IPv4 mapped), source and destination port (2
        each). Internal datagrams have their SPP header.
        """

    def stop(self) -> None:
        """Ends it. What it holds can still be taken. Safe to call again."""

@final
class Event:
    """Something that happened to a path."""

    @property
    def what(self) -> Literal["opened", "established", "refreshed", "asked", "killed"]:
        """Opened: a claim is pending. Established: a claim became strong. Refreshed: it still is,
        1.25 idle times later. Asked: a path has packets and no claim. Killed: `Relay.kill` ended it."""
    @property
    def client(self) -> Address:
        """The client's address."""
    @property
    def ingress(self) -> int:
        """The ingress id of the VIP the client sends to."""
    @property
    def next_hop(self) -> Address | None:
        """Whose claim it is about (killed: the surest one); None for ``asked``."""
    @property
    def alone(self) -> bool:
        """Whether that claim is the path's only confirmed one."""

@final
class Flow:
    """One path at one moment."""

    @property
    def client(self) -> Address:
        """The client's address."""
    @property
    def ingress(self) -> int:
        """The ingress id of the VIP the client sends to."""
    @property
    def claims(self) -> list[Claim]:
        """The next hops that claim the path."""
    @property
    def packets_in(self) -> int:
        """Packets from the client that were forwarded."""
    @property
    def bytes_in(self) -> int:
        """Their payload bytes."""
    @property
    def packets_out(self) -> int:
        """Packets sent to the client."""
    @property
    def bytes_out(self) -> int:
        """Their payload bytes."""
    @property
    def age_seconds(self) -> float:
        """Since the path was first seen."""
    @property
    def idle_seconds(self) -> float:
        """Since the last packet either way."""
    @property
    def from_client(self) -> Stream | None:
        """The client's RTP as it reached the relay; None if none did, or legs are not watched."""
    @property
    def to_client(self) -> Stream | None:
        """The transceiver's RTP as it reached the relay; None likewise."""
    @property
    def transceiver_round_trip_seconds(self) -> float | None:
        """The last check's way from the relay to the transceiver and back; None if unknown."""
    @property
    def client_round_trip_seconds(self) -> float | None:
        """The way from the relay to the client and back, the client's own time included: of the
        transceiver's last check, else of the last DTLS flights; None if unknown."""

@final
class Stream:
    """One direction's RTP as it reached the relay. One source at a time is watched."""

    @property
    def packets(self) -> int:
        """Packets that came."""
    @property
    def expected(self) -> int:
        """Packets that should have, by their sequence numbers; the difference is lost."""
    @property
    def reordered(self) -> int:
        """Packets that came after a later one."""
    @property
    def jitter_seconds(self) -> float | None:
        """Interarrival jitter (RFC 3550 section 6.4.1); None until the rate of the timestamps is
        known: after 2 s, if it is 8, 16, 24, 48 or 90 kHz."""

@final
class Claim:
    """One next hop's claim to a path."""

    @property
    def next_hop(self) -> Address:
        """Where the path's packets go."""
    @property
    def state(self) -> Literal["pending", "weak", "strong"]:
        """Pending: asked for. Weak: a STUN success came back. Strong: DTLS, SRTP or an announce did."""
    @property
    def key_id(self) -> int | None:
        """The key of the ufrag that opened it; None if it was learned or restored."""
    @property
    def idle_seconds(self) -> float:
        """Since it was opened (pending) or last confirmed."""

@final
class Core:
    """The relay's decisions without its sockets: what would become of a packet, and why?

    The path table lives and learns as in a relay; the time is an argument and should not go back.
    """

    def __new__(cls, config: RelayConfig) -> Core: ...
    def handle_public(
        self, now_seconds: float, listener: int, source: Address, payload: bytes, *, local: str | None = None
    ) -> Verdict:
        """Judges what a client sent to the public address of listener number ``listener``; ``local`` is the
        address it was sent to, if that is a wildcard."""

    def handle_internal(self, now_seconds: float, source: Address, datagram: bytes) -> Verdict:
        """Judges what came to an internal address, SPP header in front."""

    def flows(self, now_seconds: float) -> list[Flow]:
        """Every path in the table."""

    def flow(self, now_seconds: float, client: Address, ingress: int) -> Flow | None:
        """One path; None if it is not in the table."""

@final
class Verdict:
    """What a relay does with a datagram."""

    @property
    def action(self) -> Literal["forward", "answer", "to_client", "pass", "hold", "consumed", "drop"]:
        """Forward to ``next_hops``; answer the client itself; payload to a client; pass the datagram on to
        another relay unchanged; hold it for a route cache's answer; take note only; drop for ``reason``."""
    @property
    def next_hops(self) -> list[Address]:
        """Where it goes (forward, pass)."""
    @property
    def reason(self) -> str | None:
        """A key of `DROP_REASONS`; None unless dropped."""
    @property
    def route(self) -> Route | None:
        """What the ufrag of a binding request says, whether or not it was followed; None if there is none
        or it does not open."""
    @property
    def via_cluster(self) -> int | None:
        """The cluster whose relay has the packet next (forward); None if a transceiver has it."""
    @property
    def client(self) -> Address | None:
        """The client the payload goes to (to_client)."""
    @property
    def listener(self) -> int | None:
        """The listener that sends it there."""
    @property
    def answer(self) -> bytes:
        """The relay's own answer; empty unless ``action`` is answer."""
