"""The relays that are compared, each as its own community runs it for speed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rtcrelay._dataplane import Route, mint_ufrag
from rtcrelay.keys import generate, load_key_file, write_key_file

from .lab import inside, measured, run

PROGRAMS = Path(__file__).parent / "programs"
FLOWS = 262_144
"""Room in our relay's table."""


@dataclass(frozen=True, slots=True)
class Built:
    """The programs of the bench, compiled, and what they need."""

    folder: Path

    @property
    def ufrags(self) -> Path:
        """27 bytes for each flow."""
        return self.folder / "ufrags"


@dataclass(frozen=True, slots=True)
class Variant:
    """One relay."""

    what: str
    command: Callable[[Built], Sequence[str | Path]] | None
    """What runs in the relay's namespace; None: the kernel alone."""
    needs: str = "true"
    """The program it needs, and the Debian package of that name or another."""
    package: str = ""
    max_flows: int = 100_000
    is_turn: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    seconds_to_start: float = 0.5


def build(folder: Path, flows: int) -> Built:
    """Compiles the programs into ``folder`` and mints a ufrag for each flow. SystemExit names a missing tool."""
    arch = run("gcc", "-print-multiarch").strip()
    target: list[str | Path] = ["clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{arch}"]
    run(*target, "-c", PROGRAMS / "wire.bpf.c", "-o", folder / "wire.bpf.o")
    flags: list[str | Path] = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror"]
    run(*flags, PROGRAMS / "generator.c", "-o", folder / "generator", "-lbpf")
    for name in ("echo", "relay"):
        run(*flags, PROGRAMS / f"{name}.c", "-o", folder / f"c_{name}")
    go: list[str | Path] = [
        "env",
        f"GOCACHE={folder / 'go'}",
        "go",
        "build",
        "-C",
        PROGRAMS / "gorelay",
        "-o",
        folder / "go_relay",
        ".",
    ]
    run(*go)
    write_key_file(folder / "keys.toml", generate())
    ring = load_key_file(folder / "keys.toml").ring
    routes = (Route("endpoint", 1, ip="10.2.0.2", port=5000, nonce=flow) for flow in range(flows))
    built = Built(folder)
    built.ufrags.write_bytes("".join(mint_ufrag(ring, route) for route in routes).encode())
    return built


def _ours(built: Built, *options: str) -> list[str | Path]:
    listen = ["--listen", "10.1.0.1:3478", "--internal", "10.2.0.1:3479", "--transceivers", "10.2.0.2/32:5000"]
    admission = ["--admission-exempt", "10.64.0.0/10", "--max-flows", str(FLOWS), "--idle-timeout", "10m"]
    command = [sys.executable, "-m", "rtcrelay", "serve", "relay", "--cluster", "1", "--admin", "none"]
    return [*command, "--key-file", built.folder / "keys.toml", *listen, *admission, *options]


def _coturn(built: Built) -> list[str | Path]:
    words = "-n --no-auth --no-tls --no-dtls --no-tcp --no-tcp-relay --no-cli --no-stdout-log --relay-threads 1"
    addresses = "--listening-ip 10.1.0.1 --relay-ip 10.2.0.1 --listening-port 3478 --min-port 10000 --max-port 65535"
    files: list[str | Path] = [
        "--log-file",
        "/dev/null",
        "--pidfile",
        built.folder / "turn.pid",
        "--userdb",
        built.folder / "turn.db",
    ]
    return ["turnserver", *words.split(), *addresses.split(), *files]


def _nginx(built: Built) -> list[str | Path]:
    return ["nginx", "-p", built.folder, "-e", built.folder / "nginx.err", "-c", PROGRAMS / "nginx.conf"]


VARIANTS = {
    "ours": Variant("rtcrelay serve relay", _ours, seconds_to_start=1.0),
    "c": Variant("bare C, the same header", lambda built: [built.folder / "c_relay"]),
    "c-connected": Variant("the same, upstream socket connected", lambda built: [built.folder / "c_relay", "-c"]),
    "c-single": Variant("the same, a datagram a call", lambda built: [built.folder / "c_relay", "-s"]),
    "go": Variant("Go, SO_REUSEPORT and LockOSThread", lambda built: [built.folder / "go_relay"], "go", "golang"),
    "nginx": Variant("nginx stream", _nginx, "nginx", "libnginx-mod-stream", max_flows=10_000),
    "coturn": Variant("coturn, ChannelData", _coturn, "turnserver", "coturn", max_flows=10_000, is_turn=True),
    "nft": Variant("nftables DNAT, the kernel alone", None, "nft", "nftables"),
}


@contextmanager
def running(variant: Variant, built: Built) -> Iterator[list[int]]:
    """Runs a relay; yields the process ids whose time is its cost."""
    if variant.command is None:
        run(*inside("r", "sysctl", "-qw", "net.ipv4.ip_forward=1"))
        run(*inside("r", "nft", "-f", PROGRAMS / "dnat.nft"))
        yield []
        run(*inside("r", "nft", "flush", "ruleset"))
        run(*inside("r", "sysctl", "-qw", "net.ipv4.ip_forward=0"))
        return
    log = (built.folder / "relay.log").open("w")
    command = inside("r", *measured(*variant.command(built)))
    environment = {**os.environ, **dict(variant.environment)}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        time.sleep(variant.seconds_to_start)
        if process.poll() is not None:
            raise SystemExit(f"{variant.what} did not start: {(built.folder / 'relay.log').read_text()[-500:]}")
        yield [process.pid]
        if process.poll() is not None:
            raise SystemExit(f"{variant.what} ended: {(built.folder / 'relay.log').read_text()[-500:]}")
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
