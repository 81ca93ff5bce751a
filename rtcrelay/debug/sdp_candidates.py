"""Which candidates does a description tell, usable or not? (RFC 8839 section 5.1, RFC 6544 for TCP)

A call needs only what `rtcrelay.rtc.sdp` reads; who looks for a fault wants to see the rest as well.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_CANDIDATE: Final = re.compile(
    r"([!-~]{1,32}) ([0-9]{1,3}) ([A-Za-z]+) ([0-9]{1,10}) ([!-~]{1,255}) ([0-9]{1,5}) typ ([a-z]+)((?: .*)?)", re.ASCII
)
MAX_CANDIDATES: Final = 256
"""Candidate lines that are looked at. Chosen: a host with many interfaces tells some dozens."""

_SHARED = ipaddress.ip_network("100.64.0.0/10")
"""RFC 6598: behind a carrier's NAT."""


@dataclass(frozen=True, slots=True)
class ToldCandidate:
    """A candidate as written."""

    media: int
    """Number of the m-line, from 0; -1 before the first."""
    foundation: str
    component: int
    transport: str
    """In lower case."""
    priority: int
    host: str
    """An IP address in RFC 5952 form, or a name."""
    port: int
    kind: str
    related: str | None
    """The address of ``raddr``."""
    tcp_type: str | None

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address; None if the host is a name, as in mDNS candidates."""
        return _maybe_ip(self.host)


def read_candidates(text: str) -> tuple[list[ToldCandidate], list[str]]:
    """All candidates, and the lines that are none though they say so (both bounded)."""
    found: list[ToldCandidate] = []
    bad: list[str] = []
    media = -1
    for line in text.splitlines():
        if line.startswith("m="):
            media += 1
        elif line.startswith("a=candidate:") and len(found) + len(bad) < MAX_CANDIDATES:
            candidate = _read(media, line.removeprefix("a=candidate:").strip())
            if candidate is None:
                bad.append(line[:200])
            else:
                found.append(candidate)
    return found, bad


def is_private(host: str) -> bool:
    """Whether an address is of use, and of interest, only inside somebody's network. Names and 0.0.0.0 are not."""
    ip = _maybe_ip(host)
    if ip is None or ip.is_unspecified:
        return False
    # Documentation networks count as private in the standard library; here they stand for public ones.
    if ip.version == 4:
        inside = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
        return ip.is_loopback or ip in _SHARED or any(ip in ipaddress.ip_network(network) for network in inside)
    return ip.is_loopback or ip.is_link_local or ip in ipaddress.ip_network("fc00::/7")


def _read(media: int, text: str) -> ToldCandidate | None:
    match = _CANDIDATE.fullmatch(text)
    if match is None or int(match[6]) > 65_535:
        return None
    words = match[8].split()
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    ip = _maybe_ip(match[5])
    return ToldCandidate(
        media,
        match[1],
        int(match[2]),
        match[3].lower(),
        int(match[4]),
        match[5] if ip is None else str(ip),
        int(match[6]),
        match[7],
        pairs.get("raddr"),
        pairs.get("tcptype"),
    )


def _maybe_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
