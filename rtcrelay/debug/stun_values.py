"""What does a STUN attribute's value say? One decoder per kind of value; what does not fit is shown as bytes.

A decoded value is what JSON can hold: text, a number, or a small object.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final

from rtcrelay.config.text import format_address
from rtcrelay.rtc.stun import MAGIC_COOKIE

_FAMILIES: Final = {1: "IPv4", 2: "IPv6"}
_SHOWN_BYTES: Final = 24
_DTLS_CONTENTS: Final = {20: "change_cipher_spec", 21: "alert", 22: "handshake", 23: "application_data", 26: "ack"}


def decode_value(number: int, value: bytes, transaction: bytes) -> Any:
    """The value of an attribute as text, number or object; None if it is of no known form."""
    decode = _DECODERS.get(number)
    try:
        return None if decode is None else decode(value, transaction)
    except (ValueError, IndexError):
        return None


def show_value(value: Any, raw: bytes) -> str:
    """A value for people, in one line: decoded, or the first of its bytes."""
    if value is None:
        shown = raw[:_SHOWN_BYTES].hex()
        return shown + f"... ({len(raw)} bytes)" if len(raw) > _SHOWN_BYTES else shown
    if isinstance(value, dict):
        if "priority" in value:
            return "{priority} (type {type}, local {local}, component {component})".format_map(value)
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _text(value: bytes, _: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _flag(value: bytes, _: bytes) -> str:
    _expect(value, 0)
    return ""


def _number(size: int) -> Callable[[bytes, bytes], int]:
    def decode(value: bytes, _: bytes) -> int:
        _expect(value, size)
        return int.from_bytes(value, "big")

    return decode


def _hex(size: int) -> Callable[[bytes, bytes], str]:
    def decode(value: bytes, _: bytes) -> str:
        _expect(value, size)
        return value.hex()

    return decode


def _plain_address(value: bytes, _: bytes) -> str:
    return _address(value, bytes(16))


def _xor_address(value: bytes, transaction: bytes) -> str:
    return _address(value, MAGIC_COOKIE.to_bytes(4, "big") + transaction)


def _address(value: bytes, mask: bytes) -> str:
    """RFC 8489 sections 14.1 and 14.2."""
    _expect(value, 8 if value[1] == 1 else 20)
    if value[1] not in _FAMILIES:
        raise ValueError
    port = int.from_bytes(value[2:4], "big") ^ int.from_bytes(mask[:2], "big")
    packed = bytes(left ^ right for left, right in zip(value[4:], mask, strict=False))
    return format_address((str(ipaddress.ip_address(packed)), port))


def _error(value: bytes, _: bytes) -> dict[str, Any]:
    return {"code": (value[2] & 7) * 100 + value[3], "reason": value[4:].decode("utf-8", "backslashreplace")}


def _unknown_attributes(value: bytes, _: bytes) -> list[str]:
    return [f"0x{int.from_bytes(value[i : i + 2], 'big'):04x}" for i in range(0, len(value) - 1, 2)]


def _family(value: bytes, _: bytes) -> str:
    _expect(value, 4)
    return _FAMILIES.get(value[0], f"family {value[0]:#x}")


def _transport(value: bytes, _: bytes) -> str:
    _expect(value, 4)
    return {17: "UDP", 6: "TCP"}.get(value[0], f"protocol {value[0]}")


def _even_port(value: bytes, _: bytes) -> str:
    _expect(value, 1)
    return "and the next port" if value[0] & 0x80 else ""


def _response_port(value: bytes, _: bytes) -> int:
    """RFC 5780 section 7.5: a port and two bytes of padding, which some leave out."""
    if len(value) not in (2, 4):
        raise ValueError
    return int.from_bytes(value[:2], "big")


def _channel(value: bytes, _: bytes) -> str:
    _expect(value, 4)
    return f"0x{value[:2].hex()}"


def _change_request(value: bytes, _: bytes) -> list[str]:
    _expect(value, 4)
    return [name for bit, name in ((4, "change IP"), (2, "change port")) if value[3] & bit]


def _algorithms(value: bytes, _: bytes) -> list[str]:
    """RFC 8489 sections 14.11 and 14.12: number, length, parameters with padding."""
    names, offset = [], 0
    while offset + 4 <= len(value):
        number = int.from_bytes(value[offset : offset + 2], "big")
        length = int.from_bytes(value[offset + 2 : offset + 4], "big")
        names.append({1: "MD5", 2: "SHA-256"}.get(number, f"algorithm {number:#06x}"))
        offset += 4 + (length + 3) // 4 * 4
    return names


def _priority(value: bytes, _: bytes) -> dict[str, Any]:
    """RFC 8445 section 5.1.2.1, taken apart; a check's type preference is that of a peer-reflexive candidate."""
    _expect(value, 4)
    priority = int.from_bytes(value, "big")
    parts = {"type": priority >> 24, "local": priority >> 8 & 0xFFFF, "component": 256 - (priority & 0xFF)}
    return {"priority": priority, **parts}


