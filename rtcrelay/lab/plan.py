"""From a world to what is built: hosts with addresses and commands, interfaces, routes. Pure.

Region number N (from 1) has 10.N.0.0/24 for its services among themselves and 203.0.113.16N/28 for clients, whose own
address is 198.51.100.N. Every host is a network namespace; a region's hosts hang on its router, and routers on the
links.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from rtcrelay.lab.links import End, LinkPlan
from rtcrelay.lab.world import Region, World

Role: TypeAlias = Literal["client", "router", "ingress", "relay", "transceiver", "signaling", "valkey", "turn"]

PREFIX: Final = "rrlab-"
"""Of every namespace."""
PUBLIC_PORT: Final = 3478
MEDIA_PORT: Final = 7000
DIRECT_PORT: Final = 7001
HTTP_PORT: Final = 8080
SIGNALING_PORT: Final = 8090
VALKEY_PORT: Final = 6379
INNER_MTU: Final = 1600
"""Of everything but public links: a datagram with SPP's header in front needs 1566."""
TURN_USER: Final = "lab"
_FIRST_HOST: Final = 10
"""Last byte of the first service's private address."""


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace, and the one service in it."""

    name: str
    region: str
    role: Role
    namespace: str
    private: str | None = None
    public: str | None = None
    ingress_id: int = 0
    """Of relays: the port of their internal address."""
    cluster: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is built."""

    name: str
    world: World
    directory: Path
    """For keys, logs, sockets and the state."""
    hosts: tuple[Host, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hosts", tuple(_hosts(self.name, self.world)))

    @property
    def namespaces(self) -> list[str]:
        """All of them."""
        return [host.namespace for host in self.hosts]

    def of(self, *roles: Role, region: str | None = None) -> list[Host]:
        """The hosts of some roles."""
        return [host for host in self.hosts if host.role in roles and region in (None, host.region)]

    def host(self, name: str) -> Host | None:
        """The host of that name."""
        return next((host for host in self.hosts if host.name == name), None)

    def region(self, name: str) -> Region:
        """The region of that name, which there is."""
        return next(region for region in self.world.regions if region.name == name)

    def number(self, region: str) -> int:
        """Of a region, from 1."""
        return [each.name for each in self.world.regions].index(region) + 1

    def home(self, host: Host) -> Path:
        """The host's own directory: sockets of its service."""
        return self.directory / host.name

    # -- links and addresses

    def links(self) -> list[LinkPlan]:
        """For the emulator."""
        plans = []
        for name, kind, link in self.world.links.named():
            begin = _namespace(self.name, link.begin if kind == "public" else f"{link.begin}-router")
            end = _namespace(self.name, f"{link.end}-router")
            letter = kind[0]
            ends = (End(begin, f"{letter}-{link.end}"), End(end, f"{letter}-{link.begin}"))
            plans.append(LinkPlan(name, ends, link.impairment(), self.world.seed))
        return plans

    def local_commands(self) -> list[str]:
        """Lines of ip(8) that join every service with its region's router, in any namespace."""
        return [
            f"link add eth0 netns {host.namespace} mtu {INNER_MTU} type veth peer name {_leg(host)}"
            f" netns {_namespace(self.name, f'{host.region}-router')} mtu {INNER_MTU}"
            for host in self._services()
        ]

    def commands(self, host: Host) -> list[str]:
        """Lines of ip(8) in a host's namespace."""
        lines = ["link set lo up"]
        if host.role == "client":
            return [*lines, *self._client_commands(host)]
        if host.role == "router":
            return [*lines, *self._router_commands(host)]
        lines += [f"addr add {host.private}/32 dev eth0"]
        lines += [f"addr add {host.public}/32 dev eth0"] if host.public else []
        router = f"10.{self.number(host.region)}.0.1"
        lines += ["link set eth0 up", f"route add {router}/32 dev eth0 src {host.private}"]
        return [*lines, f"route add default via {router} dev eth0 src {host.private}"]

    def _services(self) -> list[Host]:
        return [host for host in self.hosts if host.role not in ("client", "router")]

    def _client_commands(self, host: Host) -> Iterator[str]:
        links = [link for link in self.world.links.public if link.begin == host.region]
        # The nearest first: browsers ask for the way to somewhere, and look for addresses on real interfaces only.
        links.sort(key=lambda link: link.end != host.region)
        for number, link in enumerate(links):
            device = f"p-{link.end}"
            yield f"link set {device} up mtu 1500"
            if number == 0:
                yield f"addr add {host.public}/32 dev {device}"
                yield f"route add default dev {device} src {host.public}"
            yield f"route add {_public_network(self.number(link.end))} dev {device} src {host.public}"

    def _router_commands(self, host: Host) -> Iterator[str]:
        number = self.number(host.region)
        yield f"addr add 10.{number}.0.1/32 dev lo"
        for service in self._services():
            if service.region == host.region:
                yield f"link set {_leg(service)} up"
                for address in (service.private, service.public):
                    if address is not None:
                        yield f"route add {address}/32 dev {_leg(service)}"
        for link in self.world.links.public:
            if link.end == host.region:
                yield f"link set p-{link.begin} up mtu 1500"
                yield f"route add {_client_address(self.number(link.begin))}/32 dev p-{link.begin}"
        for link in self.world.links.backbone:
            if host.region in (link.begin, link.end):
                other = link.end if link.begin == host.region else link.begin
                yield f"link set b-{other} up mtu {INNER_MTU}"
                for network in (f"10.{self.number(other)}.0.0/24", _public_network(self.number(other))):
                    yield f"route add {network} dev b-{other}"


def _hosts(lab: str, world: World) -> Iterator[Host]:
    for number, region in enumerate(world.regions, 1):
        name = region.name
        yield Host(name, name, "client", _namespace(lab, name), public=_client_address(number))
        router = f"{name}-router"
        yield Host(router, name, "router", _namespace(lab, router), private=f"10.{number}.0.1")
        for index, (role, host, ingress) in enumerate(_services(region)):
            public = f"203.0.113.{16 * number + 1 + index}" if role != "valkey" else None
            cluster = region.cluster if role in ("relay", "transceiver", "valkey") else None
            ingress_id = 3000 + 100 * number + ingress if ingress else 0
            private = f"10.{number}.0.{_FIRST_HOST + index}"
            yield Host(host, name, role, _namespace(lab, host), private, public, ingress_id, cluster)


def _services(region: Region) -> Iterator[tuple[Role, str, int]]:
    """(role, host, number among the region's relays, from 1)."""
    name = region.name
    if region.ingress:
        yield "ingress", f"{name}-ingress", 1
    if region.signaling:
        yield "signaling", f"{name}-signaling", 0
    if region.turn:
        yield "turn", f"{name}-turn", 0
    for number in range(1, region.relays + 1):
        yield "relay", f"{name}-relay-{number}", 1 + number
    for number in range(1, region.transceivers + 1):
        yield "transceiver", f"{name}-transceiver-{number}", 0
    if region.valkey:
        yield "valkey", f"{name}-valkey", 0


def service_ports(hosts: Sequence[Host]) -> list[str]:
    """``IP:PORT`` of the signaling of transceivers."""
    return [f"{host.private}:{HTTP_PORT}" for host in hosts]


def _namespace(lab: str, host: str) -> str:
    return f"{PREFIX}{lab}-{host}"


def _leg(host: Host) -> str:
    """The router's interface towards a host: 15 characters at most, so by its address."""
    return f"to-{(host.private or '').rpartition('.')[2]}"


def _public_network(region: int) -> str:
    return f"203.0.113.{16 * region}/28"


def _client_address(region: int) -> str:
    return f"198.51.100.{region}"
