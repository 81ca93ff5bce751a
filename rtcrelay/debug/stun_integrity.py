"""Is a STUN message what its sender wrote? MESSAGE-INTEGRITY in its three forms, and the passwords to check it with.

Nobody knows beforehand whose password a message of a capture was made with, so several are tried.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from rtcrelay.debug.ufrags import ufrag_row
from rtcrelay.errors import DataError
from rtcrelay.rtc.stun import HEADER_BYTES, Attribute, split_username

if TYPE_CHECKING:
    from rtcrelay._dataplane import StunMessage
    from rtcrelay.keys import KeyFile

Integrity: TypeAlias = Literal["ok", "wrong", "unchecked", "absent"]
"""Unchecked: there is one, and no password to check it with."""

MESSAGE_INTEGRITY_SHA256: Final = 0x001C
GOOG_MESSAGE_INTEGRITY_32: Final = 0xC060
_MAC_FORMS: Final = {
    int(Attribute.MESSAGE_INTEGRITY): ("sha1", (20,)),
    MESSAGE_INTEGRITY_SHA256: ("sha256", range(16, 33, 4)),  # RFC 8489 section 14.6: may be cut, down to 16 bytes
    GOOG_MESSAGE_INTEGRITY_32: ("sha1", (4,)),  # libwebrtc: the same as the first, cut to 4 bytes
}
"""Hash function and lengths by type."""

_REALM: Final = 0x0014
_MAX_PASSWORDS: Final = 4096
_MAX_TRANSACTIONS: Final = 4096


@dataclass(slots=True)
class Passwords:
    """What integrity is checked with."""

    named: dict[bytes, bytes] = field(default_factory=dict)
    """Password by the ufrag that it belongs to."""
    others: list[bytes] = field(default_factory=list)
    """Passwords of which the file says no more."""
    probes: KeyFile | None = None
    """The key ring: a probe ufrag's password follows from its key."""
    _asked: OrderedDict[bytes, tuple[bytes, ...]] = field(default_factory=OrderedDict)

    def candidates(self, message: StunMessage) -> tuple[bytes, ...]:
        """The passwords that a message may have been made with; a response's are its request's."""
        username = split_username(message)
        if username is None:
            every = (*self.named.values(), *self.others)
            return self._asked.get(message.transaction, every)
        found = self._of(username[0])
        self._asked[message.transaction] = found
        if len(self._asked) > _MAX_TRANSACTIONS:
            self._asked.popitem(last=False)
        return found

    def _of(self, ufrag: bytes) -> tuple[bytes, ...]:
        if ufrag in self.named:
            return (self.named[ufrag],)
        return (*self.others, *self._probe_password(ufrag.decode("ascii", "replace")))

    def _probe_password(self, ufrag: str) -> Iterator[bytes]:
        # Any ufrag of a known key has such a password by form; only a probe's is one.
        if self.probes and (ufrag_row(self.probes.ring, ufrag)["route"] or "").startswith("probe"):
            password = self.probes.probe_password(ufrag)
            if password is not None:
                yield password.encode()


def read_passwords(content: bytes, name: str) -> Passwords:
    """Reads a password file: one ``PASSWORD`` or ``UFRAG PASSWORD`` a line. Raises DataError without showing any."""
    passwords = Passwords()
    for number, line in enumerate(content.split(b"\n"), 1):
        words = line.split()
        if len(words) == 1:
            passwords.others.append(words[0])
        elif len(words) == 2:
            passwords.named[words[0]] = words[1]
        elif words:
            raise DataError(f"{name}: line {number} has {len(words)} words, expected PASSWORD or UFRAG PASSWORD")
        if len(passwords.others) + len(passwords.named) > _MAX_PASSWORDS:
            raise DataError(f"{name} has more than {_MAX_PASSWORDS} passwords")
    if not passwords.others and not passwords.named:
        raise DataError(f"{name} holds no password")
    return passwords


def check_integrity(datagram: bytes, message: StunMessage, number: int, passwords: Iterable[bytes]) -> Integrity:
    """Checks the first attribute of a type (one of the three) with every password."""
    for found, offset, value in message.attributes:
        if found == number:
            keys = [key for password in passwords for key in _keys(message, password)]
            if not keys:
                return "unchecked"
            function, sizes = _MAC_FORMS[number]
            if len(value) not in sizes:
                return "wrong"
            # The length field counts up to and with this attribute, whatever follows it (RFC 8489 section 14.5).
            length = (offset + len(value) - HEADER_BYTES).to_bytes(2, "big")
            signed = datagram[:2] + length + datagram[4 : offset - 4]
            macs = (hmac.digest(key, signed, function)[: len(value)] for key in keys)
            return "ok" if any(hmac.compare_digest(mac, value) for mac in macs) else "wrong"
    return "absent"


def _keys(message: StunMessage, password: bytes) -> Sequence[bytes]:
    """The short-term key and, with a realm, the long-term ones (RFC 8489 sections 9.1.1 and 9.2.2)."""
    values = {number: value for number, _, value in reversed(message.attributes)}
    username, realm = values.get(Attribute.USERNAME), values.get(_REALM)
    if username is None or realm is None:
        return (password,)
    long_term = b":".join((username, realm.strip(b'"'), password))
    md5 = hashlib.md5(long_term, usedforsecurity=False).digest()
    return (password, md5, hashlib.sha256(long_term).digest())
