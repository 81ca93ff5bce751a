"""How do we write a STUN message, and when do we believe one?

The reader is `rtcrelay._dataplane.read_stun`; this file adds what needs a key: MESSAGE-INTEGRITY and
FINGERPRINT (RFC 8489 sections 14.5 and 14.7), and the binding messages that ICE uses (RFC 8445).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, StunMessage

BINDING_REQUEST = 0x0001
BINDING_INDICATION = 0x0011
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111

MAGIC_COOKIE = 0x2112A442
HEADER_BYTES = 20
_FINGERPRINT_XOR = 0x5354554E
"""RFC 8489 section 14.7."""


class Attribute(IntEnum):
    """The attribute types we write or look at (IANA STUN registry)."""

    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A
    DTLS_IN_STUN = 0xC070
    """One DTLS datagram inside a check (draft-hancke-webrtc-sped)."""
    DTLS_IN_STUN_ACK = 0xC071
    """CRC-32 of the DTLS datagrams received; empty says only "I know of it"."""


Attributes: TypeAlias = Sequence[tuple[int, bytes]]
"""(type, value without padding), in the order in which they are written."""


@dataclass(frozen=True, slots=True)
class IceCheck:
    """What an ICE agent puts into a connectivity check besides its credentials."""

    priority: int
    """PRIORITY, 1 to 2**31 - 1 (RFC 8445 section 7.1.1)."""
    controlling: bool
    """True sends ICE-CONTROLLING, False ICE-CONTROLLED."""
    tie_breaker: bytes
    """8 random bytes."""
    use_candidate: bool = False
    """True nominates the pair."""


def write_binding_request(transaction: bytes, username: str, password: str, check: IceCheck) -> bytes:
    """A connectivity check: ``username`` is ``remote:local``, ``password`` the remote side's."""
    role = Attribute.ICE_CONTROLLING if check.controlling else Attribute.ICE_CONTROLLED
    attributes = [
        (int(Attribute.USERNAME), username.encode()),
        (int(role), check.tie_breaker),
        (int(Attribute.PRIORITY), check.priority.to_bytes(4, "big")),
    ]
    if check.use_candidate:
        attributes.append((int(Attribute.USE_CANDIDATE), b""))
    return write_message(BINDING_REQUEST, transaction, attributes, password=password)


def write_binding_success(transaction: bytes, mapped: Address, password: str | None, extra: Attributes = ()) -> bytes:
    """The answer to a check that came from ``mapped``, with the password that the check used."""
    attributes = [(int(Attribute.XOR_MAPPED_ADDRESS), xor_address(mapped, transaction)), *extra]
    return write_message(BINDING_SUCCESS, transaction, attributes, password=password)


def write_binding_error(transaction: bytes, code: int, reason: str, password: str | None = None) -> bytes:
    """An error response with ERROR-CODE 300 to 699 and at most 127 characters of reason."""
    value = struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()
    return write_message(BINDING_ERROR, transaction, [(int(Attribute.ERROR_CODE), value)], password=password)


def write_message(
    kind: int, transaction: bytes, attributes: Attributes, *, password: str | None = None, fingerprint: bool = True
) -> bytes:
    """Any message; MESSAGE-INTEGRITY if a password is given, FINGERPRINT last unless it is unwanted."""
    body = b"".join(_attribute(number, value) for number, value in attributes)
    if password is not None:
        signed = _header(kind, len(body) + 24, transaction) + body
        body += struct.pack("!HH", Attribute.MESSAGE_INTEGRITY, 20) + hmac.digest(password.encode(), signed, "sha1")
    message = _header(kind, len(body), transaction) + body
    return append_fingerprint(message) if fingerprint else message