def _counters(value: bytes, _: bytes) -> dict[str, int]:
    """RFC 7982 section 3.1.1."""
    _expect(value, 4)
    return {"requests": value[2], "responses": value[3]}


def _network_info(value: bytes, _: bytes) -> dict[str, int]:
    """Network id and cost, 16 bits each, as libwebrtc's connection.cc writes them; a cost of 999 is the highest."""
    _expect(value, 4)
    return {"network_id": int.from_bytes(value[:2], "big"), "cost": int.from_bytes(value[2:], "big")}


def _numbers(value: bytes, _: bytes) -> list[int]:
    if len(value) % 2:
        raise ValueError
    return [int.from_bytes(value[i : i + 2], "big") for i in range(0, len(value), 2)]


def _dtls(value: bytes, _: bytes) -> dict[str, Any]:
    """One DTLS datagram; empty says only that the sender knows of the extension."""
    if not value:
        return {"bytes": 0, "record": "none"}
    return {"bytes": len(value), "record": _DTLS_CONTENTS.get(value[0], f"content type {value[0]}")}


def _checksums(value: bytes, _: bytes) -> list[str]:
    """CRC-32 of the DTLS datagrams that were received."""
    if len(value) % 4:
        raise ValueError
    return [value[i : i + 4].hex() for i in range(0, len(value), 4)]


def _expect(value: bytes, size: int) -> None:
    if len(value) != size:
        raise ValueError


_DECODERS: Final[dict[int, Callable[[bytes, bytes], Any]]] = {
    **dict.fromkeys((0x0006, 0x0014, 0x0015, 0x8003, 0x8022), _text),
    **dict.fromkeys((0x001A, 0x0025), _flag),
    **dict.fromkeys((0x0001, 0x8023, 0x802B, 0x802C), _plain_address),
    **dict.fromkeys((0x0012, 0x0016, 0x0020), _xor_address),
    **dict.fromkeys((0x0009, 0x8001), _error),
    **dict.fromkeys((0x0017, 0x8000), _family),
    **dict.fromkeys((0x001D, 0x8002), _algorithms),
    **dict.fromkeys((0x000D, 0x002A, 0x8027), _number(4)),
    **dict.fromkeys((0x8029, 0x802A, 0x0022), _hex(8)),
    0x0003: _change_request,
    0x0008: _hex(20),
    0x000A: _unknown_attributes,
    0x000C: _channel,
    0x0018: _even_port,
    0x0019: _transport,
    0x001E: _hex(32),
    0x0024: _priority,
    0x0027: _response_port,
    0x8025: _counters,
    0x8028: _hex(4),
    0xC057: _network_info,
    0xC059: _numbers,
    0xC060: _hex(4),
    0xC070: _dtls,
    0xC071: _checksums,
}
