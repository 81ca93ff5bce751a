"""Which ufrag does a probe send? A given one, or a probe ufrag made with the key ring, of which nothing is created."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtcrelay import config, keys
from rtcrelay._dataplane import KeyRing, Route, mint_ufrag
from rtcrelay.cli.key_options import KEY_FILE_HELP
from rtcrelay.cli.options import Common, whole
from rtcrelay.cli.packets import maybe_key_file
from rtcrelay.cli.ufrag import ipv4_endpoint
from rtcrelay.config.options import CLUSTER
from rtcrelay.config.sources import load_files, resolve
from rtcrelay.config.text import is_loopback
from rtcrelay.errors import UsageError

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, UfragKind
    from rtcrelay.keys import KeyFile

ENDPOINT = typer.Option(
    "--endpoint", metavar="IP:PORT", help="Transceiver to reach: its media address, IPv4. Made into a probe ufrag."
)
NODE = typer.Option("--node", metavar="N", help="Transceiver to reach, by node id, 0 to 4294967295.")
CLUSTER_ID = typer.Option(
    "--cluster", metavar="ID", help=f"Its cluster, 0 to 65535. [default: 0] [env: {CLUSTER.variable}]"
)
KEYS = typer.Option(
    "--key-file",
    metavar="FILE",
    help=f"{KEY_FILE_HELP} For a target on loopback, the published key of 'rtcrelay demo' if none is configured.",
)


@dataclass(frozen=True, slots=True)
class Minted:
    """A probe ufrag and what belongs to it."""

    ufrag: str
    password: str = field(repr=False)
    key_id: int
    cluster: int
    where: str
    """The transceiver that it names: ``ip:port`` or ``node N``."""

    @property
    def username(self) -> str:
        """For USERNAME, with a random sender's half."""
        return f"{self.ufrag}:{secrets.token_hex(4)}"


def mint_probe(endpoint: str | None, node: str | None, cluster: str | None, ring: KeyFile, options: Common) -> Minted:
    """A new probe ufrag (kind 8 or 9) with the active key. Raises UsageError, ConfigError."""
    route = probe_route(endpoint, node, cluster, ring, options)
    ufrag = mint_ufrag(ring.ring, route)
    password = ring.probe_password(ufrag)
    assert password is not None, "an active key has a probe password"
    where = f"node {route.node}" if route.ip is None else f"{route.ip}:{route.port}"
    return Minted(ufrag, password, route.key_id, route.cluster, where)


def probe_route(
    endpoint: str | None,
    node: str | None,
    cluster: str | None,
    ring: KeyFile,
    options: Common,
    *,
    is_probe: bool = True,
) -> Route:
    """What the options say of a transceiver, with the active key and a new nonce. Raises UsageError, ConfigError."""
    if (endpoint is None) == (node is None):
        raise UsageError("expected one of --endpoint and --node", hint="rtcrelay status shows both of a transceiver")
    number = resolve(None, CLUSTER, {"cluster": cluster}, load_files(options.config, os.environ), os.environ).parsed
    key_id, nonce = keys.require_active_key(ring), secrets.randbits(24)
    if endpoint is not None:
        ip, port = ipv4_endpoint("--endpoint", endpoint)
        kind: UfragKind = "probe_endpoint" if is_probe else "endpoint"
        return Route(kind, number, ip=ip, port=port, nonce=nonce, key_id=key_id)
    node_id = whole("--node", node or "", 0, 2**32 - 1)
    return Route("probe_node" if is_probe else "node", number, node=node_id, nonce=nonce, key_id=key_id)


def key_file_for(target: Address, named: str | None, options: Common) -> KeyFile:
    """The key ring that is configured; on loopback else the demo's published one. Raises ConfigError."""
    found = maybe_key_file(named, options)
    if found is not None:
        return found
    if is_loopback(target[0]):
        return demo_ring()
    return keys.load_key_file(config.find_key_file({"key_file": named}, options.config))


def demo_ring() -> KeyFile:
    """The published key of ``rtcrelay demo``, which is good for loopback alone."""
    key = keys.Key(0, keys.DEMO_SECRET, "active")
    return keys.KeyFile(Path("the demo's published key"), KeyRing([(0, keys.DEMO_SECRET, "active")]), (key,))
