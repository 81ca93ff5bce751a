"""A flood from thousands of sources that no call has: ``python -m tests.bench.recovery.flood HOST PORT RATE SECONDS``.

Prints how many datagrams it sent, and when it began. A fifth each: checks with forged ufrags, other STUN with random
attributes, RTP and DTLS of unknown paths, and random bytes.
"""

from __future__ import annotations

import secrets
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Final

from .batches import ROW, Batch

SOURCES: Final = 1024
"""Per kind; each has an address of its own in 127.100.0.0/15 (the port is the same)."""
_COOKIE: Final = 0x2112A442
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


def forged_check() -> bytes:
    """A binding request whose ufrag has the right form and no key's seal."""
    username = "".join(secrets.choice(_ALPHABET) for _ in range(26)) + "a:abcd"
    attribute = struct.pack(">HH", 6, len(username)) + username.encode() + bytes(-len(username) % 4)
    return struct.pack(">HHI", 1, len(attribute), _COOKIE) + secrets.token_bytes(12) + attribute


def other_stun() -> bytes:
    """An indication with random attributes."""
    attributes = b"".join(struct.pack(">HH", secrets.randbits(16), 8) + secrets.token_bytes(8) for _ in range(4))
    return struct.pack(">HHI", 0x0011, len(attributes), _COOKIE) + secrets.token_bytes(12) + attributes


def rtp() -> bytes:
    """Media of nobody's."""
    return b"\x80\x6f" + secrets.token_bytes(88)


def dtls() -> bytes:
    """A record of nobody's."""
    return b"\x17\xfe\xfd" + bytes(8) + b"\x00\x40" + secrets.token_bytes(64)


def noise() -> bytes:
    """Random bytes."""
    return secrets.token_bytes(100)


KINDS: Final[tuple[Callable[[], bytes], ...]] = (forged_check, other_stun, rtp, dtls, noise)


def flood(target: tuple[str, int], rate: int, seconds: float) -> tuple[int, float]:
    """Sends; returns how many datagrams, and when it began (monotonic). With a rate of 0 as fast as it can."""
    batches = [_batch(kind, number, target) for number, kind in enumerate(KINDS)]
    sent, position = 0, 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        sock.bind(("0.0.0.0", 0))
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            due = int(passed * rate) - sent if rate else SOURCES
            if due <= 0:
                time.sleep(0.0005)
                continue
            batch = batches[position // SOURCES % len(batches)]
            first = position % SOURCES
            last = min(SOURCES, first + min(due, 64))
            batch.send(sock, first, last)
            sent += last - first
            position += last - first
    return sent, begun


def _batch(kind: Callable[[], bytes], number: int, target: tuple[str, int]) -> Batch:
    batch = Batch(SOURCES)
    rows = [kind() for _ in range(SOURCES)]
    batch.set_length(len(rows[0]))
    for at, row in enumerate(rows):
        batch.rows[at * ROW : at * ROW + len(row)] = row
    batch.send_from([f"127.{100 + number // 64}.{number * 4 + at // 250}.{1 + at % 250}" for at in range(SOURCES)])
    batch.send_to(target)
    return batch


if __name__ == "__main__":
    host, port, rate, seconds = sys.argv[1:]
    print(*flood((host, int(port)), int(rate), float(seconds)), flush=True)
