"""The paths of running relays, and what happens to them: page by page, filtered, from any number of admin sockets."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from rtcrelay.admin.client import AdminClient
from rtcrelay.config.text import parse_ip, parse_network
from rtcrelay.errors import PeerError

Row: TypeAlias = Mapping[str, Any]
Matcher: TypeAlias = Callable[[str], bool]
"""Whether an ``ip:port`` is meant."""

PAGE: Final = 10_000
"""Paths a relay gives at once, at most."""
STATES: Final = ("strong", "weak", "pending", "none")
"""A path's state is its surest claim's; ``none``: nobody claims it."""


class _Page(msgspec.Struct):
    flows: list[msgspec.Raw]
    next_cursor: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which paths are meant: any value of one kind, and all kinds that were given."""

    sources: tuple[Matcher, ...] = ()
    """Of the client's address."""
    destinations: tuple[Matcher, ...] = ()
    """Of any claim's next hop."""
    states: tuple[str, ...] = ()
    """Of `STATES`."""
    idle_above_seconds: tuple[float, ...] = ()
    """Idle for longer than any of these."""

    def __bool__(self) -> bool:
        return bool(self.sources or self.destinations or self.states or self.idle_above_seconds)

    def takes(self, row: Row) -> bool:
        """Whether a flow is meant."""
        return (
            self.takes_addresses(row["client"], [claim["next_hop"] for claim in row["claims"]])
            and (not self.states or row["state"] in self.states)
            and (not self.idle_above_seconds or row["idle_s"] > min(self.idle_above_seconds))
        )

    def takes_addresses(self, client: str, next_hops: Iterable[str]) -> bool:
        """Whether these addresses are meant, as far as addresses can tell."""
        if self.sources and not any(match(client) for match in self.sources):
            return False
        return not self.destinations or any(match(hop) for hop in next_hops for match in self.destinations)


def parse_matcher(text: str) -> Matcher:
    """A matcher of ``IP``, ``CIDR``, ``IP:PORT`` or ``[IP6]:PORT``. Raises ValueError with the end of a sentence."""
    host, colon, port = text.rpartition(":")
    if colon and port.isascii() and port.isdecimal() and (":" not in host or host.startswith("[")):
        try:
            ip = parse_ip(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            raise ValueError("is no address, expected IP, CIDR, IP:PORT or [IP6]:PORT") from None
        wanted = f"[{ip}]:{int(port)}" if ":" in ip else f"{ip}:{int(port)}"
        return lambda address: address == wanted
    try:
        network = ipaddress.ip_network(parse_network(text))
    except ValueError:
        raise ValueError("is no address, expected IP, CIDR, IP:PORT or [IP6]:PORT") from None
    return lambda address: ipaddress.ip_address(address.rpartition(":")[0].strip("[]")) in network


def read_pages(admin: AdminClient) -> Iterator[list[msgspec.Raw]]:
    """A relay's flows as JSON, page by page. Raises BackendError and PeerError."""
    # While one page is worked on, the relay makes the next.
    with ThreadPoolExecutor(1) as ahead:
        page = _read_page(admin, 0)
        while page.next_cursor:
            following = ahead.submit(_read_page, admin, page.next_cursor)
            yield page.flows
            page = following.result()
        yield page.flows


def _read_page(admin: AdminClient, cursor: int) -> _Page:
    body = admin.fetch(f"/v1/flows?cursor={cursor}&limit={PAGE}")
    try:
        return msgspec.json.decode(body, type=_Page)
    except msgspec.DecodeError as error:
        raise PeerError(f"{admin.socket} answered /v1/flows in another form than expected: {error}") from error


def read_flows(admin: AdminClient, wanted: Filter) -> Iterator[dict[str, Any]]:
    """The flows of a relay that are meant."""
    decode = msgspec.json.Decoder().decode
    for flows in read_pages(admin):
        for raw in flows:
            row = decode(raw)
            if wanted.takes(row):
                yield row


def kill_flows(admin: AdminClient, flows: Sequence[Row]) -> int:
    """Has a relay forget flows; returns how many were still there. Raises BackendError and PeerError."""
    killed = 0
    for at in range(0, len(flows), PAGE):
        paths = [{"client": row["client"], "ingress": row["ingress"]} for row in flows[at : at + PAGE]]
        killed += int(admin.read("/v1/flows/kill", "POST", paths)["killed"])
    return killed


def read_events(admin: AdminClient, wanted: Filter, kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What happens from now on to paths that are meant, by event; records of lost events always."""
    decode = msgspec.json.Decoder().decode
    for line in admin.stream("/v1/flows/events"):
        if line == b"\n":
            continue
        row = decode(line)
        if row["kind"] == "lost" or (
            (not kinds or row["event"] in kinds)
            and wanted.takes_addresses(row["client"], [row["next_hop"]] if row["next_hop"] else [])
        ):
            yield row
