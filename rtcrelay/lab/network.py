"""Namespaces, interfaces and routes: made from a plan by ip(8)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rtcrelay.errors import BackendError, ExitStatus
from rtcrelay.lab import roles
from rtcrelay.lab.kernel import NAMESPACES, TUN, inside
from rtcrelay.lab.plan import Host, Plan


def require_root() -> None:
    """Raises BackendError for anybody else: network namespaces are root's."""
    if os.geteuid() != 0:
        raise BackendError(
            "the laboratory makes network namespaces, which only root may",
            hint="run it by sudo",
            status=ExitStatus.PERMISSION,
        )


def check_machine(plan: Plan) -> None:
    """Raises BackendError that says what this machine or this user lacks."""
    require_root()
    roles.require_programs(plan)
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise BackendError(
            f"the laboratory's links are TUN devices, and {TUN} cannot be opened: {(error.strerror or '').lower()}",
            hint="modprobe tun; in a container, --device /dev/net/tun and --cap-add NET_ADMIN",
        ) from error


def require_free(plan: Plan) -> None:
    """Raises BackendError if a namespace of that name is there, whoever made it."""
    for namespace in plan.namespaces:
        if (NAMESPACES / namespace).exists():
            raise BackendError(
                f"there is a network namespace {namespace}, which is not this laboratory's",
                hint=f"'ip netns delete {namespace}' removes it",
            )


def make_namespaces(plan: Plan) -> None:
    """All of them, empty, and each service joined with its router."""
    _ip(None, [f"netns add {namespace}" for namespace in plan.namespaces])
    for host in plan.hosts:
        with inside(host.namespace):
            _set_up_kernel(host)
    _ip(None, plan.local_commands())


def set_up_interfaces(plan: Plan) -> None:
    """Addresses and routes; the links' devices must be there."""
    for host in plan.hosts:
        _ip(host.namespace, plan.commands(host))


def delete_namespaces(namespaces: Iterable[str]) -> None:
    """Those that are there."""
    _ip(None, [f"netns delete {name}" for name in namespaces if (NAMESPACES / name).exists()])


def _set_up_kernel(host: Host) -> None:
    """Of this thread's namespace."""
    settings = Path("/proc/sys/net")
    if host.role == "router":
        (settings / "ipv4/ip_forward").write_text("1")
    with suppress(FileNotFoundError):  # a kernel without it has no such packets either
        # Else every device looks for IPv6 routers: packets that nobody sent, on links that are counted.
        (settings / "ipv6/conf/default/disable_ipv6").write_text("1")


def _ip(namespace: str | None, lines: Sequence[str]) -> None:
    """Lines of ip(8), in a namespace or not. Raises BackendError."""
    # It dies with us: whoever removes what a killed 'up' left must not meet an ip(8) that still makes more of it.
    words = ["setpriv", "--pdeathsig", "KILL", "ip", *(["-n", namespace] if namespace else []), "-batch", "-"]
    done = subprocess.run(words, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        where = f" in {namespace}" if namespace else ""
        raise BackendError(f"the network cannot be built{where}: {done.stderr.strip().splitlines()[0]}")
