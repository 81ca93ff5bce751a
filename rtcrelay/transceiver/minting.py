"""What does a transceiver put into ufrags and session URLs? Routes to itself, under the active key."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rtcrelay._dataplane import Route, mint_ufrag
from rtcrelay.http.owners import worker_nonce
from rtcrelay.keys import KeyFile, require_active_key

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

_PASSWORD_BYTES: Final = 18
"""24 characters of base64url with its two odd characters replaced: more than 128 bits (RFC 8445 section 5.3)."""


class Mint:
    """Makes ufrags and the first half of session URLs. Nonces are random, and unique among those that live."""

    def __init__(self, keys: KeyFile, media: Route, owner: Address, worker: int | None = None) -> None:
        """``media``: this transceiver as relays find it; ``owner``: as other transceivers do, see `owner`, and
        ``worker`` as the other workers there do.

        Raises ConfigError if no key mints.
        """
        self._media, self._owner, self._worker = media, owner, worker
        self.reload(keys)

    def reload(self, keys: KeyFile) -> None:
        """Takes other keys for what is minted from now on. Raises ConfigError if none of them mints."""
        self._key_id = require_active_key(keys)
        self._ring = keys.ring

    def ufrag(self, is_taken: Callable[[str], bool]) -> str:
        """A ufrag of a session's (RFC 8839 wants 24 random bits, and we have just those)."""
        media = self._media
        ip, node, port = media.ip, media.node, media.port
        while True:
            nonce = secrets.randbits(24)
            route = Route(media.kind, media.cluster, ip=ip, node=node, port=port, nonce=nonce, key_id=self._key_id)
            ufrag = mint_ufrag(self._ring, route)
            if not is_taken(ufrag):
                return ufrag

    def resource(self, is_taken: Callable[[str], bool]) -> str:
        """A token that names this process's HTTP address, for whoever else is asked about the session."""
        ip, port = self._owner
        while True:
            nonce = secrets.randbits(24) if self._worker is None else worker_nonce(self._worker)
            route = Route("session", self._media.cluster, ip=ip, port=port, nonce=nonce, key_id=self._key_id)
            resource = mint_ufrag(self._ring, route)
            if not is_taken(resource):
                return resource


def make_password() -> str:
    """An ICE password of 24 ice-chars."""
    return secrets.token_urlsafe(_PASSWORD_BYTES).replace("-", "+").replace("_", "/")
