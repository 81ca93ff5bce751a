"""The judge of calls: each datagram is seen once, also one that passes loopback as a part of a group."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rtcrelay._dataplane import SPP_HEADER

from .processes import until
from .tap import Tap
from .test_rows import may_tap

pytestmark = pytest.mark.skipif(not may_tap(), reason="no packet socket: run as root, or under unshare -rn")

UDP_SEGMENT = 103
SSRC = 7


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, ...]]:
    """A client, the relay's public and internal one, and a transceiver's."""
    with ExitStack() as stack:
        made = tuple(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(4))
        for sock in made:
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(5)
        yield made


def rtp(number: int, length: int = 100) -> bytes:
    return struct.pack("!BBHII", 0x80, 111, number, 0, SSRC).ljust(length, b"\x55")


def send_together(sock: socket.socket, datagrams: list[bytes], target: tuple[str, int]) -> None:
    """As the relay does: one call, one pass through the kernel (UDP GSO)."""
    each = struct.pack("=H", len(datagrams[0]))
    sock.sendmsg(datagrams, [(socket.IPPROTO_UDP, UDP_SEGMENT, each)], 0, target)


def test_every_datagram_of_a_group_is_seen_at_all_four_places(sockets: tuple[socket.socket, ...]) -> None:
    client, public, internal, media = sockets
    ways = {
        "up_sent": (client, public, 0),
        "up_arrived": (internal, media, SPP_HEADER),
        "down_sent": (media, internal, SPP_HEADER),
        "down_arrived": (public, client, 0),
    }
    with Tap(public.getsockname(), media.getsockname()) as tap:
        for source, target, before in ways.values():
            packets = [bytes(before) + rtp(number) for number in range(1, 4)]
            packets.append(bytes(before) + rtp(4, 40))  # the last of a group may be shorter
            send_together(source, packets, target.getsockname())
            assert [target.recv(2048) for _ in packets] == packets
        for where, (source, target, before) in ways.items():
            source.sendto(bytes(before) + rtp(5), target.getsockname())
            until(lambda where=where: len(tap.seen(where)) >= 5, f"five packets {where}")
            assert [(ssrc, number) for _, ssrc, number in tap.seen(where)] == [(SSRC, n) for n in range(1, 6)]


def test_what_is_no_rtp_is_not_counted(sockets: tuple[socket.socket, ...]) -> None:
    client, public, _, media = sockets
    with Tap(public.getsockname(), media.getsockname()) as tap:
        for payload in (b"", b"\x16\xfe\xfd", bytes(100), b"\x80\xc8" + bytes(100), rtp(1)):
            client.sendto(payload, public.getsockname())
        until(lambda: tap.seen("up_sent"), "the packet that is RTP")
        assert [(ssrc, number) for _, ssrc, number in tap.seen("up_sent")] == [(SSRC, 1)]


def test_a_tap_that_breaks_off_says_so(sockets: tuple[socket.socket, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    client, public, _, media = sockets
    monkeypatch.setattr(Tap, "_note", lambda *_: 1 // 0)
    with Tap(public.getsockname(), media.getsockname()) as tap:
        client.sendto(rtp(1), public.getsockname())
        with pytest.raises(RuntimeError, match="the tap broke off"):
            until(lambda: tap.seen("up_sent"), "nothing")
