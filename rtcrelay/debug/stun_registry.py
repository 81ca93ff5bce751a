"""What is a STUN attribute called? The IANA registry "STUN Attributes", as a table.

Source: iana.org/assignments/stun-parameters, last updated on the day of `UPDATED`. Types below 0x8000 are
comprehension-required: who does not understand one must refuse a request (RFC 8489 section 14); the others may be
ignored.
"""

from __future__ import annotations

from typing import Final

UPDATED: Final = "2024-12-20"
"""The registry's own date of this table. No later one was found in 2026, and no registration since: the last were
META-DTLS-IN-STUN and its acknowledgement."""

NAMES: Final[dict[int, tuple[str, str]]] = {
    0x0001: ("MAPPED-ADDRESS", "RFC 8489"),
    0x0003: ("CHANGE-REQUEST", "RFC 5780"),
    0x0006: ("USERNAME", "RFC 8489"),
    0x0008: ("MESSAGE-INTEGRITY", "RFC 8489"),
    0x0009: ("ERROR-CODE", "RFC 8489"),
    0x000A: ("UNKNOWN-ATTRIBUTES", "RFC 8489"),
    0x000C: ("CHANNEL-NUMBER", "RFC 8656"),
    0x000D: ("LIFETIME", "RFC 8656"),
    0x0012: ("XOR-PEER-ADDRESS", "RFC 8656"),
    0x0013: ("DATA", "RFC 8656"),
    0x0014: ("REALM", "RFC 8489"),
    0x0015: ("NONCE", "RFC 8489"),
    0x0016: ("XOR-RELAYED-ADDRESS", "RFC 8656"),
    0x0017: ("REQUESTED-ADDRESS-FAMILY", "RFC 8656"),
    0x0018: ("EVEN-PORT", "RFC 8656"),
    0x0019: ("REQUESTED-TRANSPORT", "RFC 8656"),
    0x001A: ("DONT-FRAGMENT", "RFC 8656"),
    0x001B: ("ACCESS-TOKEN", "RFC 7635"),
    0x001C: ("MESSAGE-INTEGRITY-SHA256", "RFC 8489"),
    0x001D: ("PASSWORD-ALGORITHM", "RFC 8489"),
    0x001E: ("USERHASH", "RFC 8489"),
    0x0020: ("XOR-MAPPED-ADDRESS", "RFC 8489"),
    0x0022: ("RESERVATION-TOKEN", "RFC 8656"),
    0x0024: ("PRIORITY", "RFC 8445"),
    0x0025: ("USE-CANDIDATE", "RFC 8445"),
    0x0026: ("PADDING", "RFC 5780"),
    0x0027: ("RESPONSE-PORT", "RFC 5780"),
    0x002A: ("CONNECTION-ID", "RFC 6062"),
    0x8000: ("ADDITIONAL-ADDRESS-FAMILY", "RFC 8656"),
    0x8001: ("ADDRESS-ERROR-CODE", "RFC 8656"),
    0x8002: ("PASSWORD-ALGORITHMS", "RFC 8489"),
    0x8003: ("ALTERNATE-DOMAIN", "RFC 8489"),
    0x8004: ("ICMP", "RFC 8656"),
    0x8022: ("SOFTWARE", "RFC 8489"),
    0x8023: ("ALTERNATE-SERVER", "RFC 8489"),
    0x8025: ("TRANSACTION_TRANSMIT_COUNTER", "RFC 7982"),
    0x8027: ("CACHE-TIMEOUT", "RFC 5780"),
    0x8028: ("FINGERPRINT", "RFC 8489"),
    0x8029: ("ICE-CONTROLLED", "RFC 8445"),
    0x802A: ("ICE-CONTROLLING", "RFC 8445"),
    0x802B: ("RESPONSE-ORIGIN", "RFC 5780"),
    0x802C: ("OTHER-ADDRESS", "RFC 5780"),
    0x802D: ("ECN-CHECK STUN", "RFC 6679"),
    0x802E: ("THIRD-PARTY-AUTHORIZATION", "RFC 7635"),
    0x8030: ("MOBILITY-TICKET", "RFC 8016"),
    0xC000: ("CISCO-STUN-FLOWDATA", "Cisco"),
    0xC001: ("ENF-FLOW-DESCRIPTION", "Cisco"),
    0xC002: ("ENF-NETWORK-STATUS", "Cisco"),
    0xC003: ("CISCO-WEBEX-FLOW-INFO", "Cisco"),
    0xC056: ("CITRIX-TRANSACTION-ID", "Citrix"),
    0xC057: ("GOOG-NETWORK-INFO", "libwebrtc"),
    0xC058: ("GOOG-LAST-ICE-CHECK-RECEIVED", "libwebrtc"),
    0xC059: ("GOOG-MISC-INFO", "libwebrtc"),
    0xC05A: ("GOOG-OBSOLETE-1", "libwebrtc"),
    0xC05B: ("GOOG-CONNECTION-ID", "libwebrtc"),
    0xC05C: ("GOOG-DELTA", "libwebrtc"),
    0xC05D: ("GOOG-DELTA-ACK", "libwebrtc"),
    0xC05E: ("GOOG-DELTA-SYNC-REQ", "libwebrtc"),
    0xC060: ("GOOG-MESSAGE-INTEGRITY-32", "libwebrtc"),
    0xC070: ("META-DTLS-IN-STUN", "draft-hancke-webrtc-sped"),
    0xC071: ("META-DTLS-IN-STUN-ACKNOWLEDGEMENT", "draft-hancke-webrtc-sped"),
}
"""Every assigned type: (name as registered, where it is defined)."""

