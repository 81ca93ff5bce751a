"""Does the new address answer for itself? A binding request of our own to the path a session moved to.

An ICE-lite agent sends no checks (RFC 8445 section 2.5) but this one: without it a session's owner could point
the media at a victim with one forged source address.

Who answers it, measured through a relay after a NAT had changed the client's port (tests/e2e/test_roaming.py):
Chromium 156, stock aiortc 1.16 and this package's own client. RFC 8445 section 7.3 asks every full agent to. A
client that does not is sent at most three bytes for each that comes from there, into which a conversation fits; what
does not fit goes where it was proved last.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from rtcrelay.rtc import stun
from rtcrelay.transceiver.generations import Generation
from rtcrelay.transceiver.paths import Path, PathKey

if TYPE_CHECKING:
    from rtcrelay._dataplane import StunMessage

_FIRST_RETRY_SECONDS: Final = 0.1
_MAX_RETRY_SECONDS: Final = 2.0
_PEER_REFLEXIVE_PRIORITY: Final = (110 << 24) | (65535 << 8) | 255
"""RFC 8445 section 5.1.2.1, as section 7.1.1 asks for in a check."""


class PathValidation:
    """The request that is under way for one session, if any."""

    def __init__(self) -> None:
        self._username = self._password = ""
        self._tie_breaker = secrets.token_bytes(8)
        self.path: Path | None = None
        """The path that is asked, and no other is."""
        self._transaction = b""
        self._next_at = 0.0
        self._retry_seconds = _FIRST_RETRY_SECONDS

    def start(self, path: Path, generation: Generation, now: float) -> None:
        """Asks this path with the credentials of a generation; a request to another one is given up."""
        remote = generation.remote
        self._username, self._password = f"{remote.ufrag}:{generation.local.ufrag}", remote.password
        self.path = path
        self._transaction = secrets.token_bytes(12)
        self._next_at = now
        self._retry_seconds = _FIRST_RETRY_SECONDS

    def stop(self) -> None:
        """Asks no more."""
        self.path = None

    def poll_timeout(self) -> float | None:
        """When `poll_request` has something to send; None if nothing is asked."""
        return self._next_at if self.path is not None else None

    def poll_request(self, now: float) -> bytes | None:
        """The request, if it is time to send it (again)."""
        if self.path is None or now < self._next_at:
            return None
        self._next_at = now + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, _MAX_RETRY_SECONDS)
        check = stun.IceCheck(_PEER_REFLEXIVE_PRIORITY, False, self._tie_breaker)
        return stun.write_binding_request(self._transaction, self._username, self._password, check)

    def handle_response(self, key: PathKey, datagram: bytes, message: StunMessage) -> bool:
        """True if this is the answer to our request, from the path that was asked."""
        if self.path is None or key != self.path.key or message.transaction != self._transaction:
            return False
        if stun.verified_attributes(datagram, message, self._password.encode()) is None:
            return False
        self.stop()
        return True