def append_fingerprint(message: bytes) -> bytes:
    """A message with FINGERPRINT behind it; there must be none yet."""
    longer = struct.pack("!H", len(message) - HEADER_BYTES + 8)
    message = message[:2] + longer + message[4:]
    crc = zlib.crc32(message) ^ _FINGERPRINT_XOR
    return message + struct.pack("!HHI", Attribute.FINGERPRINT, 4, crc)


def fingerprint_is_wrong(datagram: bytes, message: StunMessage) -> bool:
    """True if there is a FINGERPRINT and it is not the last attribute or not the right sum."""
    for number, offset, value in message.attributes:
        if number == Attribute.FINGERPRINT:
            if offset + 4 != len(datagram) or len(value) != 4:
                return True
            crc = zlib.crc32(datagram[: offset - 4]) ^ _FINGERPRINT_XOR
            return crc.to_bytes(4, "big") != value
    return False


def verified_attributes(datagram: bytes, message: StunMessage, password: bytes) -> Mapping[int, bytes] | None:
    """The attributes that MESSAGE-INTEGRITY covers, first of each type; None if the key is not the right one.

    What stands behind MESSAGE-INTEGRITY is not covered and therefore left out (RFC 8489 section 14.5).
    The comparison takes constant time.
    """
    covered: dict[int, bytes] = {}
    for number, offset, value in message.attributes:
        if number != Attribute.MESSAGE_INTEGRITY:
            covered.setdefault(number, value)
            continue
        start = offset - 4
        # The length field counts up to and with MESSAGE-INTEGRITY, whatever follows it.
        length = (offset + 20 - HEADER_BYTES).to_bytes(2, "big")
        mac = _mac(password)
        mac.update(datagram[:2] + length + datagram[4:start])
        return covered if hmac.compare_digest(mac.digest(), value) else None
    return None


def split_username(message: StunMessage) -> tuple[bytes, bytes] | None:
    """The two halves of USERNAME, receiver's ufrag first; None if there is none or no colon in it."""
    for number, _, value in message.attributes:
        if number == Attribute.USERNAME:
            receiver, colon, sender = value.partition(b":")
            return (receiver, sender) if colon else None
    return None


def mapped_address(message: StunMessage) -> Address | None:
    """The XOR-MAPPED-ADDRESS of a response; None if it has none that can be read."""
    for number, _, value in message.attributes:
        if number == Attribute.XOR_MAPPED_ADDRESS:
            return _unxor_address(value, message.transaction)
    return None


def xor_address(address: Address, transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS (RFC 8489 section 14.2)."""
    packed = _packed_ip(address[0])
    family = 1 if len(packed) == 4 else 2
    mask = (MAGIC_COOKIE.to_bytes(4, "big") + transaction)[: len(packed)]
    ip = int.from_bytes(packed, "big") ^ int.from_bytes(mask, "big")
    return struct.pack("!BBH", 0, family, address[1] ^ (MAGIC_COOKIE >> 16)) + ip.to_bytes(len(packed), "big")


def _unxor_address(value: bytes, transaction: bytes) -> Address | None:
    if len(value) not in (8, 20) or value[1] != (1 if len(value) == 8 else 2):
        return None
    mask = (MAGIC_COOKIE.to_bytes(4, "big") + transaction)[: len(value) - 4]
    packed = (int.from_bytes(value[4:], "big") ^ int.from_bytes(mask, "big")).to_bytes(len(mask), "big")
    port = int.from_bytes(value[2:4], "big") ^ (MAGIC_COOKIE >> 16)
    return str(ipaddress.ip_address(packed)), port


def _header(kind: int, length: int, transaction: bytes) -> bytes:
    return struct.pack("!HHI", kind, length, MAGIC_COOKIE) + transaction


def _attribute(number: int, value: bytes) -> bytes:
    return struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)


def _mac(password: bytes) -> hmac.HMAC:
    return hmac.new(password, digestmod=hashlib.sha1)


@lru_cache(maxsize=4096)
def _packed_ip(ip: str) -> bytes:
    return ipaddress.ip_address(ip).packed
