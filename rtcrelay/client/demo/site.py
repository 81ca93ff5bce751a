"""One relay and some transceivers on loopback: the smallest whole deployment.

The demo and the tests run on it. What is written here is what an operator would type.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.lan import Access, write_access
from rtcrelay.client.demo.processes import Daemon, free_ports, is_free, stop_all
from rtcrelay.keys import DEMO_SECRET, format_key, write_key_file

HOST = "127.0.0.1"


DEFAULT_PORTS = (3478, 3479, 7000, 8080, 7001, 8081)
"""Ports of a relay and two transceivers as operators know them, for those who want to type them."""


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """What may differ between deployments. The defaults work; tests break one at a time."""

    nodes: tuple[str, ...] = ("a", "b")
    """Names of the transceivers."""
    cluster: int = 1
    """Cluster id, 0 to 65535."""
    relay_transceivers: str | None = None
    """Networks the relay forwards to; None: loopback, the transceivers' ports."""
    transceiver_relays: str = f"{HOST}/32"
    """Networks from which transceivers take relayed packets."""
    relay_secret: bytes = field(default=DEMO_SECRET, repr=False)
    """The relay's key, 16 bytes."""
    transceiver_secret: bytes = field(default=DEMO_SECRET, repr=False)
    """The transceivers' key, 16 bytes."""
    backend: str = "echo"
    """Who answers at every transceiver, as ``--backend`` names it."""
    extra_relay: tuple[str, ...] = ()
    """More arguments for the relay."""
    extra_transceiver: tuple[str, ...] = ()
    """More arguments for every transceiver."""
    lan: str | None = None
    """Address at which the network may call, by HTTPS and with a token; None: loopback only, without."""
    ports: tuple[int, ...] = ()
    """Public, internal, then media and HTTP of each transceiver; empty, or one of them taken: others that are free."""


@dataclass(frozen=True, slots=True)
class Transceiver:
    """One transceiver process and where it listens."""

    name: str
    media: tuple[str, int]
    """Its shared UDP socket."""
    url: str
    """Its WHIP address."""
    daemon: Daemon
    admin: Admin
    token: str | None = field(default=None, repr=False)
    """What signaling asks for."""

    @property
    def page(self) -> str:
        """Where a browser finds the page; the token is in the fragment, which no browser sends to a server."""
        page = self.url.removesuffix("whip")
        return f"{page}#token={self.token}" if self.token else page


@dataclass(frozen=True, slots=True)
class Relay:
    """The relay process and where it listens."""

    vip: tuple[str, int]
    """What clients are told."""
    internal: tuple[str, int]
    """Its return address; the port is the ingress id."""
    daemon: Daemon
    admin: Admin


@dataclass(slots=True)
class Site:
    """Processes that belong together, in a directory of their own (keys, logs, admin sockets)."""

    directory: Path
    options: SiteOptions = field(default_factory=SiteOptions)
    access: Access | None = field(init=False, default=None)
    """What callers from the network need; None without `SiteOptions.lan`."""
    relay: Relay = field(init=False)
    transceivers: tuple[Transceiver, ...] = field(init=False)

    def __post_init__(self) -> None:
        wanted = self.options.ports
        self.access = write_access(self.options.lan, self.directory) if self.options.lan else None
        hosts = {HOST, self.options.lan or HOST}
        usable = len(wanted) == 2 + 2 * len(self.options.nodes) and all(
            is_free(port, host) for port in wanted for host in hosts
        )
        public, internal, *rest = wanted if usable else free_ports(2 + 2 * len(self.options.nodes))
        media, http = rest[::2], rest[1::2]
        self.relay = self._relay(public, internal, media)
        self.transceivers = tuple(
            self._transceiver(name, port, http_port)
            for name, port, http_port in zip(self.options.nodes, media, http, strict=True)
        )

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """Every process."""
        return (self.relay.daemon, *(node.daemon for node in self.transceivers))

    async def start(self) -> list[float]:
        """Starts every process and returns how many milliseconds each took to be ready, in the order of `daemons`.

        The relay starts alone, so that its time is its own. BackendError if one does not get ready.
        """
        relay, *transceivers = self.daemons
        first = await relay.start()
        others = await asyncio.gather(*(daemon.start() for daemon in transceivers), return_exceptions=True)
        ready = [first]
        for result in others:
            if isinstance(result, BaseException):
                raise result
            ready.append(result)
        return ready

    async def stop(self) -> None:
        """Ends every process and the connections to them."""
        await stop_all(self.daemons)

    def _key_file(self, name: str, secret: bytes) -> str:
        # One file for all, as in a real site; the tests give some another key.
        shared = self.options.relay_secret == self.options.transceiver_secret
        path = self.directory / f"{'relay' if shared else name}.keys.toml"
        if not path.exists():
            write_key_file(path, format_key(0, secret, datetime.now(UTC)))
        return str(path)

    def _relay(self, public: int, internal: int, media: list[int]) -> Relay:
        options = self.options
        networks = options.relay_transceivers or f"{HOST}/32:{min(media)}-{max(media)}"
        socket = self.directory / "relay.sock"
        arguments = [
            *("relay", "-l", f"{self._outside}:{public}", "--internal", f"{HOST}:{internal}"),
            *("--transceivers", networks, "--cluster", str(options.cluster), "--admin", str(socket)),
            *("--key-file", self._key_file("relay", options.relay_secret), *options.extra_relay),
        ]
        daemon = Daemon("relay", arguments, self.directory)
        return Relay((self._outside, public), (HOST, internal), daemon, Admin(socket))

    def _transceiver(self, name: str, media: int, http: int) -> Transceiver:
        options = self.options
        socket = self.directory / f"transceiver-{name}.sock"
        vip = f"{self._outside}:{self.relay.vip[1]}"
        arguments = [
            *("transceiver", "--http", f"{self._outside}:{http}", "--media", f"{HOST}:{media}", "--ingress", vip),
            *("--node", name, "--cluster", str(options.cluster), "--relays", options.transceiver_relays),
            *("--backend", options.backend),
            *("--drain-timeout", "0s"),  # nobody waits for the end of the sessions here
            *("--admin", str(socket), "--key-file", self._key_file(f"transceiver-{name}", options.transceiver_secret)),
            *options.extra_transceiver,
        ]
        scheme, token = "http", None
        if self.access is not None:
            scheme, token = "https", self.access.token
            arguments += ["--tls-cert", str(self.access.cert_file), "--tls-key", str(self.access.key_file)]
            arguments += ["--auth-token-file", str(self.access.token_file)]
        daemon = Daemon(f"transceiver-{name}", arguments, self.directory)
        url = f"{scheme}://{self._outside}:{http}/whip"
        return Transceiver(name, (HOST, media), url, daemon, Admin(socket), token)

    @property
    def _outside(self) -> str:
        return self.options.lan or HOST
