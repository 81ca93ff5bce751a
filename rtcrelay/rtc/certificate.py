"""Who are we in a DTLS handshake, and how is the peer recognised? (RFC 8122, RFC 8827 section 6.5)"""

from __future__ import annotations

import datetime
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha-512": hashes.SHA512(),
    "sha-384": hashes.SHA384(),
    "sha-256": hashes.SHA256(),
}
"""By preference. SHA-1 and MD5 are not believed (RFC 8122 section 5)."""

FINGERPRINT_BYTES: Final = {name: algorithm.digest_size for name, algorithm in _HASHES.items()}
"""The hash functions that are believed, and the length of their digests."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One ``a=fingerprint`` of a session description."""

    algorithm: str
    """In lower case, one of `FINGERPRINT_BYTES`."""
    digest: bytes

    def __str__(self) -> str:
        """The attribute's value, as ``sha-256 AB:CD:…``."""
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate and its private key."""

    x509: x509.Certificate
    key: PrivateKey

    @classmethod
    def generate(cls, key: PrivateKey | None = None) -> Certificate:
        """A new certificate, valid for 30 days (chosen as browsers do), on P-256 unless a key is given."""
        if key is None:
            key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))])
        now = datetime.datetime.now(datetime.UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .sign(key, hashes.SHA256())
        )
        return cls(signed, key)

    @property
    def fingerprint(self) -> Fingerprint:
        """Its SHA-256 fingerprint."""
        return fingerprint_of(self.x509, "sha-256")


def fingerprint_of(certificate: x509.Certificate, algorithm: str) -> Fingerprint:
    """The fingerprint of a certificate under one of the believed hash functions."""
    return Fingerprint(algorithm, certificate.fingerprint(_HASHES[algorithm]))


def matches(certificate: x509.Certificate, expected: Sequence[Fingerprint]) -> bool:
    """True if the certificate is one of those the peer announced.

    Only the strongest hash function among them counts, and one match under it suffices (RFC 8122 section 5).
    """
    for algorithm in _HASHES:
        same_hash = [fingerprint.digest for fingerprint in expected if fingerprint.algorithm == algorithm]
        if same_hash:
            found = fingerprint_of(certificate, algorithm).digest
            return any(hmac.compare_digest(found, digest) for digest in same_hash)
    return False
