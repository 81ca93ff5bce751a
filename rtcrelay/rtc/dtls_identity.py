"""Who are we to OpenSSL, and whom does it let in? The context of all DTLS connections of a process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from OpenSSL import SSL
from OpenSSL.crypto import X509

from rtcrelay.errors import StateError
from rtcrelay.rtc.certificate import Certificate, Fingerprint, matches
from rtcrelay.rtc.srtp import PROFILES

MTU_BYTES: Final = 1200
"""The longest datagram of a flight: what browsers use, and it leaves room for SPP and tunnels."""
CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""Forward secret and AEAD, nothing else: False Start is safe with these only (RFC 7918 section 4).
RSA is among them because peers with RSA certificates exist."""

_SIGNATURES: Final = b"ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256"
"""SHA-256 is what every DTLS 1.2 stack signs with (RFC 8827 section 6.5 asks for it)."""
_GROUPS: Final = b"X25519:P-256:P-384"
_NO_ENCRYPT_THEN_MAC: Final = 0x0008_0000
"""SSL_OP_NO_ENCRYPT_THEN_MAC: an extension for CBC suites only; pyOpenSSL has no name for it."""


class DtlsIdentity:
    """One certificate with its OpenSSL context, shared by all connections of a process (making one: 0.2 ms)."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.certificate = certificate or Certificate.generate()
        self.fingerprint = self.certificate.fingerprint
        """What the session description announces."""
        self.context = _context(self.certificate)

    def connect(self, role: Literal["client", "server"], check: PeerCheck) -> SSL.Connection:
        """A new connection over memory, which has not begun."""
        connection = SSL.Connection(self.context)
        connection.set_app_data(check)
        connection.set_ciphertext_mtu(MTU_BYTES)
        if role == "server":
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        return connection


class PeerCheck:
    """What the verify callback needs and finds out. It hangs on the OpenSSL connection instead of the `Dtls`,
    so that no reference cycle keeps closed sessions until the garbage collector comes."""

    __slots__ = ("accepted", "expected")

    def __init__(self, expected: Sequence[Fingerprint]) -> None:
        self.expected = expected
        self.accepted: bool | None = None
        """None until the peer's certificate was seen."""


def _context(certificate: Certificate) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_options(
        SSL.OP_NO_TICKET
        | SSL.OP_NO_QUERY_MTU
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        | _NO_ENCRYPT_THEN_MAC
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS)
    context.use_certificate(certificate.x509)
    context.use_privatekey(certificate.key)
    context.set_tlsext_use_srtp(b":".join(profile.name.encode() for profile in PROFILES))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    _shorten_hello(context)
    return context


def _shorten_hello(context: SSL.Context) -> None:
    """Makes the ClientHello 129 bytes instead of 173, by OpenSSL functions that pyOpenSSL does not wrap.

    A server may send three bytes per byte received to an address that is not proved: so two ClientHellos and the
    answer (64 bytes) fit behind the shortest first check (108 bytes). Without these functions only one does.
    """
    library, raw = getattr(SSL, "_lib", None), getattr(context, "_context", None)
    for name, value in (("SSL_CTX_set1_sigalgs_list", _SIGNATURES), ("SSL_CTX_set1_curves_list", _GROUPS)):
        function = getattr(library, name, None)
        if function is not None and raw is not None and function(raw, value) != 1:
            raise StateError(f"OpenSSL refused {value.decode()!r} in {name}")


def _verify(connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
    """Called inside the handshake, before our next flight: a wrong certificate gets an alert and nothing else.

    WebRTC certificates are self-signed; the fingerprint from signaling is all the trust there is.
    """
    check = connection.get_app_data()
    if depth == 0 and check.accepted is None:
        try:
            check.accepted = matches(certificate.to_cryptography(), check.expected)
        except Exception:  # cryptography parses what a peer sent; OpenSSL had let it pass
            check.accepted = False
    return check.accepted is not False
