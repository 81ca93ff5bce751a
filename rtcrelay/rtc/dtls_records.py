"""What can be read from DTLS datagrams without keys? (RFC 6347 sections 4.1 and 4.2)

Record and handshake headers of epoch 0 are in the clear. That is enough to cut a flight into datagrams
to see that a peer repeats itself, and to set apart what anybody could have written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Final

RECORD_HEADER: Final = 13
HANDSHAKE_HEADER: Final = 12
CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
HELLO_VERIFY_REQUEST: Final = 3
_MAX_FRAGMENTS: Final = 512
"""Handshake fragments remembered. Chosen: a flight of 64 kB in fragments of 256 bytes still fits."""


def split_records(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Each whole record as (content type, epoch, start, end); stops at the first that is cut off."""
    start = 0
    while start + RECORD_HEADER <= len(data):
        end = start + RECORD_HEADER + int.from_bytes(data[start + 11 : start + 13], "big")
        if end > len(data):
            return
        yield data[start], int.from_bytes(data[start + 3 : start + 5], "big"), start, end
        start = end


def pack_datagrams(records: bytes, mtu: int) -> list[bytes]:
    """Cuts OpenSSL's output, records back to back, into datagrams of whole records of at most ``mtu`` bytes.

    A memory BIO does not keep the borders of datagrams; cutting anywhere else would destroy a record.
    A record longer than ``mtu`` is a datagram by itself.
    """
    datagrams: list[bytes] = []
    first = last = 0
    for _, _, start, end in split_records(records):
        if end - first > mtu and start > first:
            datagrams.append(records[first:start])
            first = start
        last = end
    if last > first:
        datagrams.append(records[first:last])
    return datagrams


def holds_change_cipher_spec(data: bytes) -> bool:
    """True if a record of ChangeCipherSpec is among them: the keys are made and Finished follows."""
    return any(content == CHANGE_CIPHER_SPEC for content, _, _, _ in split_records(data))


def split_alert(data: bytes) -> tuple[bytes, bytes]:
    """The datagram without its plaintext alerts, and the first of them that would end a handshake (or nothing):
    a fatal one or close_notify."""
    kept: list[bytes] = []
    alert = b""
    for content, epoch, start, end in split_records(data):
        if epoch == 0 and content == APPLICATION_DATA:
            continue  # never valid, and OpenSSL ends the handshake over it
        if content != ALERT or epoch != 0:
            kept.append(data[start:end])
        elif not alert and end - start == RECORD_HEADER + 2 and (data[end - 2] == 2 or data[end - 1] == 0):
            alert = data[start:end]
    return b"".join(kept), alert


class Novelty(Enum):
    """What a datagram brings to a handshake."""

    NEW = "new"
    """Handshake fragments of epoch 0 that were not there before."""
    REPEAT = "repeat"
    """Such fragments, and all of them known."""
    OTHER = "other"
    """None: encrypted records, or anything else."""


class RepeatDetector:
    """Knows the handshake fragments seen so far, and so a datagram that brings nothing new."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int, int]] = set()

    def judge(self, data: bytes) -> Novelty:
        """What it brings.

        A fragment is known by message_seq, fragment offset and its bytes. A flight may arrive in five or six
        datagrams, so "we sent already" does not mean "the peer repeats"; and on a path that two sessions share,
        the other one's handshake has the same numbers, but never the same bytes. A HelloVerifyRequest is never
        a repeat: the ClientHello after it has to go out.
        """
        old = new = data_records = 0
        for content, epoch, start, end in split_records(data):
            if content == HANDSHAKE and epoch == 0:
                for message_type, key in _fragments(data, start + RECORD_HEADER, end):
                    if key in self._seen and message_type != HELLO_VERIFY_REQUEST:
                        old += 1
                    else:
                        new += 1
                        if len(self._seen) < _MAX_FRAGMENTS:
                            self._seen.add(key)
            elif content == APPLICATION_DATA:
                data_records += 1
        if new:
            return Novelty.NEW
        return Novelty.REPEAT if old and not data_records else Novelty.OTHER

    def is_repeat(self, data: bytes) -> bool:
        """True if the datagram holds handshake fragments and all of them were seen before."""
        return self.judge(data) is Novelty.REPEAT


def _fragments(data: bytes, start: int, end: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
    while start + HANDSHAKE_HEADER <= end:
        sequence = int.from_bytes(data[start + 4 : start + 6], "big")
        offset = int.from_bytes(data[start + 6 : start + 9], "big")
        after = start + HANDSHAKE_HEADER + int.from_bytes(data[start + 9 : start + 12], "big")
        yield data[start], (sequence, offset, zlib.crc32(data[start:after]))
        start = after
