"""What can be read from DTLS datagrams without keys? (RFC 6347 sections 4.1 and 4.2)

Record and handshake headers of epoch 0 are in the clear. That is enough to cut a flight into datagrams
to see that a peer repeats itself, and to set apart what anybody could have written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Final, Literal

RECORD_HEADER: Final = 13
HANDSHAKE_HEADER: Final = 12
CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
HELLO_VERIFY_REQUEST: Final = 3
_CLIENT_KEY_EXCHANGE: Final = 16
_CLIENT_MESSAGES: Final = frozenset((1, 15, _CLIENT_KEY_EXCHANGE))
"""Handshake messages that only a client sends: ClientHello, CertificateVerify, ClientKeyExchange (RFC 5246 section
7.4)."""
_SERVER_MESSAGES: Final = frozenset((0, 2, 3, 4, 12, 13, 14))
"""And only a server: HelloRequest, ServerHello, HelloVerifyRequest, NewSessionTicket, ServerKeyExchange,
CertificateRequest, ServerHelloDone."""
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


class Sieve:
    """Takes out of datagrams what can be no answer to us, and what OpenSSL would end a handshake over, or never end it.

    That is application data in the clear, messages that only our own role sends, and a ChangeCipherSpec before its
    time. It is another handshake's (of a client that vanished from the same address, for example), or forged.
    """

    def __init__(self, role: Literal["client", "server"]) -> None:
        self.may_change = False
        """Whether the peer's ChangeCipherSpec can come: a client sets it when its own is written, for a server the
        ClientKeyExchange does (RFC 5246 section 7.3)."""
        self._own = _CLIENT_MESSAGES if role == "client" else _SERVER_MESSAGES

    def sift(self, data: bytes) -> tuple[bytes, bytes]:
        """What a handshake may read, and the first plaintext alert that would end it (or nothing): a fatal one or
        close_notify."""
        kept: list[bytes] = []
        alert = b""
        for content, epoch, start, end in split_records(data):
            record = data[start:end]
            if epoch == 0 and content == ALERT:
                if not alert and len(record) == RECORD_HEADER + 2 and (record[-2] == 2 or record[-1] == 0):
                    alert = record
            elif epoch or self._is_readable(content, record):
                kept.append(record)
        return b"".join(kept), alert

    def _is_readable(self, content: int, record: bytes) -> bool:
        if content == HANDSHAKE and len(record) > RECORD_HEADER:
            message = record[RECORD_HEADER]
            self.may_change = self.may_change or (message == _CLIENT_KEY_EXCHANGE and message not in self._own)
            return message not in self._own
        return self.may_change if content == CHANGE_CIPHER_SPEC else content != APPLICATION_DATA


def client_random(data: bytes) -> bytes | None:
    """The random of the ClientHello that a datagram begins with, which names a handshake; None if it begins with
    anything else."""
    at = RECORD_HEADER + HANDSHAKE_HEADER
    is_hello = len(data) >= at + 34 and data[0] == HANDSHAKE and data[3:5] == bytes(2) and data[RECORD_HEADER] == 1
    return data[at + 2 : at + 34] if is_hello and data[at - 6 : at - 3] == bytes(3) else None


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
