"""How do media packets get their keys, and what happens to one that is not ours? (RFC 3711, 5764)

Nothing here raises on bytes from the network: a packet that does not authenticate is None.
libsrtp is called without the binding's own wrapper, which allocates for each packet: 0.8 us instead of 1.3 to 1.6.
Private members of pylibsrtp that are used: `_binding`, `Session._srtp`; a test checks them. For one thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import pylibsrtp
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found]  # compiled, without types

MAX_SOURCES: Final = 8
"""Inbound SSRCs per session. libsrtp allocates a stream for each new SSRC that authenticates, so a
hostile peer with good keys could grow memory without this bound. Chosen: a call has one or two."""
MAX_PLAIN_BYTES: Final = 1500 - 144
"""The longest packet libsrtp's binding protects: its buffer less the longest trailer."""
MAX_PROTECTED_BYTES: Final = 1500
_REPLAY_WINDOW: Final = 1024
"""Packets; at 50 a second that is 20 s of reordering. Chosen as aiortc does."""


@dataclass(frozen=True, slots=True)
class SrtpProfile:
    """One way to protect packets, as DTLS negotiates it (RFC 5764 section 4.1.2, RFC 7714)."""

    name: str
    """As OpenSSL spells it."""
    libsrtp: int
    key_bytes: int
    salt_bytes: int
    rtcp_index_from_end: int
    """Where the 4-byte SRTCP index starts, counted in bytes from the packet's end."""


_KNOWN: Final = (
    SrtpProfile("SRTP_AEAD_AES_128_GCM", pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12, 4),
    SrtpProfile("SRTP_AES128_CM_SHA1_80", pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14, 14),
)


def _is_built_in(profile: SrtpProfile) -> bool:
    try:
        pylibsrtp.Policy(srtp_profile=profile.libsrtp)
    except pylibsrtp.Error:
        return False
    return True


PROFILES: Final = tuple(profile for profile in _KNOWN if _is_built_in(profile))
"""The profiles we offer, best first. libsrtp may have been built without AES-GCM. AES-256 is left out: every
stack that has it has one of these too, and two bytes less let a second ClientHello go out (see `dtls`)."""


class Srtp:
    """Both directions of one session's media, keyed once."""

    def __init__(self, profile: SrtpProfile, keying_material: bytes, role: Literal["client", "server"]) -> None:
        """Takes 2 * (key + salt) bytes of exported material, client's keys first (RFC 5764 section 4.2)."""
        client, server = (_key_and_salt(profile, keying_material, index) for index in (0, 1))
        outbound, inbound = (client, server) if role == "client" else (server, client)
        self.profile = profile
        self._outbound = _session(profile, outbound, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self._inbound = _session(profile, inbound, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        self._sources: set[bytes] = set()

    def protect(self, packet: bytes) -> bytes | None:
        """An RTP packet of ours as SRTP; None if it is longer than `MAX_PLAIN_BYTES` or the key is used up."""
        return _process(lib.srtp_protect, self._outbound, packet) if len(packet) <= MAX_PLAIN_BYTES else None

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """A compound RTCP packet of ours as SRTCP; None as in `protect`."""
        return _process(lib.srtp_protect_rtcp, self._outbound, packet) if len(packet) <= MAX_PLAIN_BYTES else None

    def unprotect(self, packet: bytes) -> bytes | None:
        """The RTP packet inside, or None: not authentic, seen before, too old, or one source too many."""
        source = packet[8:12]
        if not 12 <= len(packet) <= MAX_PROTECTED_BYTES or not self.has_room_for(source):
            return None
        plain = _process(lib.srtp_unprotect, self._inbound, packet)
        if plain is not None:
            self._sources.add(source)
        return plain

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """The RTCP packet inside, or None as in `unprotect`."""
        source = packet[4:8]
        if not 8 <= len(packet) <= MAX_PROTECTED_BYTES or not self.has_room_for(source):
            return None
        plain = _process(lib.srtp_unprotect_rtcp, self._inbound, packet)
        if plain is not None:
            self._sources.add(source)
        return plain

    def rtcp_index(self, packet: bytes) -> int:
        """The 31-bit index of an SRTCP packet that `unprotect_rtcp` has accepted (RFC 3711 section 3.4)."""
        start = len(packet) - self.profile.rtcp_index_from_end
        return int.from_bytes(packet[start : start + 4], "big") & 0x7FFF_FFFF

    def has_room_for(self, source: bytes) -> bool:
        """Whether packets of this SSRC (4 bytes) are looked at: it is known, or there are not `MAX_SOURCES` yet."""
        return source in self._sources or len(self._sources) < MAX_SOURCES


# One for the process: every packet is copied in, worked on in place, and copied out before the next one.
_memory: Final = ffi.new("char[]", 2048)
_buffer: Final = ffi.buffer(_memory)
_length: Final = ffi.new("int *")


def _process(
    function: Callable[[object, object, object], int], session: pylibsrtp.Session, packet: bytes
) -> bytes | None:
    """Runs one of libsrtp's functions over a packet of at most `MAX_PROTECTED_BYTES`; None if it fails."""
    length = len(packet)
    _buffer[0:length] = packet
    _length[0] = length
    if function(session._srtp[0], _memory, _length):
        return None
    result: bytes = _buffer[0 : _length[0]]
    return result


def _key_and_salt(profile: SrtpProfile, material: bytes, index: int) -> bytes:
    key = index * profile.key_bytes
    salt = 2 * profile.key_bytes + index * profile.salt_bytes
    return material[key : key + profile.key_bytes] + material[salt : salt + profile.salt_bytes]


def _session(profile: SrtpProfile, key: bytes, direction: int) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=profile.libsrtp)
    policy.window_size = _REPLAY_WINDOW
    return pylibsrtp.Session(policy)
