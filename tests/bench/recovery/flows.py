"""Thousands of calls without their cryptography, which a relay does not read: who sends what, and when it came.

Every client has an address of its own in 127.0.0.0/8, and all share one socket; the transceiver at the other end is
another socket. Checks, their answers and the SPP headers are real; RTP packets carry a flow and a number.
"""

from __future__ import annotations

import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rtcrelay._dataplane import SPP_HEADER, KeyRing, Route, SppHeader, mint_ufrag, pack_spp

from .batches import IP_PKTINFO, ROW, Batch

PAYLOAD: Final = ROW - SPP_HEADER
"""Bytes of every RTP packet, so that a row holds one with its SPP header."""
_RTP: Final = struct.Struct(">BBHIIII")
"""RTP header (RFC 3550), then flow and number."""
_FIELDS: Final = struct.Struct(">II")
"""Flow and number, at `_AT` of a payload."""
_AT: Final = 12
_SUCCESS: Final = bytes.fromhex("010100002112a442")
_BUFFER_BYTES: Final = 1 << 26
_BATCH: Final = 512
CHECK_SECONDS: Final = 2.5
"""Between consent checks, as Chromium."""


@dataclass
class Direction:
    """What was sent and what arrived one way, in time order."""

    sent: list[tuple[float, int, int, int]] = field(default_factory=list)
    """(time, first flow, flow after the last, number): a burst of one packet of each flow."""
    echoed: list[tuple[float, bytes]] = field(default_factory=list)
    """(time, rows): packets that were sent back."""
    arrived: list[tuple[float, bytes]] = field(default_factory=list)
    """(time, rows)."""


class Turns:
    """Which flows speak when: each once in every round, evenly spread over it."""

    def __init__(self, count: int, spacing: float, phase: float) -> None:
        """``phase`` is the part of a round, 0 to 1, by which this begins earlier."""
        self._count, self._spacing = count, spacing
        self._last: float | None = None
        self._due = phase * count
        self._spoken = self._number = 0

    def due(self, now: float) -> Iterator[tuple[int, int, int]]:
        """(first flow, flow after the last, number of the round) of the bursts since the last call. After a pause of
        more than a round the clock begins anew."""
        passed = 0.0 if self._last is None else now - self._last
        self._last = now
        self._due += min(passed / self._spacing, 1.0) * self._count
        while self._due >= 1:
            first = self._spoken
            last = min(self._count, first + int(self._due))
            self._due -= last - first
            yield first, last, self._number
            self._spoken = last % self._count
            self._number += self._spoken == 0