RESERVED: Final[dict[int, str]] = {
    0x0000: "",
    0x0002: "RESPONSE-ADDRESS",
    0x0004: "SOURCE-ADDRESS",
    0x0005: "CHANGED-ADDRESS",
    0x0007: "PASSWORD",
    0x000B: "REFLECTED-FROM",
    0x000E: "",
    0x000F: "",
    0x0010: "BANDWIDTH",
    0x0011: "",
    0x0021: "TIMER-VAL",
    0x0023: "",
    0x0028: "",
    0x0029: "",
    0x0030: "",
    0x8024: "",
    0x8026: "",
}
"""Types that are not to be used again, and what they were called, as far as the registry says."""

METHODS: Final[dict[int, str]] = {
    0x001: "binding",
    0x003: "allocate",
    0x004: "refresh",
    0x006: "send",
    0x007: "data",
    0x008: "create-permission",
    0x009: "channel-bind",
    0x00A: "connect",
    0x00B: "connection-bind",
    0x00C: "connection-attempt",
    0x080: "goog-ping",
}
"""Methods (registry "STUN Methods")."""

CLASSES: Final = ("request", "indication", "success", "error")
"""The two class bits (RFC 8489 section 5)."""


def attribute_name(number: int) -> str:
    """The registered name, or what else the registry says of a type."""
    if number in NAMES:
        return NAMES[number][0]
    if number in RESERVED:
        return f"reserved (was {RESERVED[number]})" if RESERVED[number] else "reserved"
    return "unassigned"


def is_required(number: int) -> bool:
    """Whether a receiver must understand the type (RFC 8489 section 14)."""
    return number < 0x8000


def split_kind(kind: int) -> tuple[int, str]:
    """(method, class) of a message type, whose bits are interleaved (RFC 8489 section 5, figure 3)."""
    method = (kind & 0x000F) | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2
    return method, CLASSES[(kind & 0x0010) >> 4 | (kind & 0x0100) >> 7]


def message_name(kind: int) -> str:
    """A message type in words, for example ``binding request``."""
    method, of_class = split_kind(kind)
    return f"{METHODS.get(method, f'method {method:#05x}')} {of_class}"
