"""The frozen settings of each service."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from rtcrelay.config.text import Address

LogFormat: TypeAlias = Literal["auto", "text", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """What `rtcrelay serve relay` runs with."""

    listeners: tuple[tuple[Address, Address], ...]
    """(public, internal) UDP addresses; the internal port is the ingress id."""
    key_file: Path
    """The key ring."""
    transceivers: tuple[str, ...]
    """Networks with or without ports, as `_dataplane.Policy` takes them."""
    workers: int = 1
    """Packet threads."""
    pin_cpus: tuple[int, ...] = ()
    """Processors that they stay on, in turn; none: wherever the kernel likes."""
    busy_poll: bool = False
    """Whether they look for packets all the time."""
    cluster: int | None = 0
    """The cluster whose sessions are routed here; None: a global ingress, which passes everything on."""
    clusters: Mapping[int, tuple[Address, ...]] = field(default_factory=dict)
    """Other clusters and their relays' internal addresses."""
    peers: tuple[str, ...] = ()
    """Networks of other relays' internal addresses."""
    nodes: Mapping[int, Address] | None = None
    """Node ids and where they lead."""
    idle_timeout_seconds: float = 60.0
    """After this time without packets a path is forgotten."""
    max_flows: int = 262_144
    """Paths in the table at most."""
    admission_rate: int = 200
    """New paths per second from one source."""
    admission_burst: int = 1000
    """New paths at once from one source."""
    admission_exempt: tuple[str, ...] = ()
    """Networks of sources without that limit."""
    watch_legs: bool = True
    """Whether loss, jitter and round trip of each leg are read in passing."""
    redis: str | None = field(default=None, repr=False)
    """URL of the route cache and of heartbeats, perhaps with a password; None: neither."""
    redis_password_file: Path | None = None
    """File with its password."""
    sites: Path | None = None
    """File of ingresses and clusters, which says where the heartbeats of each cluster's relays are."""
    admin_socket: Path | None = None
    """Unix socket of the admin interface."""
    metrics: Address | None = None
    """TCP address of metrics and health."""
    log_format: LogFormat = "auto"
    """How log lines look."""
    log_addresses: bool = False
    """Whether they name clients' addresses."""
    spp_insecure_public: bool = False
    """Whether SPP may go to networks outside the private ranges."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every IP address and network that the relay listens on or sends to."""
        sockets = [ip for pair in self.listeners for ip, _ in pair]
        nodes = [ip for ip, _ in (self.nodes or {}).values()]
        relays = [ip for relays in self.clusters.values() for ip, _ in relays]
        return (*sockets, *self.transceivers, *self.peers, *nodes, *relays)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransceiverSettings:
    """What `rtcrelay serve transceiver` runs with."""

    http: Address
    """TCP address of signaling."""
    media: Address
    """UDP address of the shared socket, never a wildcard."""
    ingresses: tuple[Address, ...]
    """Public addresses of relays, told to clients as host candidates."""
    node: str
    """Name in logs, status and socket names."""
    relays: tuple[str, ...]
    """Networks of the relays' internal addresses."""
    key_file: Path
    """The key ring."""
    workers: int = 1
    """Processes."""
    worker: int | None = None
    """Which of them this is, from 0; None: the only one, or the parent of all. See `config.workers`."""
    node_id: int | None = None
    """The node id for ufrags; never None if ``media`` is IPv6."""
    cluster: int = 0
    """The cluster that owns the sessions."""
    auth_token_file: Path | None = None
    """File with the Bearer token; None only if ``http`` is a loopback address."""
    tls_cert: Path | None = None
    """Certificate chain of signaling; None: plain HTTP."""
    tls_key: Path | None = None
    """Its private key; there if and only if ``tls_cert`` is."""
    signaling_address: Address | None = None
    """Where other transceivers reach this one's signaling; None: it follows from ``http`` and ``media``."""
    signaling_peers: tuple[str, ...] = ("127.0.0.0/8",)
    """Networks with or without ports to which requests about others' sessions may be passed on."""
    nodes: Mapping[int, Address] | None = None
    """Node ids and their media addresses, for owners whose HTTP address does not fit into a session's URL."""
    backend: str = "echo"
    """What answers the caller."""
    backend_token_file: Path | None = None
    """File with the Bearer token for a backend behind a WebSocket."""
    max_sessions: int = 500
    """Sessions at once."""
    max_session_seconds: float = 7200.0
    """A session ends after this time."""
    max_idle_seconds: float = 0.0
    """A session ends after this time without voice and messages; 0: it does not."""
    max_bit_rate: int = 0
    """Bits per second of voice that are taken from a client; 0: any."""
    drain_timeout_seconds: float = 25.0
    """How long sessions may go on after SIGTERM."""
    redis: str | None = field(default=None, repr=False)
    """URL of heartbeats, perhaps with a password; None: none."""
    redis_password_file: Path | None = None
    """File with its password."""
    direct: Address | None = None
    """UDP address for media without a relay."""
    admin_socket: Path | None = None
    """Unix socket of the admin interface."""
    metrics: Address | None = None
    """TCP address of metrics and health."""
    log_format: LogFormat = "auto"
    """How log lines look."""
    log_addresses: bool = False
    """Whether they name clients' addresses."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may use signaling."""
    spp_insecure_public: bool = False
    """Whether SPP may go to networks outside the private ranges."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every IP address and network that the transceiver listens on, names or takes packets from."""
        sockets = [self.http, self.media, *self.ingresses, *(self.nodes or {}).values()]
        sockets += [address for address in (self.direct, self.signaling_address) if address]
        return (*(ip for ip, _ in sockets), *self.relays, *self.signaling_peers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParrotSettings:
    """What `rtcrelay serve parrot` runs with."""

    http: Address
    """TCP address of its WebSockets."""
    auth_token_file: Path | None = None
    """File with the Bearer token; None only if ``http`` is a loopback address."""
    log_format: LogFormat = "auto"
    """How log lines look."""
    log_addresses: bool = False
    """Whether they name clients' addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalingSettings:
    """What `rtcrelay serve signaling` runs with."""

    http: Address
    """TCP address where calls come in."""
    sites: Path
    """The file of ingresses and clusters."""
    key_file: Path
    """The key ring, which opens sessions' names."""
    told_ingresses: int = 2
    """Ingresses that a client is told at most."""
    auth_token_file: Path | None = None
    """File with the Bearer token; None only if ``http`` is a loopback address."""
    tls_cert: Path | None = None
    """Certificate chain (PEM); None: plain HTTP."""
    tls_key: Path | None = None
    """Its private key; there if and only if ``tls_cert`` is."""
    transceiver_cert: Path | None = None
    """Certificate of the transceivers' signaling; None: they speak plain HTTP."""
    signaling_peers: tuple[str, ...] = ("127.0.0.0/8",)
    """Networks with or without ports to which requests about sessions may be passed on."""
    nodes: Mapping[int, Address] | None = None
    """Node ids and their addresses."""
    trust_proxy: tuple[str, ...] = ()
    """Networks of proxies whose word on the client counts."""
    geo_database: Path | None = None
    """MaxMind database of places."""
    insecure_place_from_query: bool = False
    """Whether clients may say where they are."""
    redis: str | None = field(default=None, repr=False)
    """URL of where transceivers' heartbeats are, perhaps with a password; None: no heartbeats."""
    redis_password_file: Path | None = None
    """File with its password."""
    admin_socket: Path | None = None
    """Unix socket of the admin interface."""
    metrics: Address | None = None
    """TCP address of metrics and health."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may use signaling."""
    log_format: LogFormat = "auto"
    """How log lines look."""
    log_addresses: bool = False
    """Whether they name clients' addresses."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every IP address and network that signaling listens on or sends to."""
        return (self.http[0], *self.signaling_peers)


Settings = TypeVar("Settings", RelaySettings, TransceiverSettings, SignalingSettings)


def warn_of_what_waits(new: Settings, taken: Settings, service: logging.Logger) -> None:
    """Says which settings of a reload wait for the next start: those that ``new`` has otherwise than ``taken``, which
    the service runs with now."""
    for setting in fields(new):
        if getattr(new, setting.name) != getattr(taken, setting.name):
            service.warning("%s has changed, which takes effect at the next start", setting.name)
