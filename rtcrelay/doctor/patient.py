"""What is examined: settings, running services, and the machine below a root."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from rtcrelay import config
from rtcrelay.admin.client import AdminClient
from rtcrelay.config import RelaySettings, SignalingSettings, TransceiverSettings
from rtcrelay.config.check import configured_programs
from rtcrelay.config.text import is_loopback
from rtcrelay.doctor.finding import Finding
from rtcrelay.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface."""

    name: str
    mtu: int
    """Bytes of an IP packet."""
    addresses: tuple[str, ...]

    @property
    def is_loopback(self) -> bool:
        """Whether it leads nowhere else."""
        return any(is_loopback(address) for address in self.addresses)


@cache
def read_interfaces() -> tuple[Interface, ...]:
    """The interfaces of this network namespace, as ip(8) tells them. Raises OSError and ValueError."""
    command = ["ip", "-j", "address", "show"]
    shown = subprocess.run(command, capture_output=True, check=True, timeout=2)  # noqa: S603  # a fixed command
    return tuple(
        Interface(one["ifname"], one["mtu"], tuple(address["local"] for address in one.get("addr_info", ())))
        for one in json.loads(shown.stdout)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is looked at."""

    relay: RelaySettings | None = None
    """As configured; None: not configured here, or wrong."""
    transceiver: TransceiverSettings | None = None
    signaling: SignalingSettings | None = None
    expected: frozenset[str] = frozenset()
    """The services that were named, or have a table in a configuration file."""
    problems: Mapping[str, ConfigError] = field(default_factory=dict)
    """Why a service's settings are wrong."""
    admins: tuple[AdminClient, ...] = ()
    """Where services may run."""
    root: Path = Path("/")
    """Where ``proc`` lies."""
    interfaces: Callable[[], tuple[Interface, ...]] = read_interfaces
    seconds: float = 2.0
    """The longest wait for an answer."""

    def read(self, path: str) -> str | None:
        """A small file below the root, without white space around it; None if it cannot be read."""
        try:
            return (self.root / path).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None

    def read_number(self, path: str) -> int | None:
        """A file with a whole number; None if there is none."""
        text = self.read(path)
        return int(text) if text is not None and text.isdecimal() else None

    def interface_of(self, ip: str) -> Interface | None:
        """The interface that has an address. Raises OSError and ValueError."""
        if is_loopback(ip):
            return Interface("lo", 65_536, (ip,))
        return next((one for one in self.interfaces() if ip in one.addresses), None)

    @property
    def spp_addresses(self) -> list[str]:
        """The addresses between relays and transceivers, each once."""
        found = [internal[0] for _, internal in self.relay.listeners] if self.relay else []
        found += [self.transceiver.media[0]] if self.transceiver else []
        return list(dict.fromkeys(found))


Check: TypeAlias = Callable[[Patient], Iterable[Finding]]
"""Raises nothing that it expects; what it does raise becomes a SKIP."""


EXAMINED: Final = ("relay", "transceiver", "signaling")
"""The services that are looked at: a parrot is for trying things out."""


def admit(programs: Sequence[str], file: Path | None, sockets: Sequence[Path], seconds: float) -> Patient:
    """The patient that services with this configuration are. ``programs``: which; none: those with a table in the
    files or, without such a file, all. Raises ConfigError if a file cannot be read."""
    settings: dict[str, Any] = {}
    problems: dict[str, ConfigError] = {}
    expected = frozenset(programs or configured_programs(file, os.environ, every_if_none=False))
    for program in programs or configured_programs(file, os.environ):
        if program not in EXAMINED:
            continue
        try:
            settings[program] = config.READERS[program]({}, file)
        except ConfigError as error:
            problems[program] = error
    admins = tuple(AdminClient(socket, seconds) for socket in sockets)
    return Patient(**settings, expected=expected, problems=problems, admins=admins, seconds=seconds)