class Flows:
    """The clients and the transceiver."""

    def __init__(self, ring: KeyRing, count: int, spacing: float, *, echo: bool, checks: bool = False) -> None:
        """Each flow sends every ``spacing`` seconds. With ``echo`` the transceiver answers each packet and says
        nothing else, so that nobody can learn a route from it; else it sends as many by itself. With ``checks``
        clients check every 2.5 s."""
        self.ring, self.count, self.spacing, self.echo, self.checks = ring, count, spacing, echo, checks
        self.hosts = [f"127.{1 + at // 62500}.{at // 250 % 250}.{1 + at % 250}" for at in range(count)]
        self._flow_of = {host: at for at, host in enumerate(self.hosts)}
        self.clients, self.transceiver = _bound("0.0.0.0"), _bound("127.0.0.1")
        self.up, self.down = Direction(), Direction()
        self._up_turns, self._down_turns = Turns(count, spacing, 0.0), Turns(count, spacing, 0.5)
        self._from_clients, self._from_transceiver = Batch(count), Batch(count)
        self._from_clients.set_length(PAYLOAD)
        self._from_clients.send_from(self.hosts)
        self._received = Batch(_BATCH)
        self._ufrags: list[bytes] = []
        self._next_checks: list[float] = []
        for at in range(count):
            self._fill(self._from_clients.rows, at, 0)

    @property
    def address(self) -> tuple[str, int]:
        """Of the transceiver."""
        name: tuple[str, int] = self.transceiver.getsockname()
        return name

    def point_at(self, public: tuple[str, int], internal: tuple[str, int]) -> None:
        """Clients send to ``public`` from now on; the transceiver, where it does not echo, through ``internal``."""
        self.public = public
        self._from_clients.send_to(public)
        self._from_transceiver.send_to(internal)
        port = self.clients.getsockname()[1]
        for at, host in enumerate(self.hosts):
            self._from_transceiver.rows[at * ROW : at * ROW + SPP_HEADER] = pack_spp(SppHeader((host, port), internal))
            self._fill(self._from_transceiver.rows, at, SPP_HEADER)

    def establish(self) -> None:
        """A check of every flow, its answer, and media both ways: strong claims. TimeoutError after 30 s."""
        ip, port = self.address
        for at in range(self.count):
            route = Route("endpoint", 0, ip=ip, port=port, nonce=at, key_id=self.ring.active or 0)
            self._ufrags.append(mint_ufrag(self.ring, route).encode())
        begun = time.monotonic()
        open_flows = set(range(self.count))
        while open_flows:
            if time.monotonic() > begun + 30:
                raise TimeoutError(f"{len(open_flows)} of {self.count} flows were not established")
            for at in list(open_flows)[:200]:
                self._check(at)
            end = time.monotonic() + 0.05
            while time.monotonic() < end:
                self._take()
            for _, rows in self.down.arrived:
                for start in range(0, len(rows), ROW):
                    if rows[start] == 0x80:
                        open_flows.discard(_FIELDS.unpack_from(rows, start + _AT)[0])
            self.forget()
        now = time.monotonic()
        self._next_checks = [now + CHECK_SECONDS * secrets.randbelow(1000) / 1000 for _ in range(self.count)]

    def forget(self) -> None:
        """Begins the record anew."""
        self.up, self.down = Direction(), Direction()

    def run(self, seconds: float, on_tick: Callable[[float], object] = lambda now: None) -> None:
        """Lets every flow speak for so long; ``on_tick`` is called with the time at least every millisecond."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self._speak(now)
            if self.checks:
                self._check_when_due(now)
            on_tick(now)
            self._take()

    def settle(self, seconds: float = 0.2) -> None:
        """Takes what is still under way."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._take()

    def close(self) -> None:
        """Ends both sockets."""
        self.clients.close()
        self.transceiver.close()

    def _fill(self, rows: bytearray, at: int, offset: int) -> None:
        _RTP.pack_into(rows, at * ROW + offset, 0x80, 0x6F, 0, 0, at + 1, at, 0)

    def _speak(self, now: float) -> None:
        """Sends what is due: flow after flow, round after round, both sides half a round apart."""
        for first, last, number in self._up_turns.due(now):
            self._number(self._from_clients.rows, first, last, number, 0)
            self._from_clients.send(self.clients, first, last)
            self.up.sent.append((now, first, last, number))
        for first, last, number in () if self.echo else self._down_turns.due(now):
            self._number(self._from_transceiver.rows, first, last, number, SPP_HEADER)
            self._from_transceiver.send(self.transceiver, first, last)
            self.down.sent.append((now, first, last, number))

    def _number(self, rows: bytearray, first: int, last: int, number: int, offset: int) -> None:
        low, whole = (number & 0xFFFF).to_bytes(2, "big"), number.to_bytes(4, "big")
        for at in range(first * ROW + offset, last * ROW + offset, ROW):
            rows[at + 2 : at + 4] = low
            rows[at + 16 : at + 20] = whole

    def _take(self) -> None:
        """Takes what has arrived at both ends, and waits a moment if nothing has."""
        ready, _, _ = select.select((self.clients, self.transceiver), (), (), 0.0005)
        for sock in ready:
            count = self._received.receive(sock)
            now = time.monotonic()
            if sock is self.clients:
                self._keep(self.down.arrived, now, count)
                continue
            if 0 in self._received.column(SPP_HEADER, count):
                self._answer_checks(count)
            self._keep(self.up.arrived, now, count)
            if self.echo:
                self._received.send(self.transceiver, 0, count)
                self._keep(self.down.echoed, time.monotonic(), count)

    def _keep(self, record: list[tuple[float, bytes]], now: float, count: int) -> None:
        if count:
            record.append((now, bytes(self._received.rows[: count * ROW])))

    def _answer_checks(self, count: int) -> None:
        """Success, and a packet of media, to every check among the received rows."""
        for row in self._received.taken(count):
            if row[SPP_HEADER] == 0:
                # Both addresses are IPv4-mapped.
                host = socket.inet_ntoa(row[14:18])
                proxy = (socket.inet_ntoa(row[30:34]), int.from_bytes(row[36:38], "big"))
                success = _SUCCESS + row[SPP_HEADER + 8 : SPP_HEADER + 20]
                self.transceiver.sendto(row[:SPP_HEADER] + success, proxy)
                media = bytearray(PAYLOAD)
                _RTP.pack_into(media, 0, 0x80, 0x6F, 0, 0, 1, self._flow_of[host], 0xFFFF_FFFF)
                self.transceiver.sendto(row[:SPP_HEADER] + media, proxy)

    def _check_when_due(self, now: float) -> None:
        for at, due in enumerate(self._next_checks):
            if now >= due:
                self._check(at)
                self._next_checks[at] = now + CHECK_SECONDS

    def _check(self, at: int) -> None:
        username = self._ufrags[at] + b":abcd"
        attribute = struct.pack(">HH", 6, len(username)) + username + bytes(-len(username) % 4)
        head = struct.pack(">HHI", 1, len(attribute), 0x2112A442) + secrets.token_bytes(12)
        info = struct.pack("=I4s4s", 0, socket.inet_aton(self.hosts[at]), bytes(4))
        self.clients.sendmsg([head, attribute], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, self.public)


def numbers(record: Sequence[tuple[float, bytes]], offset: int) -> list[tuple[float, int, int]]:
    """(time, flow, number) of every RTP packet in a record; ``offset`` is where its payload begins."""
    found = []
    for at, rows in record:
        for start in range(offset, len(rows), ROW):
            if rows[start] == 0x80:
                flow, number = _FIELDS.unpack_from(rows, start + _AT)
                if number != 0xFFFF_FFFF:
                    found.append((at, flow, number))
    return found


def _bound(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for plain, forced in ((socket.SO_RCVBUF, 33), (socket.SO_SNDBUF, 32)):  # SO_RCVBUFFORCE, SO_SNDBUFFORCE
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock
