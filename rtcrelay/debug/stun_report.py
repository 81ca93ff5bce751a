"""What does a STUN message say, and is it right? Everything about one message, for `stun decode` and the captures.

The parser is the relay's own (`_dataplane.read_stun`). `why_not_stun` says in words why it refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rtcrelay._dataplane import SPP_HEADER, read_stun, unpack_spp
from rtcrelay.config.text import format_address
from rtcrelay.debug import stun_registry
from rtcrelay.debug.stun_integrity import (
    GOOG_MESSAGE_INTEGRITY_32,
    MESSAGE_INTEGRITY_SHA256,
    Integrity,
    Passwords,
    check_integrity,
)
from rtcrelay.debug.stun_values import decode_value
from rtcrelay.errors import DataError
from rtcrelay.rtc.stun import HEADER_BYTES, MAGIC_COOKIE, Attribute, fingerprint_is_wrong, split_username

if TYPE_CHECKING:
    from rtcrelay._dataplane import SppHeader, StunMessage


@dataclass(frozen=True, slots=True)
class AttributeReport:
    """One attribute."""

    number: int
    """The type."""
    name: str
    """As registered, or what else is known of the type."""
    is_required: bool
    """Whether a receiver must understand it."""
    offset: int
    """Of the value in the message, in bytes."""
    raw: bytes
    """The value without padding."""
    value: Any
    """The decoded value: text, number, list or object; None if it is of no known form."""


@dataclass(frozen=True, slots=True)
class StunReport:
    """One message."""

    kind: int
    transaction: bytes
    length: int
    """Bytes of the whole message."""
    attributes: tuple[AttributeReport, ...]
    fingerprint: Literal["ok", "wrong", "absent"]
    integrity: Integrity
    """Of MESSAGE-INTEGRITY, or of GOOG-MESSAGE-INTEGRITY-32 where there is only that."""
    integrity_sha256: Integrity
    username: tuple[str, str] | None
    """The receiver's and the sender's ufrag; None without USERNAME or without a colon in it."""
    spp: SppHeader | None
    """The SPP header that was in front."""

    @property
    def name(self) -> str:
        """Method and class in words."""
        return stun_registry.message_name(self.kind)

    @property
    def is_wrong(self) -> bool:
        """Whether a check failed. What was not checked is not wrong."""
        return "wrong" in (self.fingerprint, self.integrity, self.integrity_sha256)

    @property
    def verdict(self) -> Literal["ok", "wrong", "unchecked", "unsigned"]:
        """All checks in a word; unsigned: there is neither integrity nor fingerprint."""
        if self.is_wrong:
            return "wrong"
        checks = {self.fingerprint, self.integrity, self.integrity_sha256}
        return "unchecked" if "unchecked" in checks else "ok" if "ok" in checks else "unsigned"


def read_report(datagram: bytes, passwords: Passwords) -> StunReport:
    """Reads a message, with or without an SPP header in front. Raises DataError that says why it is none."""
    spp = unpack_spp(datagram)
    if spp is not None:
        datagram = datagram[SPP_HEADER:]
    message = read_stun(datagram)
    if message is None:
        raise DataError(f"not a STUN message: {why_not_stun(datagram)}")
    keys = passwords.candidates(message)
    username = split_username(message)
    integrity = check_integrity(datagram, message, int(Attribute.MESSAGE_INTEGRITY), keys)
    if integrity == "absent":
        integrity = check_integrity(datagram, message, GOOG_MESSAGE_INTEGRITY_32, keys)
    return StunReport(
        message.kind,
        message.transaction,
        len(datagram),
        tuple(_attributes(message)),
        _fingerprint(datagram, message),
        integrity,
        check_integrity(datagram, message, MESSAGE_INTEGRITY_SHA256, keys),
        None if username is None else (_text(username[0]), _text(username[1])),
        spp,
    )


def why_not_stun(datagram: bytes) -> str:
    """Why `read_stun` refuses a datagram, as the rest of a sentence; empty if nothing is wrong with it."""
    size = len(datagram)
    if size < HEADER_BYTES:
        return f"{size} bytes, and the header alone has {HEADER_BYTES}"
    if datagram[0] > 3:
        return f"the first byte is {datagram[0]:#04x}, expected 0x00 to 0x03"  # RFC 9443 section 3
    length, cookie = int.from_bytes(datagram[2:4], "big"), int.from_bytes(datagram[4:8], "big")
    if cookie != MAGIC_COOKIE:
        return f"the magic cookie is {cookie:#010x}, expected {MAGIC_COOKIE:#010x}"
    if length % 4:
        return f"the length {length} is not a multiple of 4"
    if length != size - HEADER_BYTES:
        return f"the header says that {length} bytes follow it, and {size - HEADER_BYTES} do"
    offset = HEADER_BYTES
    while offset < size:
        number, inside = int.from_bytes(datagram[offset : offset + 2], "big"), size - offset - 4
        stated = int.from_bytes(datagram[offset + 2 : offset + 4], "big")
        if stated > inside:
            name = stun_registry.attribute_name(number)
            return f"attribute {number:#06x} ({name}) at byte {offset} says {stated} bytes, and {inside} are left"
        offset += 4 + (stated + 3) // 4 * 4
    return ""


def spp_fields(header: SppHeader | None) -> dict[str, Any] | None:
    """An SPP header as JSON has it."""
    if header is None:
        return None
    return {
        "client": format_address(header.client),
        "proxy": format_address(header.proxy),
        "ingress": header.proxy[1],
    }


def _attributes(message: StunMessage) -> list[AttributeReport]:
    return [
        AttributeReport(
            number,
            stun_registry.attribute_name(number),
            stun_registry.is_required(number),
            offset,
            value,
            decode_value(number, value, message.transaction),
        )
        for number, offset, value in message.attributes
    ]


def _fingerprint(datagram: bytes, message: StunMessage) -> Literal["ok", "wrong", "absent"]:
    if all(number != Attribute.FINGERPRINT for number, _, _ in message.attributes):
        return "absent"
    return "wrong" if fingerprint_is_wrong(datagram, message) else "ok"


def _text(half: bytes) -> str:
    return half.decode("utf-8", "backslashreplace")


def looks_like_stun(payload: bytes) -> bool:
    """Whether a payload means to be STUN: the magic cookie is where it belongs. Not a promise that it parses."""
    return payload[4:8] == MAGIC_COOKIE.to_bytes(4, "big") and payload[0] <= 3


def report_row(found: StunReport) -> dict[str, Any]:
    """A report as JSON has it. `error_row` has the same fields."""
    return {
        "kind": "stun",
        "v": 1,
        "message": found.name,
        "type": f"0x{found.kind:04x}",
        "transaction": found.transaction.hex(),
        "length": found.length,
        "verdict": found.verdict,
        "fingerprint": found.fingerprint,
        "integrity": found.integrity,
        "integrity_sha256": found.integrity_sha256,
        "username": None if found.username is None else ":".join(found.username),
        "attributes": [_attribute_row(attribute) for attribute in found.attributes],
        "spp": spp_fields(found.spp),
        "error": None,
    }


def error_row(sentence: str) -> dict[str, Any]:
    """The row of what should have been a message and is none."""
    known = ("message", "type", "transaction", "length")
    return {
        "kind": "stun",
        "v": 1,
        **dict.fromkeys(known),
        "verdict": "malformed",
        **dict.fromkeys(("fingerprint", "integrity", "integrity_sha256", "username")),
        "attributes": [],
        "spp": None,
        "error": sentence,
    }


def _attribute_row(attribute: AttributeReport) -> dict[str, Any]:
    return {
        "type": f"0x{attribute.number:04x}",
        "name": attribute.name,
        "required": attribute.is_required,
        "offset": attribute.offset,
        "length": len(attribute.raw),
        "value": attribute.value,
        "hex": attribute.raw.hex(),
    }
