"""Text into values: the only place where an operator's words are parsed.

Every function takes what was written and raises ValueError with the rest of a sentence that starts with it
("is not …, expected …"); the caller knows where it was written and says so.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Address: TypeAlias = tuple[str, int]
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|[smhd]))+$"
"""What `parse_duration` takes, as ECMA regular expressions have it."""
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_PORT = re.compile(r"\d{1,5}")

# Where SPP may go without further ado. Its source address is all the authentication it has, so a peer or a
# transceiver elsewhere means packets that anyone on the way can read, drop or forge.
_INTERNAL_NETWORKS: Sequence[IpNetwork] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",  # RFC 1122
        "169.254.0.0/16",  # RFC 3927
        "::1/128",
        "fe80::/10",  # RFC 4291
        "fc00::/7",  # RFC 4193, ULA
    )
)


def parse_duration(text: str) -> float:
    """Seconds of ``250ms``, ``90s``, ``1h30m``; a number needs its unit."""
    if not _DURATION.fullmatch(text):
        raise ValueError("is not a duration, expected for example 250ms, 60s or 1h30m")
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as ``seconds`` (whole milliseconds)."""
    milliseconds = round(seconds * 1000)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


@dataclass(frozen=True, slots=True)
class DurationBetween:
    """A parser for durations within limits, in seconds."""

    low: float
    high: float

    def __call__(self, text: str) -> float:
        """Seconds."""
        seconds = parse_duration(text)
        if not self.low <= seconds <= self.high:
            raise ValueError(f"is out of range, expected {format_duration(self.low)} to {format_duration(self.high)}")
        return seconds


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """A parser for decimal whole numbers within limits; ``10_000`` is allowed."""

    low: int
    high: int

    def __call__(self, text: str) -> int:
        """The number."""
        if not re.fullmatch(r"\d+(_\d+)*", text, re.ASCII) or not self.low <= int(text) <= self.high:
            raise ValueError(f"is not a whole number from {self.low} to {self.high}")
        return int(text)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A parser that accepts exactly the given words."""

    choices: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """The word."""
        if text not in self.choices:
            from difflib import get_close_matches

            near = get_close_matches(text, self.choices, 1)
            meant = f", did you mean {near[0]}?" if near else ""
            raise ValueError(f"is not one of {', '.join(self.choices)}{meant}")
        return text


def duration_between(low: float, high: float) -> DurationBetween:
    """A parser for durations from ``low`` to ``high`` seconds."""
    return DurationBetween(low, high)


def whole_number(low: int, high: int) -> WholeNumber:
    """A parser for whole numbers from ``low`` to ``high``."""
    return WholeNumber(low, high)


def one_of(*choices: str) -> OneOf:
    """A parser for one of some words."""
    return OneOf(choices)


def parse_cpus(text: str) -> tuple[int, ...]:
    """Processor numbers, ``0,2`` or ``4-7``, each from 0 to 1023, in the order given."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = [first, last if dash else first]
        if not all(re.fullmatch(r"\d{1,4}", end, re.ASCII) for end in ends) or not int(ends[0]) <= int(ends[1]) <= 1023:
            raise ValueError("is no list of processors such as 2,3 or 4-7 (0 to 1023)")
        numbers += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(numbers)


def parse_switch(text: str) -> bool:
    """True of true, yes, on, 1; False of false, no, off, 0."""
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError("is neither true nor false")


def parse_path(text: str) -> Path:
    """A file path; ``~`` is the home directory."""
    if not text or "\0" in text:
        raise ValueError("is not a file path")
    return Path(os.path.expanduser(text))  # Path.expanduser raises for an unknown user


def parse_name(text: str) -> str:
    """A name for logs and file names: letters, digits, dot, dash, underscore; at most 63."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", text, re.ASCII):
        raise ValueError("is not a name, expected 1 to 63 letters, digits, dots, dashes and underscores")
    return text


def parse_origin(text: str) -> str:
    """A web origin as browsers send it (RFC 6454 section 6.2), or ``*`` for all."""
    if text != "*" and not re.fullmatch(r"https?://[a-z0-9.\-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?", text):
        raise ValueError("is not a web origin, expected for example https://example.org or *")
    return text


def parse_ip(text: str) -> str:
    """An IP address in RFC 5952 form; an IPv4-mapped one becomes IPv4. No names, no zones."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("is not an IP address (names are not looked up)") from None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            raise ValueError("has a zone, expected an address that is valid without one")
        return str(ip.ipv4_mapped or ip)
    return str(ip)


def address(default_port: int | None = None, *, concrete: bool = False) -> Callable[[str], Address]:
    """A parser for ``ip:port`` and ``[ip6]:port``.

    Without a port, ``default_port`` is taken; None makes the port necessary. ``concrete`` refuses 0.0.0.0 and ::.
    """

    def parse(text: str) -> Address:
        host, port = _split_port(text, default_port)
        try:
            ip = parse_ip(host)
        except ValueError as error:
            raise ValueError(f"is not an address: {host!r} {error}") from None
        if concrete and is_wildcard(ip):
            raise ValueError("is a wildcard, expected the one address to use")
        return ip, port

    return parse


def _split_port(text: str, default_port: int | None) -> tuple[str, int]:
    expected = "expected IP:PORT or [IP6]:PORT"
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2)
    elif text.count(":") > 1:
        # "::1:3478" would be read as one address: never guess.
        raise ValueError(f"is ambiguous, {expected}, for example [2001:db8::1]:3478")
    else:
        host, colon, port = text.partition(":")
        port = port if colon else None
    if port is None and default_port is not None:
        return host, default_port
    if port is None:
        raise ValueError(f"has no port, {expected}")
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f"has no valid port: {port!r} is not 0 to 65535")
    return host, int(port)


def format_address(address: Address) -> str:
    """``ip:port`` or ``[ip6]:port``."""
    ip, port = address
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def parse_network(text: str) -> str:
    """A network as ``CIDR``; one address is a network too. Canonical: IPv4-mapped becomes IPv4."""
    ip, slash, prefix = text.partition("/")
    try:
        if "%" in text or (slash and not (prefix.isascii() and prefix.isdecimal())):
            raise ValueError  # a zone; a netmask such as 255.0.0.0
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is not a network, expected CIDR, for example 10.0.0.0/8") from None
    if ipaddress.ip_address(ip) != network.network_address:
        # Perhaps one address was meant, perhaps the whole network: never guess.
        raise ValueError(f"has bits set behind its prefix, expected {network}")
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped  # such addresses become IPv4 wherever packets pass
        network = ipaddress.ip_network((mapped, network.prefixlen - 96)) if mapped else network
    return str(network)


def parse_network_ports(text: str) -> str:
    """A network as ``CIDR``, ``CIDR:PORT`` or ``CIDR:FIRST-LAST``; IPv6 with ports as ``[CIDR]:PORT``."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
    if bracketed:
        cidr, ports = bracketed.group(1), bracketed.group(2)
    elif text.count(":") > 1:
        cidr, ports = text, None
    else:
        cidr, colon, tail = text.partition(":")
        ports = tail if colon else None
    network = parse_network(cidr)
    if ports is None:
        return network
    first, dash, last = ports.partition("-")
    last = last if dash else first
    if not (_PORT.fullmatch(first) and _PORT.fullmatch(last) and 1 <= int(first) <= int(last) <= 65535):
        raise ValueError(f"has no valid ports: {ports!r} is not PORT or FIRST-LAST from 1 to 65535")
    span = first if first == last else f"{int(first)}-{int(last)}"
    return f"[{network}]:{span}" if ":" in network else f"{network}:{span}"


def network_of(text: str) -> IpNetwork:
    """The network of what `parse_network` or `parse_network_ports` returned, without the ports."""
    bracketed = re.fullmatch(r"\[([^\]]*)\].*", text)
    if bracketed:
        return ipaddress.ip_network(bracketed.group(1))
    return ipaddress.ip_network(text if text.count(":") > 1 else text.partition(":")[0])


def ports_of(text: str) -> range:
    """The ports of what `parse_network` or `parse_network_ports` returned; all of them if it names none."""
    bracketed = re.fullmatch(r"\[[^\]]*\](?::(.*))?", text)
    if bracketed:
        span = bracketed.group(1) or ""
    elif text.count(":") > 1:
        span = ""
    else:
        span = text.partition(":")[2]
    first, dash, last = span.partition("-")
    return range(int(first), int(last if dash else first) + 1) if span else range(1, 65536)


def is_internal(text: str) -> bool:
    """Whether a network lies in the private, loopback, link-local or unique local ranges."""
    network = network_of(text)
    return any(_contains(internal, network) for internal in _INTERNAL_NETWORKS)


def first_overlap(left: Iterable[str], right: Iterable[str]) -> tuple[str, str] | None:
    """The first pair of networks, one of each list, that share an address; ports are not looked at."""
    others = list(right)
    for one in left:
        for other in others:
            if network_of(one).version == network_of(other).version and network_of(one).overlaps(network_of(other)):
                return one, other
    return None


def is_wildcard(ip: str) -> bool:
    """Whether an IP address is 0.0.0.0 or ::."""
    return ipaddress.ip_address(ip).is_unspecified


def is_loopback(ip_or_network: str) -> bool:
    """Whether an IP address or every address of a network is a loopback address."""
    return network_of(ip_or_network).is_loopback


def parse_node(text: str) -> tuple[int, Address]:
    """A line of the node table, ``ID=IP:PORT``."""
    node, equals, where = text.partition("=")
    if not equals:
        raise ValueError("is not a node, expected ID=IP:PORT, for example 17=[fd00::7]:7000")
    try:
        number = whole_number(0, 2**32 - 1)(node)
    except ValueError as error:
        raise ValueError(f"is not a node: the id {node!r} {error}") from None
    return number, address(concrete=True)(where)


def _contains(outer: IpNetwork, inner: IpNetwork) -> bool:
    if isinstance(outer, ipaddress.IPv4Network) and isinstance(inner, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(outer, ipaddress.IPv6Network) and isinstance(inner, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False
